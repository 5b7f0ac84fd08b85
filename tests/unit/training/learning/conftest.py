"""The tiny text encoder, corpus and run that the training tests share."""

from pathlib import Path

import pytest

from tests.support.tiny_run import CPU, tiny
from training.config import STAGES
from training.data.utterance import Utterance
from training.learning.run import train
from training.recipes.smoke import make_corpus, make_encoder


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> list[Utterance]:
    return make_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def trained(encoder: Path, corpus: list[Utterance], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose three stages are trained."""
    run = tmp_path_factory.mktemp("trained")
    train(STAGES, tiny(encoder), corpus, run, CPU)
    return run
