"""Runs that build on others: fine-tuned from a version, repeated over folds, compiled."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.support.synthetic_kemdy20 import EMOTIONS, write_tree
from tests.support.tiny_run import CPU, tiny
from training.cli import main
from training.config import STAGES, ConfigError, load_preset
from training.data.examples import DataError
from training.data.utterance import Utterance, read_utterances, write_utterances
from training.export.version import Release, export
from training.learning.run import train
from training.networks.files import RunError, load_networks, read_config
from training.recipes.kemdy20_folds import train_folds
from training.recipes.smoke import make_encoder


def test_training_goes_on_from_a_version_without_its_encoder_or_preset(
    trained: Path, corpus: list[Utterance], tmp_path: Path
) -> None:
    version = export(trained, tmp_path, Release("tiny", "1.0.0", "Apache-2.0"), ["int8"], weights=True)
    config = load_preset("paper", {"train.emotion.epochs": 1, "train.emotion.limit": 2})
    train(["emotion"], config, corpus, tmp_path / "tuned", CPU, init_from=version)
    before, after = load_networks(trained).state_dict(), load_networks(tmp_path / "tuned").state_dict()
    changed = {name.partition(".")[0] for name in before if not torch.allclose(before[name], after[name], atol=1e-3)}
    assert changed <= {"emotion"}
    assert any(not torch.equal(before[name].half().float(), after[name]) for name in before if "emotion" in name)
    exported = export(tmp_path / "tuned", tmp_path, Release("tuned", "1.0.0", "Apache-2.0"), ["fp32"])
    assert (exported / "tokenizer.json").read_bytes() == (version / "tokenizer.json").read_bytes()


def test_a_version_without_weights_says_how_to_get_them(
    trained: Path, corpus: list[Utterance], encoder: Path, tmp_path: Path
) -> None:
    version = export(trained, tmp_path, Release("tiny", "1.0.0", "Apache-2.0"), ["fp32"])
    with pytest.raises(RunError, match=r"no readable weights\.safetensors.*export --weights"):
        train(["emotion"], tiny(encoder), corpus, tmp_path / "tuned", CPU, init_from=version)


def test_every_fold_is_trained_and_tested(tmp_path: Path) -> None:
    write_tree(tmp_path / "KEMDy20", sessions=(1, 9, 17, 25, 33), utterances_per_session=12)
    assert main(["prepare", "kemdy20", "--source", str(tmp_path / "KEMDy20"), "--output", str(tmp_path / "data")]) == 0
    encoder = make_encoder(tmp_path / "encoder", [transcript for _, _, transcript in EMOTIONS.values()])
    utterances = list(read_utterances(tmp_path / "data" / "utterances.jsonl"))
    report = train_folds(tiny(encoder), utterances, tmp_path / "folds", CPU)
    assert report.read_text(encoding="utf-8").startswith("<!doctype html>")
    together = json.loads((tmp_path / "folds" / "folds.json").read_text(encoding="utf-8"))
    (emotion,) = (figures for name, figures in together.items() if name.startswith("emotion") and name.endswith("both"))
    assert emotion["uar"]["folds"] == 5
    assert 0 <= emotion["uar"]["mean"] <= 1
    weights = {fold: (tmp_path / "folds" / f"fold{fold}" / "audio.safetensors").read_bytes() for fold in range(5)}
    graphs = sorted((tmp_path / "folds" / "store").rglob("audio_arousal.fp32.onnx"))
    before = [path.read_bytes() for path in graphs]
    train_folds(tiny(encoder, **{"train.seed": 2}), utterances, tmp_path / "folds", CPU)
    for fold, path in enumerate(graphs):  # other weights, and the figures are theirs
        assert (tmp_path / "folds" / f"fold{fold}" / "audio.safetensors").read_bytes() != weights[fold]
        assert path.read_bytes() != before[fold]


def test_a_precision_that_the_device_lacks_is_reported(
    encoder: Path, corpus: list[Utterance], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_utterances(tmp_path / "utterances.jsonl", corpus)
    where = ["--data", str(tmp_path), "--output", str(tmp_path / "run"), "--text-encoder", str(encoder)]
    assert main(["train", "audio", "--preset", "starter", *where, "--cpu", "--set", "train.precision=fp16"]) == 1
    printed = capsys.readouterr().err
    assert "train.precision=fp16 is not available here" in printed
    assert "Traceback" not in printed


def test_folds_of_another_corpus_are_refused(encoder: Path, corpus: list[Utterance], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="this is not KEMDy20"):
        train_folds(tiny(encoder), corpus, tmp_path, CPU)


def test_tuning_stage_by_stage_keeps_the_tuned_stages(trained: Path, corpus: list[Utterance], tmp_path: Path) -> None:
    version = export(trained, tmp_path, Release("tiny", "1.0.0", "Apache-2.0"), ["int8"], weights=True)
    config = load_preset("paper", {f"train.{stage}.{key}": 2 for stage in STAGES for key in ("epochs", "limit")})
    tuned = tmp_path / "tuned"
    train(["audio"], config, corpus, tuned, CPU, init_from=version)
    audio = (tuned / "audio.safetensors").read_bytes()
    train(["emotion"], config, corpus, tuned, CPU, init_from=version)
    assert (tuned / "audio.safetensors").read_bytes() == audio
    assert load_file(tuned / "text.safetensors").keys() == load_file(trained / "text.safetensors").keys()


def test_stages_of_a_run_agree_or_are_refused(encoder: Path, corpus: list[Utterance], tmp_path: Path) -> None:
    train(["audio"], tiny(encoder, **{"audio.block.heads": 2, "train.audio.epochs": 2}), corpus, tmp_path, CPU)
    with pytest.raises(ConfigError, match=r"audio of .* trained with audio\.block\.heads=2\. .* another --output"):
        train(["text"], tiny(encoder), corpus, tmp_path, CPU)
    again = tiny(encoder, **{"audio.block.heads": 2, "train.text.limit": 1})
    train(["text"], again, corpus, tmp_path, CPU)
    config = read_config((tmp_path / "config.json").read_text(encoding="utf-8"))
    assert (config.train.audio.epochs, config.train.text.limit) == (2, 1)  # each as it was trained


def test_settings_that_cannot_be_honoured_are_refused(
    trained: Path, encoder: Path, corpus: list[Utterance], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_utterances(tmp_path / "utterances.jsonl", corpus)
    version = export(trained, tmp_path, Release("tiny", "1.0.0", "Apache-2.0"), ["int8"], weights=True)
    where = ["train", "emotion", "--data", str(tmp_path), "--output", str(tmp_path / "run"), "--cpu"]
    tuned = [*where, "--init-from", str(version)]
    for refused in ("text.max_tokens=8", 'emotion.classes=["sad"]', "audio.block.layers=2"):
        assert main([*tuned, "--set", "train.seed=2", "--set", refused]) == 1
        assert f"{refused.partition('=')[0]}: with --init-from" in capsys.readouterr().err
    assert main([*where, "--text-encoder", str(encoder), "--set", "semantics=original"]) == 1
    assert "cannot be trained" in capsys.readouterr().err
    assert main([*tuned, "--set", "text.frozen=true", "--set", "train.emotion.epochs=1", "train.emotion.limit=1"]) == 0
    config = read_config((tmp_path / "run" / "config.json").read_text(encoding="utf-8"))
    assert (config.text.frozen, config.train.emotion.epochs, config.train.emotion.limit) == (True, 1, 1)


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.filterwarnings("ignore")  # of the compiler's own libraries
def test_compiled_layers_train_the_same_network(
    trained: Path, encoder: Path, corpus: list[Utterance], tmp_path: Path
) -> None:
    overrides = {"train.compile": True, "train.audio.limit": 1, "train.emotion.limit": 1}
    shutil.copyfile(trained / "text.safetensors", tmp_path / "text.safetensors")
    shutil.copyfile(trained / "config.json", tmp_path / "config.json")
    train(["audio", "emotion"], tiny(encoder, **overrides), corpus, tmp_path, CPU)  # its classifier has no such layers
    assert load_file(tmp_path / "audio.safetensors").keys() == load_file(trained / "audio.safetensors").keys()
