"""`maeum-train starter`: the model that the project ships, in one command from the corpora to its folder.

The text network is trained first, on film reviews, comments and everyday sentences. Then the encoders run once over the
Korean clips, sentences and comments, and the heads on them are trained without each speaker in turn, and for the
version on all. Every figure on clips is that of the held-out speakers of all folds together, as served.
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from accelerate import Accelerator

from ..config import PRESETS, Config, load_preset
from ..corpora.kote import read_kote
from ..corpora.nsmc import read_reviews
from ..corpora.speech import read_korean_speech, read_ordinary_speech
from ..corpora.spoken_ko import read_spoken_ko
from ..corpora.tally import Report
from ..data.examples import Examples
from ..data.unreadable import unreadable
from ..data.utterance import Utterance
from ..errors import TrainingError
from ..evaluation.crossvalidation import cross_validate
from ..export.version import Release, export, new_version
from ..learning.heads import Clips, Transcripts, embed_clips, embed_transcripts, train_arousal, train_emotion
from ..learning.run import new_networks, train
from ..learning.stages import make_tokenizer
from ..networks.files import load_detector, load_stage, load_weights, save_config, save_detector, save_stage
from ..networks.networks import Networks
from ..networks.text_encoder import TOKENIZER_FILE
from ..networks.whisper import WhisperArousal, load_pretrained

NAME = "starter"
LICENSE = "CC-BY-NC-SA-4.0"
ABOUT = PRESETS / "starter.md"
TEST_REVIEWS = 5_000  # an interval of 0.03; more take longer to judge than the heads to train
UNREADABLE = 400  # texts that say nothing, for the classifier to be unsure of
CORPORA = {
    "kote": "KOTE, val.tsv and test.tsv, https://github.com/searle-j/KOTE",
    "nsmc_ratings": "NSMC's reviews with ratings as reviews.tsv.gz, https://github.com/e9t/nsmc",
    "ko_emotional_speech": "the acted clips of emotiontts_open_db, https://github.com/emotiontts/emotiontts_open_db",
    "ko_ordinary_speech": "the other clips of emotiontts_open_db, at the same place",
}


class StarterError(TrainingError):
    """Something that the recipe needs is missing; the message lists it, and where to get it."""


def make_starter(
    source: Path,
    work: Path,
    store: Path,
    version: str,
    settings: Mapping[str, object] | None = None,
    init_from: Path | None = None,
) -> Path:
    """Trains, cross-validates and exports; returns the version's folder. Uses a text network that `work` already has.

    `source` holds the corpora; `settings` override the preset `starter`, by dotted key. With `init_from`, a version's
    folder, both encoders start from its weights; without, from those that the preset names. Takes about two hours on
    two cores. Raises TrainingError.
    """
    new_version(store, NAME, version)  # fails now rather than in two hours
    config = load_preset("starter", dict(settings or {}))
    check_sources(source, config, init_from)
    texts = [
        *read_kote(source / "kote", Report()),
        *read_reviews(source / "nsmc_ratings", Report(), test=TEST_REVIEWS),
        *read_spoken_ko(),
    ]
    text_run = work / "text"
    accelerator = Accelerator(cpu=True, mixed_precision=config.train.precision)
    train(("text",), config, texts, text_run, accelerator, resume=True, init_from=init_from)

    networks = start(config, init_from)
    load_stage(text_run, networks, "text")
    networks.eval().requires_grad_(False)
    networks.audio.head.requires_grad_(True)
    networks.emotion.requires_grad_(True)
    speakers, ordinary = clips_by_speaker(source, config.emotion.classes)
    detector = None
    if config.audio.speech is not None:
        save_detector(work, Path(config.audio.speech.detector))
        detector = load_detector(work)
    learning = [u for own in speakers.values() for u in own if u.corpus != "ko_ordinary_speech"]
    clips = embed_clips(networks, [*learning, *ordinary], config.train.seed, detector)
    sentences = [u for u in texts if u.corpus != "nsmc_ratings" and u.split == "train"]
    sentences += unreadable(UNREADABLE, config.emotion.classes, config.train.seed)
    tokenizer = make_tokenizer("text", networks, text_run)
    transcripts = embed_transcripts(networks, Examples(sentences, tokenizer, config.audio.max_frames))

    folds = work / "folds"
    for speaker, held_out in speakers.items():
        run = work / f"without-{speaker}"
        others = clips.without({str(utterance.speaker) for utterance in held_out})
        _train_heads(networks, others, transcripts, work, run)
        shutil.rmtree(folds / speaker, ignore_errors=True)
        export(run, folds, Release(speaker, "0.0.0", LICENSE), ["int8", "fp32"])
    _train_heads(networks, clips, transcripts, work, work / "shipped")
    held_out_texts = [utterance for utterance in texts if utterance.split != "train"]
    release = Release(
        NAME,
        version,
        LICENSE,
        ABOUT.read_text(encoding="utf-8"),
        training={
            "command": "maeum-train starter",
            "init_from": "/".join(init_from.parts[-2:]) if init_from else None,
            "licenses": {"audio_arousal": LICENSE, "text_valence": "MIT", "emotion": LICENSE},
            **config.train.model_dump(include={"seed", "precision", "text"}),
        },
        crossvalidation=cross_validate(folds, speakers, held_out_texts),
    )
    return export(work / "shipped", store, release, ["int8", "fp16"], held_out_texts, weights=True)


def check_sources(source: Path, config: Config, init_from: Path | None) -> None:
    """Raises StarterError where a corpus, an encoder or the detector is missing: names all, and where to get them."""
    missing = [f"{source / name}: {where}" for name, where in CORPORA.items() if not (source / name).is_dir()]
    if init_from is None:
        audio = config.audio.encoder
        names = [config.text.encoder, *([audio.name] if audio else [])]
        lacking = [name for name in names if not Path(name).is_dir()]
        missing += [f"{name}: a pretrained encoder; --init-from begins with those of a version" for name in lacking]
    speech = config.audio.speech
    if speech is not None and not Path(speech.detector).is_file():
        missing.append(f"{speech.detector}: the speech detector, in the project's folder; or set audio.speech.detector")
    if missing:
        raise StarterError("The recipe lacks files:\n" + "\n".join(f"  {line}" for line in missing))


def start(config: Config, init_from: Path | None) -> Networks:
    """Networks with untrained heads, on the encoders of the preset or of the version `init_from`.

    An audio encoder with more layers than the version has is that of the preset.
    """
    if init_from is None:
        return new_networks(config)
    before = load_weights(init_from)
    networks = Networks(config, before.text.encoder)
    if isinstance(before.audio, WhisperArousal) and isinstance(networks.audio, WhisperArousal):
        weights = before.audio.encoder.state_dict()
        own = networks.audio.encoder.state_dict()
        if own.keys() <= weights.keys():
            networks.audio.encoder.load_state_dict({name: weights[name] for name in own})
        elif networks.config.audio.encoder is not None:
            load_pretrained(networks.audio.encoder, networks.config.audio.encoder)
    return networks


def clips_by_speaker(source: Path, classes: Sequence[str]) -> tuple[dict[str, list[Utterance]], list[Utterance]]:
    """The clips to test on, by the acted speaker who is left out, and the ordinary clips to learn from.

    With each acted speaker a part of the ordinary ones is left out. Transcripts of acted clips serve for testing only.
    """
    acted = source / "ko_emotional_speech"
    names = sorted({str(utterance.speaker) for utterance in read_korean_speech(acted, Report())})
    everything = list(read_korean_speech(acted, Report(), test=names))
    ordinary = list(read_ordinary_speech(source / "ko_ordinary_speech", Report(), classes))
    readers = sorted({str(utterance.speaker) for utterance in ordinary})
    tested = list(read_ordinary_speech(source / "ko_ordinary_speech", Report(), classes, test=readers))
    by_speaker = {
        name: [
            *(u for u in everything if u.speaker == name),
            *(u for u in tested if u.speaker in readers[number :: len(names)]),
        ]
        for number, name in enumerate(names)
    }
    return by_speaker, ordinary


def _train_heads(networks: Networks, clips: Clips, transcripts: Transcripts, work: Path, run: Path) -> None:
    """Leaves in `run` the networks with heads trained on these."""
    seed = networks.config.train.seed
    train_arousal(networks, clips, seed)
    train_emotion(networks, clips, transcripts, seed)
    save_config(run, networks)
    shutil.copyfile(work / "text" / TOKENIZER_FILE, run / TOKENIZER_FILE)
    if networks.config.audio.speech is not None:
        save_detector(run, Path(networks.config.audio.speech.detector))
    for stage in ("audio", "text", "emotion"):
        save_stage(run, networks, stage)
