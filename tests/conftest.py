"""Shared by all tests: markers by folder, and the tiny version that the tests of serving run on."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from numpy.typing import NDArray
from starlette.testclient import TestClient

from app.engine.load import Model, load_model
from app.settings import Settings
from app.store.manifest import Manifest
from app.store.versions import load_manifest
from app.web.api import create_app
from tests.support.sounds import sound_file, speech
from tests.support.tiny_version import write_version

TESTS = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test is marked by the folder it lies in: unit, e2e, parity or bench."""
    for item in items:
        item.add_marker(item.path.relative_to(TESTS).parts[0])


@pytest.fixture(scope="session")
def make_speech() -> Callable[..., NDArray[Any]]:
    return speech


@pytest.fixture(scope="session")
def make_file() -> Callable[..., bytes]:
    return sound_file


@pytest.fixture(scope="session")
def make_version() -> Callable[..., Path]:
    return write_version


@pytest.fixture(scope="session")
def wav() -> bytes:
    """One second of speech, 16 kHz mono."""
    return sound_file(speech(1.0))


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model store with one tiny version, starter/0.1.0. Tests that change files copy it."""
    folder = tmp_path_factory.mktemp("model_store")
    write_version(folder)
    return folder


@pytest.fixture(scope="session")
def folder(store: Path) -> Path:
    """That version's folder."""
    return store / "starter" / "0.1.0"


@pytest.fixture(scope="session")
def manifest(folder: Path) -> Manifest:
    """The manifest of that version."""
    return load_manifest(folder)


@pytest.fixture
def settings(store: Path) -> Settings:
    return Settings(model_store=store, threads=1, decoders=1)


@pytest.fixture(scope="session")
def model(store: Path) -> Model:
    """The tiny version in fp32."""
    return load_model(Settings(model_store=store, precision="fp32", threads=1))


@pytest.fixture
def client(model: Model, settings: Settings) -> Iterator[TestClient]:
    """The whole service on the tiny version, in this process."""
    with TestClient(create_app(settings, model), raise_server_exceptions=False) as client:
        yield client
