"""The checkpoint of a stage."""

from pathlib import Path

import pytest
import torch

from training.config import ConfigError
from training.learning.resume import Checkpoint


def test_a_checkpoint_of_an_older_release_is_refused_in_a_sentence(tmp_path: Path) -> None:
    module = torch.nn.Linear(1, 1)
    checkpoint = Checkpoint(tmp_path, "audio", module, torch.optim.Adam(module.parameters()))
    checkpoint.save()
    state = torch.load(checkpoint.path, weights_only=True)
    state["progress"] = {"epoch": 1, "step": 0, "total": 0.0, "best": 0.5, "since_best": 0, "finished": False}
    torch.save(state, checkpoint.path)
    with pytest.raises(ConfigError, match="older release"):
        checkpoint.load()
