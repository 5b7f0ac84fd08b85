"""The starter model as it is shipped: on the project's examples, and on a real clip where the corpora are there."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soxr  # type: ignore[import-untyped]
from numpy.typing import NDArray
from starlette.testclient import TestClient

from app.audio.decode import decode
from app.cli import main
from app.engine.load import load_model
from app.settings import Settings
from app.store.versions import list_versions
from app.web.api import create_app
from tests.support import ROOT, SHARED
from tests.support.encoded import ADTS, M4A, OPUS_WEBM, encode
from tests.support.sounds import sound_file

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


@pytest.fixture(scope="module")
def talk() -> NDArray[np.float32]:
    return decode((ROOT / "examples/complaint.wav").read_bytes()).samples


def ask(starter: TestClient, samples: NDArray[np.float32] | bytes, transcript: str | None = None) -> dict[str, Any]:
    data = samples if isinstance(samples, bytes) else sound_file(samples, encoding="FLOAT")
    response = starter.post("/predict", files={"audio": data}, data={"transcript": transcript} if transcript else None)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def nearly(one: dict[str, Any], other: dict[str, Any], most: float) -> None:
    assert one["emotion"]["label"] == other["emotion"]["label"]
    assert one["emotion"]["probabilities"] == pytest.approx(other["emotion"]["probabilities"], abs=most)
    assert one["arousal"] == pytest.approx(other["arousal"], abs=most)


def pause(seconds: float, level_db: float) -> NDArray[np.float32]:
    noise = np.random.default_rng(3).standard_normal(round(seconds * 16_000))
    return (noise * 10 ** (level_db / 20)).astype(np.float32)


@pytest.mark.parametrize("level_db", [-np.inf, -60.0, -45.0])
@pytest.mark.parametrize("seconds", [0.5, 3.0, 16.0])
def test_silence_around_speech_decides_nothing(
    starter: TestClient, talk: NDArray[np.float32], seconds: float, level_db: float
) -> None:
    """A second of it turned a quarter of the answers, and three turned all to one."""
    alone = ask(starter, talk)
    around = ask(starter, np.concatenate((pause(seconds, level_db), talk, pause(seconds, level_db))))
    nearly(around, alone, 0.1)
    (first, *_), (start, *_) = around["audio"]["speech"], alone["audio"]["speech"]
    assert first["start_s"] == pytest.approx(seconds + start["start_s"], abs=0.1)
    near_s = 0.4 if level_db > -50 else 0.2  # noise is taken for the end of a word
    assert around["audio"]["used"]["end_s"] == pytest.approx(seconds + alone["audio"]["used"]["end_s"], abs=near_s)
    assert around["audio"]["speech_s"] == pytest.approx(alone["audio"]["speech_s"], abs=2 * near_s)


@pytest.mark.parametrize("offset", [0.1, -0.2])
def test_an_offset_decides_nothing(starter: TestClient, talk: NDArray[np.float32], offset: float) -> None:
    nearly(ask(starter, talk / 2 + np.float32(offset)), ask(starter, talk), 0.05)


KINDS = {
    "FLAC": lambda talk: sound_file(talk, container="FLAC"),
    "Vorbis": lambda talk: sound_file(talk, container="OGG", encoding="VORBIS"),
    "Opus": lambda talk: sound_file(talk, container="OGG", encoding="OPUS"),
    "MP3": lambda talk: sound_file(talk, container="MP3", encoding="MPEG_LAYER_III"),
    "stereo": lambda talk: sound_file(np.stack([talk, talk], axis=1)),
    "M4A": lambda talk: encode(soxr.resample(talk, 16_000, M4A.rate), M4A),
    "WebM": lambda talk: encode(soxr.resample(talk, 16_000, OPUS_WEBM.rate), OPUS_WEBM),
    "AAC": lambda talk: encode(talk, ADTS),
    "A-law": lambda talk: sound_file(talk, encoding="ALAW"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_container_decides_nothing(starter: TestClient, talk: NDArray[np.float32], kind: str) -> None:
    answer = ask(starter, KINDS[kind](talk))
    assert answer["warnings"] == []
    nearly(answer, ask(starter, talk), 0.2)


@pytest.mark.parametrize("samples", [np.zeros(32_000, np.float32), pause(3, -30), pause(0.01, -20)])
def test_audio_without_speech_is_not_judged(starter: TestClient, samples: NDArray[np.float32]) -> None:
    answer = ask(starter, samples)
    assert (answer["emotion"], answer["arousal"], answer["valence"], answer["modalities"]) == (None, None, None, [])
    assert answer["audio"]["speech"] == [] and answer["audio"]["speech_s"] == 0 and answer["audio"]["used"] is None
    assert [warned["code"] for warned in answer["warnings"]] == ["audio_no_speech"]
    words = "정말 고마워요"
    beside = ask(starter, samples, words)
    alone = starter.post("/predict", data={"transcript": words}).json()
    assert beside["modalities"] == ["text"] and beside["arousal"] is None
    assert (beside["emotion"], beside["valence"]) == (alone["emotion"], alone["valence"])


def test_very_little_speech_is_answered_with_a_warning(starter: TestClient, talk: NDArray[np.float32]) -> None:
    answer = ask(starter, talk[4_000 : 4_000 + 5_000])
    assert 0 < answer["audio"]["speech_s"] < 0.4
    assert [warned["code"] for warned in answer["warnings"]] == ["audio_little_speech"]


def test_the_command_line_says_that_there_is_no_speech(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "silence.wav"
    path.write_bytes(sound_file(np.zeros(16_000, np.float32)))
    assert main(["predict", str(path)]) == 0
    printed = capsys.readouterr().out
    assert "holds no speech" in printed and "emotion" not in printed
