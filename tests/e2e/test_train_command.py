"""`maeum-train train` as a researcher runs it: on two processes, stopped and resumed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from training.recipes.smoke import TINY, make_corpus, make_encoder

BIN = Path(sys.executable).parent


@pytest.fixture
def options(tmp_path: Path) -> list[str]:
    """Everything that `train` wants behind its stage, for the tiny corpus; ends with what `--set` takes."""
    make_corpus(tmp_path / "data")
    encoder = make_encoder(tmp_path / "encoder")
    sets = [f"{key}={json.dumps(value)}" for key, value in TINY.items() if value is not None]
    given = ["--preset", "paper", "--data", tmp_path / "data", "--text-encoder", encoder, "--cpu", "--set", *sets]
    return [str(option) for option in given]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def test_two_processes_train_one_model(options: list[str], tmp_path: Path) -> None:
    launch = [BIN / "accelerate", "launch", "--cpu", "--num_processes", "2", "--num_machines", "1", "--module"]
    command = [*launch, "training", "train", "audio", "--output", str(tmp_path / "run"), *options]
    command += ["train.audio.epochs=2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=environment())
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]  # one process logs
    assert (tmp_path / "run" / "audio.safetensors").is_file()


@pytest.fixture
def _ctrl_c_is_not_ignored() -> Iterator[None]:
    """A shell starts background jobs with Ctrl-C ignored, and children inherit that; a handler they do not inherit."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def epochs(run: Path) -> list[int]:
    """The epochs in the log, those of whole lines."""
    log = run / "log.jsonl"
    lines = log.read_text(encoding="utf-8").splitlines(keepends=True) if log.exists() else []
    return [json.loads(line)["epoch"] for line in lines if line.endswith("\n")]


def interrupted(command: list[str | Path], run: Path) -> str:
    """Starts `command`, stops it with Ctrl-C once the log has grown by an epoch, and returns its stderr."""
    before = len(epochs(run))
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=environment(), **quiet) as process:
        try:
            # The log is trimmed to what was saved before it grows again.
            while len(epochs(run)) <= before and process.poll() is None:
                time.sleep(0.02)
            process.send_signal(signal.SIGINT)
            _, printed = process.communicate(timeout=120)
        finally:
            process.kill()  # it would go on for ever
    assert process.returncode == 130, printed
    return printed


@pytest.mark.usefixtures("_ctrl_c_is_not_ignored")
def test_a_training_stopped_by_hand_goes_on(options: list[str], tmp_path: Path) -> None:
    run = tmp_path / "run"
    endless = [f"train.audio.{key}=1000000" for key in ("epochs", "patience")]
    command = [BIN / "maeum-train", "train", "audio", "--output", str(run), *options, *endless]
    printed = interrupted(command, run)
    assert "--resume" in printed
    assert "Traceback" not in printed
    first = epochs(run)
    interrupted([*command, "--resume"], run)
    second = epochs(run)
    assert second == list(range(1, len(second) + 1))
    assert len(second) > len(first)
