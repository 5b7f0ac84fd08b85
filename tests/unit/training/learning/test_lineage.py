"""A run whose networks were not trained together does not become a version."""

import shutil
from pathlib import Path

import pytest

from tests.support.tiny_run import CPU, tiny
from training.cli import main
from training.config import STAGES, ConfigError, load_preset
from training.data.utterance import Utterance, write_utterances
from training.export.version import Release, export
from training.learning import lineage
from training.learning.run import train
from training.networks.files import RunError
from training.recipes.smoke import TINY


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of that run."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


def version(run: Path, store: Path, name: str = "tiny") -> Path:
    return export(run, store, Release(name, "1.0.0", "Apache-2.0"), ["fp32"], weights=True)


def test_a_classifier_of_another_audio_network_is_not_exported(
    run: Path, encoder: Path, corpus: list[Utterance], tmp_path: Path
) -> None:
    lineage.check(run)
    train(["audio"], tiny(encoder, **{"train.audio.learning_rate": 1e-2}), corpus, run, CPU)
    with pytest.raises(RunError, match=r"did not learn from the audio network .* train emotion"):
        version(run, tmp_path)
    before = (run / "emotion.safetensors").read_bytes()
    lineage.begin_classifier(shutil.copytree(run, tmp_path / "interrupted"))  # before its first epoch is saved
    with pytest.raises(RunError, match=r"emotion\.safetensors is not there"):
        version(tmp_path / "interrupted", tmp_path)
    config = tiny(encoder, **{"train.audio.learning_rate": 1e-2})
    train(STAGES, config, corpus, run, CPU, resume=True)  # the audio and text networks are finished, and stay
    assert (run / "emotion.safetensors").read_bytes() != before
    version(run, tmp_path)


def test_a_finished_run_is_not_trained_again_by_resuming_it(run: Path, encoder: Path, corpus: list[Utterance]) -> None:
    before, log = (run / "emotion.safetensors").stat().st_mtime_ns, (run / "log.jsonl").read_text(encoding="utf-8")
    train(STAGES, tiny(encoder), corpus, run, CPU, resume=True)
    assert (run / "emotion.safetensors").stat().st_mtime_ns == before
    assert (run / "log.jsonl").read_text(encoding="utf-8") == log


def test_a_tuned_audio_network_needs_its_own_classifier(run: Path, corpus: list[Utterance], tmp_path: Path) -> None:
    source = version(run, tmp_path)
    config = load_preset("paper", {f"train.{stage}.{key}": 1 for stage in STAGES for key in ("epochs", "limit")})
    train(["audio"], config, corpus, tmp_path / "tuned", CPU, init_from=source)
    with pytest.raises(RunError, match="did not learn from"):
        version(tmp_path / "tuned", tmp_path, "tuned")
    train(["emotion"], config, corpus, tmp_path / "tuned", CPU, init_from=source)
    version(tmp_path / "tuned", tmp_path, "tuned")


def test_stages_of_two_origins_are_refused(run: Path, encoder: Path, corpus: list[Utterance], tmp_path: Path) -> None:
    source = version(run, tmp_path)
    config = load_preset("paper", {f"train.{stage}.{key}": 1 for stage in STAGES for key in ("epochs", "limit")})
    with pytest.raises(ConfigError, match="began from scratch"):
        train(["text"], config.model_copy(update={"train": tiny(encoder).train}), corpus, run, CPU, init_from=source)
    train(["audio"], config, corpus, tmp_path / "tuned", CPU, init_from=source)
    other = shutil.copytree(source, tmp_path / "other" / "1.0.0")
    weights = other / "weights.safetensors"
    weights.write_bytes(weights.read_bytes() + b" ")  # safetensors reads only what its header lists
    with pytest.raises(ConfigError, match="share their origin"):
        lineage.origin_of(tmp_path / "tuned", other, ["text"])


@pytest.mark.parametrize("setting", ["train.seed=7", "train.augment.mode=on_the_fly"])
def test_stages_share_seed_and_augmentation(run: Path, encoder: Path, corpus: list[Utterance], setting: str) -> None:
    key, _, value = setting.partition("=")
    changed = tiny(encoder, **{key: int(value) if value.isdigit() else value})
    with pytest.raises(ConfigError, match=rf"trained with {key}="):
        train(["text"], changed, corpus, run, CPU)


def test_a_setting_of_a_stage_that_is_not_trained_is_refused(
    run: Path, encoder: Path, corpus: list[Utterance], capsys: pytest.CaptureFixture[str]
) -> None:
    write_utterances(run / "utterances.jsonl", corpus)
    where = ["--preset", "starter", "--data", str(run), "--output", str(run), "--text-encoder", str(encoder), "--cpu"]
    given = [f"{key}={str(value).lower() if isinstance(value, bool) else value}" for key, value in TINY.items()]
    assert main(["train", "text", *where, "--set", *given, "--set", "train.audio.epochs=9"]) == 1
    assert "train.audio.epochs: the audio stage of" in capsys.readouterr().err
    assert main(["train", "text", *where, "--set", *given]) == 0  # the values that audio was trained with
