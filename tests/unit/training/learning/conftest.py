"""The tiny text encoder and corpus that the training tests share."""

from pathlib import Path

import pytest

from training.data.utterance import Utterance
from training.recipes.smoke import make_corpus, make_encoder


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> list[Utterance]:
    return make_corpus(tmp_path_factory.mktemp("corpus"))
