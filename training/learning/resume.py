"""The state of a run on disk: the checkpoint that `--resume` reads, and the log. Never unpickles code."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import nn
from torch.optim import Optimizer
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from ..config import ConfigError, Stage


@dataclass
class Progress:
    """Epochs and optimiser steps done in a stage, and the best validation score so far."""

    epoch: int = 0
    step: int = 0  # of this epoch
    total: float = 0.0  # loss summed over this epoch's steps
    best: tuple[float, float] = (float("-inf"), float("-inf"))  # what epochs are compared by, larger being better
    score: float = float("nan")  # of the best epoch
    since_best: int = 0
    finished: bool = False


@dataclass
class Checkpoint:
    """The state of an unfinished stage in `run`, from which it resumes as if it had never stopped."""

    run: Path
    stage: Stage
    model: nn.Module
    optimiser: Optimizer
    scaler: torch.amp.GradScaler | None = None  # of fp16: begun anew, its steps would be skipped again
    progress: Progress = field(default_factory=Progress)

    @property
    def path(self) -> Path:
        """The file."""
        return self.run / f"{self.stage}.resume.pt"

    def save(self) -> None:
        """Writes the file, which appears whole or not at all."""
        partial = self.path.with_suffix(".partial")
        state = {"model": self.model.state_dict(), "optimiser": self.optimiser.state_dict()}
        if self.scaler is not None:
            state["scaler"] = self.scaler.state_dict()
        torch.save({**({} if self.progress.finished else state), "progress": asdict(self.progress)}, partial)
        partial.replace(self.path)

    def load(self) -> None:
        """Reads the file, if there is one. Raises ConfigError for one that an older release wrote."""
        if not self.path.is_file():
            return
        state = torch.load(self.path, map_location="cpu", weights_only=True)
        if "score" not in state["progress"]:
            raise ConfigError(f"{self.path} is of an older release, which chose the best epoch otherwise; start anew.")
        self.progress = Progress(**state["progress"])
        if not self.progress.finished:
            self.model.load_state_dict(state["model"])
            self.optimiser.load_state_dict(state["optimiser"])
            if self.scaler is not None and "scaler" in state:
                self.scaler.load_state_dict(state["scaler"])


class Log:
    """A line per validation in `log.jsonl` and on the screen; the same, and the loss of every step, for TensorBoard."""

    def __init__(self, run: Path, stage: Stage, epoch: int) -> None:
        """Removes lines of this stage past `epoch` and an incomplete line, which an interrupted run leaves."""
        self.path = run / "log.jsonl"
        self.stage = stage
        if self.path.exists():
            whole = [text for text in self.path.read_text(encoding="utf-8").splitlines(True) if text.endswith("}\n")]
            kept = [text for text in whole if (line := json.loads(text))["stage"] != stage or line["epoch"] <= epoch]
            self.path.write_text("".join(kept), encoding="utf-8")
        self.board = SummaryWriter(str(run / "tensorboard"))

    def step(self, step: int, loss: float) -> None:
        """The loss of one optimiser step, counted over the whole stage."""
        self.board.add_scalar(f"{self.stage}/step_loss", loss, step)

    def epoch(self, values: Mapping[str, float]) -> None:
        """The figures of a validation."""
        line = {"stage": self.stage, **{key: round(value, 5) for key, value in values.items()}}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        for key, value in values.items():
            self.board.add_scalar(f"{self.stage}/{key}", value, int(values["epoch"]))
        self.board.flush()
        tqdm.write(" ".join(f"{key}={value}" for key, value in line.items()))
