"""The starter's recipe from its corpora to a version that answers, on miniature corpora and encoders."""

import gzip
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from app.engine.engine import ModelInput
from app.engine.load import load_model
from app.settings import Settings
from app.store.manifest import Manifest
from app.store.versions import load_manifest, verify
from tests.support import ROOT
from training.config import AudioEncoderConfig
from training.corpora.kote import EMOTION_OF_LABEL
from training.corpora.nsmc import read_reviews
from training.corpora.spoken_ko import read_spoken_ko
from training.evaluation.crossed import KINDS
from training.evaluation.crossvalidation import RECORDED, RECORDINGS
from training.learning import heads
from training.networks.files import load_networks, load_weights
from training.networks.whisper import whisper_config
from training.recipes import starter
from training.recipes.smoke import TINY, TRANSCRIPTS, make_encoder

SPEAKERS = {"ema": "plain", "emb": "plain", "nea": "emotional"}
READERS = ("r1", "r2", "r3", "r4")
DETECTOR = next((ROOT / "model_store").glob("starter/*/silero_vad.onnx"))
SENTENCES = list(islice(read_spoken_ko(), 0, None, 12))
WHISPER = {"layers": 1, "width": 64, "heads": 4, "feed_forward": 32}
LABELS = {"neutral": "없음", "sad": "슬픔", "happy": "기쁨", "surprise": "놀람", "angry": "짜증"}
EMOTION = "emotion of ko_emotional_speech"


def write_corpora(folder: Path) -> Path:
    """Five clips of each speaker, 60 comments and 60 reviews, in the corpora's own formats."""
    random = np.random.default_rng(8)
    korean, kote, reviews = (folder / name for name in ("ko_emotional_speech", "kote", "nsmc_ratings"))
    for path in (korean / "audio", kote, reviews):
        path.mkdir(parents=True)
    rows = ["file,speaker,gender,script,emotion,transcript,spoken_form"]
    for number, (speaker, script) in enumerate(SPEAKERS.items()):
        for pitch, (emotion, transcript) in enumerate(TRANSCRIPTS.items()):
            time = np.arange(int(random.uniform(0.3, 0.6) * 16_000)) / 16_000
            tone = 0.2 * np.sin(2 * np.pi * (110 + 60 * pitch + 9 * number) * time)
            name = f"audio/{speaker}{pitch}.flac"
            soundfile.write(korean / name, tone + 0.01 * random.standard_normal(len(time)), 16_000)
            rows.append(
                f"{name},{speaker},{'male' if number else 'female'},{script},{emotion},{transcript},{transcript}"
            )
    (korean / "metadata.csv").write_text("\n".join([*rows, ""]), encoding="utf-8")
    ordinary = folder / "ko_ordinary_speech"
    (ordinary / "audio").mkdir(parents=True)
    rows = ["file,speaker,gender,part,transcript"]
    for speaker in READERS:
        soundfile.write(ordinary / f"audio/{speaker}.flac", 0.05 * random.standard_normal(9_000), 16_000)
        rows.append(f"audio/{speaker}.flac,{speaker},female,main,네")
    (ordinary / "metadata.csv").write_text("\n".join([*rows, ""]), encoding="utf-8")
    ids = {label: number for number, label in enumerate(EMOTION_OF_LABEL)}
    comments = [
        f"{k}\t{TRANSCRIPTS[e]} {'그' * (k % 4)}\t{ids[LABELS[e]]}\n" for k, e in enumerate(12 * list(TRANSCRIPTS))
    ]
    (kote / "val.tsv").write_text("".join(comments) + "900\t뭐야\t42,5\n", encoding="utf-8")
    (kote / "test.tsv").write_text("".join(f"9{line}" for line in comments[:10]), encoding="utf-8")
    with gzip.open(reviews / "reviews.tsv.gz", "wt", encoding="utf-8") as file:
        file.writelines(
            f"{k}\tfilm{k % 12}\t{1 + k % 10}\t{'정말 ' * (k % 7)}좋아{'아' * (k // 7)}\n" for k in range(60)
        )
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """The work folder, and the version's."""
    folder = tmp_path_factory.mktemp("starter")
    torch.manual_seed(9)
    WhisperEncoder(whisper_config(AudioEncoderConfig(name="", **WHISPER))).save_pretrained(folder / "whisper")
    settings = {
        **TINY,
        "audio.encoder": {"name": str(folder / "whisper"), **WHISPER},
        "audio.block.layers": 0,
        "audio.speech": {"detector": str(DETECTOR), "least_s": 0.4},
        "text.encoder": str(
            make_encoder(folder / "text", [*TRANSCRIPTS.values(), "그아", *(u.transcript or "" for u in SENTENCES)])
        ),
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(heads, "STEPS", 20)
        patch.setattr(heads, "COPIES", 2)
        patch.setattr(starter, "TEST_REVIEWS", 10)
        patch.setattr(starter, "read_reviews", partial(read_reviews, train=40, validation=10))
        patch.setattr(starter, "read_spoken_ko", lambda: SENTENCES)
        source = write_corpora(folder / "corpora")
        version = starter.make_starter(source, folder / "work", folder / "store", "9.9.9", settings)
    yield folder / "work", version


@pytest.fixture(scope="module")
def manifest(made: tuple[Path, Path]) -> Manifest:
    return load_manifest(made[1])


def test_the_version_is_whole_and_has_its_precisions_and_weights_to_fine_tune_from(
    made: tuple[Path, Path], manifest: Manifest
) -> None:
    verify(made[1], manifest)
    assert made[1].parts[-2:] == ("starter", "9.9.9")
    assert set(manifest.graphs) == {"int8", "fp16"}
    assert manifest.weights is not None and manifest.weights.file == "weights.safetensors"
    assert (manifest.preset, manifest.width) == ("starter", 64)
    assert {path.name for path in made[1].iterdir()} == {"manifest.json", *(file.file for file in manifest.files())}


def test_every_figure_on_clips_is_of_speakers_not_in_training(manifest: Manifest) -> None:
    figures = manifest.evaluation
    assert figures["precision"] == "int8"
    for script, speakers, clips in (("plain", 2, 10), ("emotional", 1, 5)):
        by_modality = [f"{EMOTION} ({script}), {available}" for available in ("audio", "text", "both")]
        others = [f"{EMOTION} ({script}){RECORDED}{recording}, audio" for recording in RECORDINGS]
        for name in (*by_modality, *others, f"arousal of ko_emotional_speech ({script})"):
            found = figures[name]
            assert (found["speakers"], found["speakers_met"]) == (speakers, 0), name
        assert figures[by_modality[0]]["n"] == clips
    assert {name for name in figures if "ko_" not in name and "crossed" not in name} >= {
        "emotion of kote, text",
        "valence of nsmc_ratings",
    }
    assert {name for name in figures if "spoken_ko" in name} == {"emotion of spoken_ko, text", "valence of spoken_ko"}
    ordinary = figures["emotion of ko_ordinary_speech, audio"]
    assert (ordinary["n"], ordinary["speakers"], ordinary["speakers_met"]) == (len(READERS), len(READERS), 0)
    for kind in KINDS:
        assert figures[f"emotion of crossed pairs: {kind}, both"]["n"] > 0
    assert set(figures["precision_cost"][f"uar of {EMOTION} (plain), both"]) == {"int8", "fp32"}


def test_the_version_has_its_detector_and_its_licence(made: tuple[Path, Path], manifest: Manifest) -> None:
    speech = manifest.audio.speech
    assert speech is not None and speech.least_s == 0.4
    assert (made[1] / speech.detector.file).read_bytes() == DETECTOR.read_bytes()
    assert "MIT License" in (made[1] / speech.license.file).read_text(encoding="utf-8")


def test_missing_corpora_are_named_at_once(tmp_path: Path) -> None:
    (tmp_path / "kote").mkdir()
    with pytest.raises(starter.StarterError, match=r"nsmc_ratings: .*https://") as error:
        starter.make_starter(tmp_path, tmp_path / "work", tmp_path / "store", "9.9.9")
    assert "/kote:" not in str(error.value) and not (tmp_path / "work").exists()


def test_a_version_may_be_the_beginning(made: tuple[Path, Path]) -> None:
    """Both encoders begin as the version has them, and the heads untrained."""
    before = load_weights(made[1])
    networks = starter.start(before.config, made[1])
    for part in ("audio", "text"):
        one, other = (n.get_submodule(f"{part}.encoder").state_dict() for n in (before, networks))
        assert all(torch.equal(one[name], other[name]) for name in other)
    assert not torch.equal(before.audio.head.linear.weight, networks.audio.head.linear.weight)


def test_each_speaker_is_left_out_of_a_model_of_his_own(made: tuple[Path, Path]) -> None:
    work, _ = made
    assert {path.name for path in (work / "folds").iterdir()} == set(SPEAKERS)
    shipped, *folds = (
        load_networks(work / run).state_dict() for run in ("shipped", *(f"without-{speaker}" for speaker in SPEAKERS))
    )
    for fold in folds:
        changed = {name for name, value in fold.items() if not torch.equal(value, shipped[name])}
        assert changed
        assert all(name.startswith(("audio.head.", "emotion.")) for name in changed)


@pytest.mark.parametrize("precision", ["int8", "fp16"])
def test_the_version_answers(made: tuple[Path, Path], precision: str) -> None:
    store = made[1].parents[1]
    model = load_model(Settings.load(model_store=store, model="starter/9.9.9", precision=precision, threads=1))
    samples = 0.2 * np.sin(np.arange(8_000) * 0.06).astype(np.float32)
    ids = model.tokenizer.encode("정말 좋아").ids
    audio_alone, text_alone, both = model.predict(
        [ModelInput(samples, None), ModelInput(None, ids), ModelInput(samples, ids)]
    )
    assert (audio_alone.valence, text_alone.arousal) == (None, None)
    assert both.arousal == pytest.approx(audio_alone.arousal, abs=1e-2)
    assert both.valence == pytest.approx(text_alone.valence, abs=1e-2)
    for answer in (audio_alone, text_alone, both):
        assert len(answer.probabilities) == 5 and sum(answer.probabilities) == pytest.approx(1, abs=1e-4)


def test_the_text_network_is_trained_once(made: tuple[Path, Path]) -> None:
    assert (made[0] / "text" / "text.safetensors").is_file()
    assert len((made[0] / "text" / "log.jsonl").read_text().splitlines()) == 1
