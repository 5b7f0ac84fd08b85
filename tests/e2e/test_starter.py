"""The starter model as it is shipped: on the project's examples, and on a real clip where the corpora are there."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from app.cli import main
from app.engine.load import load_model
from app.settings import Settings
from app.store.versions import list_versions
from app.web.api import create_app
from tests.support import ROOT, SHARED

EXAMPLES = sorted((ROOT / "examples").glob("*.wav"))
CORPUS = SHARED / "corpora" / "ko_emotional_speech"

pytestmark = pytest.mark.skipif(not list_versions(ROOT / "model_store"), reason="model_store/ holds no model")


@pytest.fixture(scope="module")
def starter() -> Iterator[TestClient]:
    settings = Settings(threads=1)
    with TestClient(create_app(settings, load_model(settings))) as client:
        yield client


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_the_examples_are_answered_without_a_warning(starter: TestClient, path: Path) -> None:
    response = starter.post("/predict", files={"audio": path.read_bytes()})
    assert response.status_code == 200 and response.json()["warnings"] == []


@pytest.mark.skipif(not CORPUS.exists(), reason="the Korean corpus in ../shared is not there")
def test_a_real_clip_gets_its_three_answers_over_http_and_on_the_command_line(
    starter: TestClient, capsys: pytest.CaptureFixture[str]
) -> None:
    with (CORPUS / "metadata.csv").open(encoding="utf-8") as file:
        clip = next(csv.DictReader(file))
    path, transcript = CORPUS / clip["file"], clip["transcript"]
    response = starter.post("/predict", files={"audio": path.read_bytes()}, data={"transcript": transcript})
    over_http = response.json()
    assert main(["predict", str(path), "--transcript", transcript, "--json"]) == 0
    here = json.loads(capsys.readouterr().out)
    assert over_http["warnings"] == here["warnings"] == []
    for score in ("arousal", "valence"):
        assert 1 <= over_http[score] <= 5
        assert here[score] == pytest.approx(over_http[score], abs=1e-3)
    assert here["emotion"]["label"] == over_http["emotion"]["label"]
    probabilities = over_http["emotion"]["probabilities"]
    assert here["emotion"]["probabilities"] == pytest.approx(probabilities, abs=1e-3)
    assert sum(probabilities.values()) == pytest.approx(1, abs=1e-3)
