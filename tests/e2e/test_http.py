"""The service as a client meets it: every answer and every failure, on real sessions of the tiny version."""

import io
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from starlette.testclient import TestClient

import app.service
from app.engine.engine import ModelInput, Prediction
from app.engine.load import Model, load_model
from app.errors import DecoderUnavailable, MaeumError
from app.pipeline import predict
from app.settings import Settings
from app.web.api import create_app
from app.web.problems import PREDICT_ERRORS

MakeSpeech = Callable[..., NDArray[np.float32]]
MakeFile = Callable[..., bytes]
CLASSES = ["neutral", "sad", "happy", "surprise", "angry"]


def _predict(client: TestClient, audio: bytes | None = None, transcript: str | None = None) -> Any:
    parts: dict[str, Any] = {}
    if audio is not None:
        parts["audio"] = ("clip", audio)
    if transcript is not None:
        parts["transcript"] = (None, transcript.encode())
    if parts:
        return client.post("/predict", files=parts)
    return client.post("/predict", content=b"--X--", headers={"content-type": "multipart/form-data; boundary=X"})


def _check_problem(response: Any, status: int, code: str) -> dict[str, Any]:
    problem: dict[str, Any] = response.json()
    assert (response.status_code, problem["code"]) == (status, code)
    assert response.headers["content-type"] == "application/problem+json"
    assert set(problem) == {"type", "title", "status", "detail", "code", "request_id"}
    assert problem["status"] == status and problem["type"] == f"urn:maeum:problem:{code}"
    assert problem["request_id"] == response.headers["x-request-id"]
    assert problem["title"] and problem["detail"].endswith(".")
    return problem


def _serve(settings: Settings, model: Model | None = None) -> TestClient:
    return TestClient(create_app(settings, model), raise_server_exceptions=False)


def _until_ready(client: TestClient) -> None:
    deadline = time.monotonic() + 20
    while client.get("/health/ready").status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _batcher(client: TestClient) -> Any:
    return client.app.state.service._serving._batcher  # type: ignore[attr-defined]


def _until_waiting(client: TestClient, count: int) -> None:
    deadline = time.monotonic() + 20
    while _batcher(client).waiting < count:
        assert time.monotonic() < deadline
        time.sleep(0.01)


# Answers


def test_both_modalities(client: TestClient, make_speech: MakeSpeech, make_file: MakeFile) -> None:
    response = _predict(client, make_file(make_speech(1.5, 44100, 2), 44100), "정말 고마워요")
    answer = response.json()
    assert response.status_code == 200
    assert list(answer) == [
        *("arousal", "valence", "emotion", "modalities", "audio", "model", "warnings", "timing_ms", "request_id")
    ]
    assert 1 <= answer["arousal"] <= 5 and 1 <= answer["valence"] <= 5
    assert list(answer["emotion"]["probabilities"]) == CLASSES
    assert sum(answer["emotion"]["probabilities"].values()) == pytest.approx(1, abs=1e-3)
    assert answer["emotion"]["label"] == max(CLASSES, key=answer["emotion"]["probabilities"].__getitem__)
    assert answer["modalities"] == ["audio", "text"]
    assert answer["audio"] == {
        **{"duration_s": 1.5, "sample_rate": 44100, "channels": 2, "channel": "mix"},
        **{"speech": None, "speech_s": None, "used": {"start_s": 0.0, "end_s": 1.5}},  # this version has no detector
    }
    assert answer["model"] == {"name": "starter", "version": "0.1.0"}
    assert answer["warnings"] == []
    assert set(answer["timing_ms"]) == {"decoder_queue", "decode", "queue", "inference"}
    assert answer["request_id"] == response.headers["x-request-id"]


def test_audio_alone(client: TestClient, wav: bytes) -> None:
    for response in (_predict(client, wav), _predict(client, wav, ""), _predict(client, wav, "  \n")):
        answer = response.json()
        assert answer["arousal"] is not None and answer["valence"] is None
        assert answer["modalities"] == ["audio"] and answer["warnings"] == []


def test_text_alone(client: TestClient) -> None:
    form = {"transcript": "정말 고마워요"}
    empty_file = (
        b'--X\r\nContent-Disposition: form-data; name="audio"; filename=""\r\n'
        b"Content-Type: application/octet-stream\r\n\r\n\r\n"
        b'--X\r\nContent-Disposition: form-data; name="transcript"\r\n\r\n' + form["transcript"].encode() + b"\r\n--X--"
    )
    responses = [
        _predict(client, transcript=form["transcript"]),
        client.post("/predict", data=form),
        client.post("/predict", data=form | {"audio": ""}),
        client.post("/predict", content=empty_file, headers={"content-type": "multipart/form-data; boundary=X"}),
    ]
    for response in responses:
        answer = response.json()
        assert answer["arousal"] is None and answer["valence"] is not None
        assert answer["modalities"] == ["text"] and answer["audio"] is None


def test_the_same_request_gets_the_same_answer(store: Path, wav: bytes, make_file: MakeFile) -> None:
    """Also where others are answered at the same time, in the precision that a CPU takes by itself."""
    settings = Settings(model_store=store, threads=1)
    with _serve(settings) as client:
        _until_ready(client)
        with ThreadPoolExecutor(8) as threads:
            noise = np.random.default_rng(1).normal(0, 0.2, 20000).astype(np.float32)
            others = [threads.submit(_predict, client, make_file(noise[:n]), "하하") for n in range(5000, 20000, 700)]
            same = [threads.submit(_predict, client, wav, "정말 고마워요") for _ in range(10)]
            answers = [future.result().json() for future in same]
            assert all(future.result().status_code == 200 for future in others)
    for answer in answers:
        del answer["timing_ms"], answer["request_id"]
    assert all(answer == answers[0] for answer in answers)


def test_tags_in_a_transcript_change_nothing(client: TestClient) -> None:
    tagged, plain = (_predict(client, transcript=text).json() for text in ("n/ 정말 c/ 고마워요 b/", "정말 고마워요"))
    assert tagged["valence"] == plain["valence"]


@pytest.mark.parametrize(
    ("seconds", "scale", "transcript", "codes"),
    [
        (1.0, 1.0, "하", []),
        (2.5, 1.0, None, ["audio_truncated"]),  # the tiny version uses two seconds
        (1.0, 0.0, None, ["audio_no_speech"]),
        (0.1, 1.0, None, ["audio_little_speech"]),
        (0.0001, 0.0, None, ["audio_no_speech"]),
        (1.0, 1.0, "하" * 30, ["transcript_truncated"]),
        (1.0, 1.0, "n/ b/ *", ["transcript_empty"]),
    ],
)
def test_warnings(
    client: TestClient,
    make_speech: MakeSpeech,
    make_file: MakeFile,
    seconds: float,
    scale: float,
    transcript: str | None,
    codes: list[str],
) -> None:
    answer = _predict(client, make_file(make_speech(seconds) * scale), transcript).json()
    assert [warned["code"] for warned in answer["warnings"]] == codes
    assert all(warned["detail"].endswith(".") for warned in answer["warnings"])
    assert answer["audio"]["duration_s"] == pytest.approx(seconds, abs=1e-4)


def test_a_file_of_which_part_is_missing(client: TestClient, make_speech: MakeSpeech, make_file: MakeFile) -> None:
    """The warning comes from the process that decodes."""
    flac = make_file(make_speech(1.5), container="FLAC")
    answers = [_predict(client, data).json() for data in (flac, flac[: 2 * len(flac) // 3])]
    assert [[warned["code"] for warned in answer["warnings"]] for answer in answers] == [[], ["audio_part_missing"]]
    assert 0.3 < answers[1]["audio"]["duration_s"] < 1.3


def test_samples_past_the_longest_clip_do_not_count(
    client: TestClient, make_speech: MakeSpeech, make_file: MakeFile
) -> None:
    longest = 64 * 512 - 1
    speech = make_speech(4.0)
    whole, cut = (_predict(client, make_file(samples)).json() for samples in (speech, speech[:longest]))
    assert whole["arousal"] == cut["arousal"] and whole["emotion"] == cut["emotion"]
    assert cut["warnings"] == []


def test_an_offset_is_no_sound(client: TestClient, make_file: MakeFile) -> None:
    answer = _predict(client, make_file(np.full(16000, 0.3, dtype=np.float32))).json()
    assert [warned["code"] for warned in answer["warnings"]] == ["audio_no_speech"]


@pytest.mark.parametrize(("given", "kept"), [("abc-1.2_3", True), ("a" * 65, False), ("a b", False), ("<x>", False)])
def test_request_ids(client: TestClient, given: str, kept: bool) -> None:
    response = client.post("/predict", data={"transcript": "하"}, headers={"X-Request-ID": given})
    assert (response.json()["request_id"] == given) is kept
    assert response.json()["request_id"] == response.headers["x-request-id"]
    assert client.get("/health/live").headers["x-request-id"] != client.get("/health/live").headers["x-request-id"]


def test_health_and_model(client: TestClient) -> None:
    assert client.get("/health/live").json() == {"status": "live"}
    assert client.get("/health/ready").json() == {"status": "ready"}
    assert client.head("/health/live").status_code == client.head("/health/ready").status_code == 200
    served = client.get("/model").json()
    assert served["manifest"]["name"] == "starter" and served["manifest"]["emotion"]["classes"] == CLASSES
    assert served["card"].startswith("# Tiny") and (served["precision"], served["provider"]) == ("fp32", "cpu")


# Refusals


@pytest.mark.parametrize(
    ("audio", "transcript", "status", "code"),
    [
        (None, None, 422, "nothing_given"),
        (None, "", 422, "nothing_given"),
        (None, " n/ b/ ", 422, "nothing_given"),
        (None, "하" * 2001, 422, "transcript_too_long"),
        (None, "하" * 2_000_000, 422, "transcript_too_long"),
        (b"", None, 422, "audio_empty"),
        (b"", "하", 422, "audio_empty"),
        (b"hello", None, 415, "audio_format_unsupported"),
        (b"\x1a\x45\xdf\xa3webm", None, 422, "audio_undecodable"),
        (b"FORM\0\0\0\0AIFF", None, 415, "audio_format_unsupported"),
        (b"RIFF\0\0\0\0WAVE", None, 422, "audio_undecodable"),
        (b"fLaC" + b"\0" * 60, "하", 422, "audio_undecodable"),
        (b"OggS" + b"\0" * 22 + b"\1\x10OpusHead", None, 422, "audio_undecodable"),
    ],
)
def test_bad_input(client: TestClient, audio: bytes | None, transcript: str | None, status: int, code: str) -> None:
    _check_problem(_predict(client, audio, transcript), status, code)


def test_the_longest_transcript_is_taken(client: TestClient) -> None:
    assert _predict(client, transcript="하" * 2000).status_code == 200


def test_other_encodings_are_refused_by_name(client: TestClient, make_speech: MakeSpeech, make_file: MakeFile) -> None:
    adpcm = make_file(make_speech(1.0), encoding="G721_32")
    assert "G.721 ADPCM" in _check_problem(_predict(client, adpcm), 415, "audio_format_unsupported")["detail"]


def test_a_bomb_is_refused(client: TestClient, make_file: MakeFile) -> None:
    bomb = make_file(np.zeros(8000 * 700, dtype=np.int16), 8000, "FLAC")
    _check_problem(_predict(client, bomb), 422, "audio_too_long")


def test_forms_that_cannot_be_read(client: TestClient) -> None:
    multipart = {"content-type": "multipart/form-data; boundary=X"}
    for response in (
        client.post("/predict", data={"audio": "not a file"}),
        client.post("/predict", content=b"junk", headers=multipart),
        client.post("/predict", content=b"--X\r\ncut", headers=multipart),
        client.post("/predict", content=b"junk", headers={"content-type": "multipart/form-data"}),
    ):
        problem = _check_problem(response, 422, "invalid_request")
        assert "not a file" not in problem["detail"]
    for other in ("audio/wav", "text/plain"):
        refused = client.post("/predict", content=b"{}", headers={"content-type": other})
        _check_problem(refused, 415, "content_type_unsupported")
    json = client.post("/predict", content=b"{}", headers={"content-type": "application/json"})
    for response in (client.post("/predict"), json):
        _check_problem(response, 422, "nothing_given")


def test_random_bodies_never_end_the_service(client: TestClient, wav: bytes) -> None:
    random = np.random.default_rng(3)
    for size in (1, 10, 100, 1000, 10_000):
        for start in (b"", b"RIFF\0\0\0\0WAVEfmt ", b"fLaC", b"ID3\4\0\0", b"\xff\xfb\x90\x00", wav[:44]):
            response = _predict(client, start + random.bytes(size))
            assert response.status_code in (200, 415, 422)
    assert _predict(client, wav).status_code == 200


@pytest.fixture
def narrow(model: Model, settings: Settings) -> Iterator[TestClient]:
    """A service that takes bodies of at most 50 kB."""
    small = settings.model_copy(update={"max_body_bytes": 50_000})
    with _serve(small, model) as client:
        yield client


def test_large_bodies_are_refused_announced_or_streamed(narrow: TestClient, wav: bytes) -> None:
    assert _predict(narrow, wav).status_code == 200
    too_large = _check_problem(_predict(narrow, wav * 2), 413, "body_too_large")
    assert "0.05 MB" in too_large["detail"]

    def stream(parts: int) -> Iterator[bytes]:
        yield b'--X\r\nContent-Disposition: form-data; name="audio"; filename="a.wav"\r\n\r\n' + wav
        for _ in range(parts):
            yield b"\0" * 10_000
        yield b"\r\n--X--\r\n"

    headers = {"content-type": "multipart/form-data; boundary=X"}
    assert narrow.post("/predict", content=stream(1), headers=headers).status_code == 200
    _check_problem(narrow.post("/predict", content=stream(5), headers=headers), 413, "body_too_large")
    assert _predict(narrow, wav).status_code == 200


def test_the_default_limit_is_25_mb(client: TestClient, wav: bytes) -> None:
    problem = _check_problem(_predict(client, wav + b"\0" * 25_000_000), 413, "body_too_large")
    assert "25 MB" in problem["detail"]


def test_other_addresses_and_methods(client: TestClient) -> None:
    _check_problem(client.get("/nothing"), 404, "not_found")
    for path in ("/predict/", "//predict", "/health//live", "/health/live/", "///model", "/docs/", "/openapi.json/"):
        for method in ("GET", "POST"):
            sent = client.request(method, f"http://testserver{path}", follow_redirects=False)
            right = "/" + "/".join(filter(None, path.split("/")))
            assert f" {right}." in _check_problem(sent, 404, "not_found")["detail"]
    assert "/nothing" not in client.get("/nothing/").json()["detail"]
    refused = client.get("/predict")
    _check_problem(refused, 405, "method_not_allowed")
    assert refused.headers["allow"] == "POST"


# Failures inside


class Gate:
    """Holds a model's batches until it is opened; counts them."""

    def __init__(self, model: Model) -> None:
        self.model, self.entered, self.opened = model, threading.Semaphore(0), threading.Event()

    def __call__(self, batch: Any) -> list[Prediction]:
        self.entered.release()
        assert self.opened.wait(timeout=20)
        return self.model.predict(batch)


def test_a_full_queue(model: Model, settings: Settings) -> None:
    gate = Gate(model)
    small = settings.model_copy(update={"max_queue": 2})
    with _serve(small, replace(model, runners=[gate])) as client, ThreadPoolExecutor(3) as threads:
        running = threads.submit(_predict, client, None, "하")
        assert gate.entered.acquire(timeout=20)
        waiting = [threads.submit(_predict, client, None, text) for text in ("정말", "고마워요")]
        _until_waiting(client, 2)
        full = _predict(client, None, "아")
        _check_problem(full, 429, "queue_full")
        assert int(full.headers["retry-after"]) >= 1
        gate.opened.set()
        assert [future.result().status_code for future in (running, *waiting)] == [200, 200, 200]
        assert _predict(client, None, "아").status_code == 200


@pytest.mark.parametrize("failure", [RuntimeError("the device is gone"), MemoryError()])
def test_a_failing_batch_answers_everyone_and_the_next_request_works(
    model: Model, settings: Settings, wav: bytes, failure: Exception
) -> None:
    gate = Gate(model)

    def fails_on_words(batch: list[ModelInput]) -> list[Prediction]:
        if any(utterance.input_ids is not None for utterance in batch):
            raise failure
        return gate(batch)

    failing = replace(model, runners=[fails_on_words], provider="cuda")  # on a CPU all leave alone
    with _serve(settings, failing) as client, ThreadPoolExecutor(4) as threads:
        running = threads.submit(_predict, client, wav)
        assert gate.entered.acquire(timeout=20)
        batch = [threads.submit(_predict, client, *given) for given in ((wav, "하"), (wav, None), (wav, "하"))]
        _until_waiting(client, 3)
        gate.opened.set()
        assert running.result().status_code == 200
        for future in batch:
            _check_problem(future.result(), 500, "inference_failed")
        assert _predict(client, wav).status_code == 200
        assert client.get("/health/ready").status_code == 200


def test_the_unexpected_is_logged_without_the_input(
    model: Model, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        def encode(self, text: str) -> None:
            raise KeyError(text)

    broken: Any = Broken()
    with _serve(settings, replace(model, tokenizer=broken)) as client:
        problem = _check_problem(_predict(client, transcript="비밀 이야기"), 500, "internal_error")
        assert client.get("/health/ready").status_code == 200
    assert problem["request_id"] in caplog.text and "KeyError" in caplog.text
    assert "비밀" not in caplog.text and "비밀" not in problem["detail"]


# Life of the service


def test_ready_only_when_loaded(store: Path, wav: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()

    def slow(settings: Settings) -> Model:
        assert go_on.wait(timeout=20)
        return load_model(settings)

    monkeypatch.setattr(app.service, "load_model", slow)
    outcomes: list[Model | MaeumError] = []
    settings = Settings(model_store=store, threads=1)
    with TestClient(create_app(settings, on_loaded=outcomes.append)) as client:
        assert client.get("/health/live").status_code == 200
        for response in (client.get("/health/ready"), client.get("/model"), _predict(client, wav)):
            _check_problem(response, 503, "not_ready")
            assert "retry-after" in response.headers
        go_on.set()
        _until_ready(client)
        assert _predict(client, wav).status_code == 200
        assert isinstance(outcomes[0], Model)


@pytest.mark.parametrize("model", ["starter", "absent"])
def test_a_model_that_cannot_be_loaded_is_never_ready(store: Path, tmp_path: Path, model: str) -> None:
    damaged = Path(shutil.copytree(store, tmp_path / "store"))
    (damaged / "starter" / "0.1.0" / "emotion.onnx").write_bytes(b"not a graph")
    loaded = threading.Event()
    app_ = create_app(Settings(model_store=damaged, model=model), on_loaded=lambda _: loaded.set())
    with TestClient(app_) as client:
        assert loaded.wait(timeout=20)
        problem = _check_problem(client.get("/health/ready"), 503, "not_ready")
        assert {"starter": "model_corrupt", "absent": "model_not_found"}[model] in problem["detail"]
        assert str(damaged) not in problem["detail"]
        _check_problem(_predict(client, transcript="하"), 503, "not_ready")
        assert client.get("/health/live").status_code == 200


def test_nothing_is_read_at_import_or_creation(tmp_path: Path) -> None:
    create_app(Settings(model_store=tmp_path / "absent"))


def test_ready_only_while_a_clip_can_be_decoded(store: Path, wav: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = threading.Event()
    outcomes: list[Model | MaeumError] = []

    def on_loaded(outcome: Model | MaeumError) -> None:
        outcomes.append(outcome)
        loaded.set()

    monkeypatch.setattr(sys, "executable", "/bin/false")
    settings = Settings(model_store=store, threads=1, decoders=1)
    with TestClient(create_app(settings, on_loaded=on_loaded)) as client:
        assert loaded.wait(timeout=20)
        assert isinstance(outcomes[0], DecoderUnavailable) and "No audio can be decoded" in str(outcomes[0])
        _check_problem(client.get("/health/ready"), 503, "not_ready")
        assert "maeum_ready 0.0" in client.get("/metrics").text
        _check_problem(_predict(client, wav), 503, "decoder_unavailable")
        assert _predict(client, transcript="하").status_code == 200
        monkeypatch.undo()
        _until_ready(client)
        assert _predict(client, wav).status_code == 200


def test_a_service_whose_queue_has_ended_is_not_ready(model: Model, settings: Settings) -> None:
    with _serve(settings, model) as client:
        assert client.get("/health/ready").status_code == 200
        assert client.portal is not None
        client.portal.call(_batcher(client).close)
        _check_problem(client.get("/health/ready"), 503, "not_ready")


def test_every_documented_code_is_met_by_a_test() -> None:
    sources = [path.read_text(encoding="utf-8") for path in Path(__file__).parents[1].rglob("test_*.py")]
    assert [error.code for error in PREDICT_ERRORS if not any(f'"{error.code}"' in source for source in sources)] == []


def test_the_command_line_and_http_agree(client: TestClient, model: Model, settings: Settings, wav: bytes) -> None:
    over_http = _predict(client, wav, "정말 고마워요").json()
    here = predict(model, settings, io.BytesIO(wav), "정말 고마워요").model_dump()
    for answer in (over_http, here):
        del answer["timing_ms"]
    assert {key: value for key, value in over_http.items() if key != "request_id"} == here
