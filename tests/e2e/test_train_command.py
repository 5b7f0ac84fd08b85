"""`maeum-train train` as a researcher runs it: on two processes, stopped and resumed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from training.smoke import TINY, make_corpus, make_encoder

BIN = Path(sys.executable).parent


@pytest.fixture
def options(tmp_path: Path) -> list[str]:
    """Everything that `train` wants behind its stage, for the tiny corpus."""
    make_corpus(tmp_path / "data")
    encoder = make_encoder(tmp_path / "encoder")
    sets = [f"{key}={json.dumps(value)}" for key, value in TINY.items()]
    sets += [
        "train.audio.limit=50",
        "train.audio.epochs=40",
        "train.audio.patience=40",
        "train.audio.checkpoint_steps=2",
    ]
    given = ["--preset", "starter", "--data", tmp_path / "data", "--text-encoder", encoder, "--cpu", "--set", *sets]
    return [str(option) for option in given]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def test_two_processes_train_one_model(options: list[str], tmp_path: Path) -> None:
    launch = [BIN / "accelerate", "launch", "--cpu", "--num_processes", "2", "--num_machines", "1", "--module"]
    short = [option.replace("epochs=40", "epochs=2") for option in options]
    command = [*launch, "training", "train", "audio", "--output", str(tmp_path / "run"), *short]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=environment())
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]  # one process speaks
    assert (tmp_path / "run" / "audio.safetensors").is_file()


def test_a_killed_training_is_resumed(options: list[str], tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = [BIN / "maeum-train", "train", "audio", "--output", str(run), *options]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment())
    while not (run / "log.jsonl").exists() and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "--resume" in said
    assert "Traceback" not in said
    done = subprocess.run(
        [*command, "--resume"], capture_output=True, text=True, timeout=300, check=False, env=environment()
    )
    assert done.returncode == 0, done.stderr
    log = (run / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in log] == list(range(1, 41))
