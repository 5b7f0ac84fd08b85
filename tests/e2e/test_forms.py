"""Forms that are nearly right: the answer names the fault, and the service never guesses."""

import base64
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from app.engine.load import Model
from app.settings import Settings
from app.web.api import create_app
from tests.support.forms import JSON, MULTIPART, TEXT, URLENCODED, code, part, send

Listen = Callable[[FastAPI, Settings], tuple[str, int]]


def test_unknown_fields(client: TestClient) -> None:
    assert send(client, TEXT).status_code == 200
    for other in (part("text", b"x"), part("file", b"x", file=True), part("Transcript", b"x"), part("", b"x")):
        assert code(send(client, TEXT, other)) == (422, "unknown_field")
    assert code(client.post("/predict", data={"transcript": "하", "language": "ko"})) == (422, "unknown_field")


def test_fields_given_twice(client: TestClient, wav: bytes) -> None:
    assert code(send(client, TEXT, TEXT)) == (422, "duplicate_field")
    audio = part("audio", wav, file=True)
    assert code(send(client, audio, TEXT, audio)) == (422, "duplicate_field")
    assert code(send(client, audio, part("audio", b"x"))) == (422, "duplicate_field")
    for response in (
        client.post("/predict", content=b"transcript=a&transcript=b", headers=URLENCODED),
        client.post("/predict", content=b'{"transcript": "a", "transcript": "b"}', headers=JSON),
    ):
        assert code(response) == (422, "duplicate_field")


def test_forms_of_many_parts(client: TestClient) -> None:
    for each in (TEXT, part("audio", b"x", file=True)):
        assert code(send(client, *[each] * 5000)) == (422, "invalid_request")


def test_text_that_is_not_utf_8(client: TestClient) -> None:
    wrong = send(client, part("transcript", "정말 고마워요".encode("cp949")))
    assert code(wrong) == (422, "invalid_request") and "UTF-8" in wrong.json()["detail"]
    assert code(send(client, part("transcript", b"\xed\xa0\x80"))) == (
        422,
        "invalid_request",
    )  # half a surrogate pair
    assert "고마워요" not in wrong.text


@pytest.mark.parametrize(
    "text", ["정말\0고마워요", "\0", "[CLS] 정말 [SEP]", "</s>", "\ud83d", "\u202e정말", "�" * 100]
)
def test_strange_text_is_answered(client: TestClient, text: str) -> None:
    response = client.post("/predict", data={"transcript": text.encode("utf-8", "replace")})
    assert response.status_code == 200 and response.json()["modalities"] == ["text"]


def test_written_special_tokens_are_letters(client: TestClient) -> None:
    written, nothing = (
        client.post("/predict", data={"transcript": text}).json()["valence"] for text in ("[CLS]정말", "정말")
    )
    assert written != nothing


def test_large_uploads_stay_in_memory(client: TestClient, wav: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no folder for temporary files, and none is needed."""
    monkeypatch.setattr("tempfile.tempdir", "/nonexistent")
    assert client.post("/predict", files={"audio": wav + bytes(8_000_000)}).status_code == 200


def _judged(response: Any) -> Any:
    """An answer without what differs from one request to the next."""
    assert response.status_code == 200, response.text
    return {name: value for name, value in response.json().items() if name not in ("timing_ms", "request_id")}


@pytest.fixture
def right(client: TestClient) -> Any:
    """The answer to the text that most tests here send."""
    return _judged(client.post("/predict", files={"transcript": (None, "정말 고마워요".encode())}))


# The kinds of body


@pytest.mark.parametrize(
    "body",
    [
        "transcript=정말 고마워요".encode(),  # curl -d
        "transcript=정말+고마워요".encode(),
        f"transcript={quote('정말 고마워요')}".encode(),
        f"transcript={quote('정말')}+고마워요&audio=".encode(),
        f"&transcript={quote('정말 고마워요').lower()}&".encode(),
    ],
)
def test_an_urlencoded_transcript_is_read_as_it_was_written(client: TestClient, right: Any, body: bytes) -> None:
    assert _judged(client.post("/predict", content=body, headers=URLENCODED)) == right


@pytest.mark.parametrize("text", ["100% 정말", "1+1=2", "R&D", "a;b", "%zz", "%"])
def test_signs_of_urlencoded_text(client: TestClient, text: str) -> None:
    whole = _judged(client.post("/predict", files={"transcript": (None, text.encode())}))
    assert _judged(client.post("/predict", data={"transcript": text})) == whole
    if "%" in text:  # curl -d sends it as it is
        raw = f"transcript={text}".encode()
        assert _judged(client.post("/predict", content=raw, headers=URLENCODED)) == whole


@pytest.mark.parametrize("codec", ["euc-kr", "cp949", "johab", "utf-16", "utf-16-be"])
def test_text_in_another_encoding_is_refused_everywhere(client: TestClient, codec: str) -> None:
    text = "정말 고마워요".encode(codec)
    elsewhere = {"content-type": f"{URLENCODED['content-type']}; charset={codec}"}
    labelled = b"Content-Type: text/plain; charset=" + codec.encode() + b"\r\n"
    for response in (
        client.post("/predict", content=b"transcript=" + text, headers=URLENCODED),
        client.post("/predict", content=b"transcript=" + quote(text).encode(), headers=URLENCODED),
        client.post("/predict", content=b"transcript=x", headers=elsewhere),
        send(client, part("transcript", text)),
        send(client, part("transcript", text, file=True)),
        send(client, part("transcript", text, extra=labelled)),
        send(client, part("transcript", b"x", extra=labelled)),
    ):
        assert code(response) == (422, "invalid_request")
        assert "The transcript is not UTF-8" in response.json()["detail"]


@pytest.mark.parametrize("label", ["utf-8", "UTF8", "us-ascii", '"UTF-8"'])
def test_text_that_is_labelled_rightly(client: TestClient, right: Any, label: str) -> None:
    extra = f"Content-Type: text/plain; charset={label}\r\nContent-Transfer-Encoding: 8bit\r\n".encode()
    assert _judged(send(client, part("transcript", "정말 고마워요".encode(), extra=extra))) == right


def test_urlencoded_forms_are_small_and_hold_no_audio(client: TestClient) -> None:
    most = 65_536 - len(b"transcript=")
    largest = client.post("/predict", content=b"transcript=" + b"a" * most, headers=URLENCODED)
    assert code(largest) == (422, "transcript_too_long")
    large = client.post("/predict", content=b"transcript=" + b"a" * (most + 1), headers=URLENCODED)
    assert code(large) == (413, "body_too_large") and "65,536 bytes" in large.json()["detail"]
    streamed = client.post("/predict", content=iter([b"transcript=", *[b"a" * 10_000] * 7]), headers=URLENCODED)
    assert code(streamed) == (413, "body_too_large")
    for body in (b"audio=RIFF", b"audio=clip.wav&transcript=a", b"transcript=a&channel=0"):
        refused = client.post("/predict", content=body, headers=URLENCODED)
        assert code(refused) == (422, "invalid_request") and "curl -F" in refused.json()["detail"]
    assert code(client.post("/predict", content=b"", headers=URLENCODED)) == (422, "nothing_given")
    assert code(client.post("/predict", content=b"RIFF\x80\0&=&" * 99, headers=URLENCODED)) == (422, "unknown_field")


def test_json_is_answered_as_a_form_is(client: TestClient, right: Any, wav: bytes) -> None:
    encoded = base64.b64encode(wav).decode()
    whole = _judged(client.post("/predict", files={"audio": wav, "transcript": (None, "정말 고마워요".encode())}))
    assert _judged(client.post("/predict", json={"audio": encoded, "transcript": "정말 고마워요"})) == whole
    php = json.dumps({"audio": encoded, "transcript": "정말 고마워요", "channel": "mix"}).replace("/", "\\/")
    assert _judged(client.post("/predict", content=php, headers=JSON)) == whole
    for missing in ({}, {"audio": None}, {"audio": None, "channel": None}):
        assert _judged(client.post("/predict", json={"transcript": "정말 고마워요", **missing})) == right
    long = base64.b64encode(wav + os.urandom(300_000)).decode()
    assert client.post("/predict", json={"audio": long, "transcript": None}).json()["modalities"] == ["audio"]


@pytest.mark.parametrize(
    ("body", "status", "expected", "said"),
    [
        ({}, 422, "nothing_given", ""),
        ({"audio": None, "transcript": ""}, 422, "nothing_given", ""),
        ({"audio": ""}, 422, "audio_empty", ""),
        ({"audio": "aGVsbG8="}, 415, "audio_format_unsupported", ""),
        ({"audio": "data:audio/wav;base64,aGVsbG8="}, 422, "invalid_request", "data:"),
        ({"audio": "http://127.0.0.1/a.wav"}, 422, "invalid_request", "nothing is fetched"),
        ({"audio": "aGVsbG8"}, 422, "invalid_request", "`audio` is not base64"),
        ({"audio": 5}, 422, "invalid_request", "`audio` must be"),
        ({"transcript": ["hm"]}, 422, "invalid_request", "`transcript` must be"),
        ({"transcript": "hm", "langauge": "ko"}, 422, "unknown_field", "`langauge`"),
        ({"transcript": "하" * 2001}, 422, "transcript_too_long", ""),
        ([{"transcript": "hm"}], 422, "invalid_request", "object"),
    ],
)
def test_json_that_is_wrong(client: TestClient, body: Any, status: int, expected: str, said: str) -> None:
    refused = client.post("/predict", json=body)
    assert code(refused) == (status, expected) and said in refused.json()["detail"]


def test_json_in_another_encoding(client: TestClient) -> None:
    for content in ('{"transcript": "정말"}'.encode("cp949"), b'{"transcript": "\\ud83d"}', b'{"transcript": "hm"'):
        assert code(client.post("/predict", content=content, headers=JSON)) == (422, "invalid_request")


def test_base64_counts_as_it_was_sent(model: Model, settings: Settings, wav: bytes) -> None:
    small = settings.model_copy(update={"max_body_bytes": len(wav) + 1000})
    with TestClient(create_app(small, model)) as client:
        assert client.post("/predict", files={"audio": wav}).status_code == 200
        refused = client.post("/predict", json={"audio": base64.b64encode(wav).decode()})
        assert code(refused) == (413, "body_too_large")


@pytest.mark.parametrize(
    "kind", ["audio/wav", "text/plain", "application/octet-stream", "multipart/mixed; boundary=X", "text/json", "x"]
)
def test_other_kinds_of_body_are_refused_unread(client: TestClient, kind: str) -> None:
    def never_read() -> Iterator[bytes]:
        yield b"--X--"

    refused = client.post("/predict", content=never_read(), headers={"content-type": kind})
    assert code(refused) == (415, "content_type_unsupported") and "multipart/form-data" in refused.json()["detail"]


def test_a_body_of_no_kind(client: TestClient) -> None:
    assert code(client.post("/predict", content=b"hm")) == (415, "content_type_unsupported")
    assert code(client.post("/predict")) == (422, "nothing_given")


def test_compressed_bodies_are_refused(client: TestClient) -> None:
    for kind in (MULTIPART, JSON, URLENCODED):
        refused = client.post("/predict", content=b"x", headers={**kind, "content-encoding": "gzip"})
        assert code(refused) == (415, "content_type_unsupported") and "compression" in refused.json()["detail"]


# The parts of a form


@pytest.mark.parametrize(
    "name",
    [
        b"",
        b"; filename*=UTF-8''%ED%9A%8C%EC%9D%98.wav",
        b'; filename="' + "회의.wav".encode("cp949") + b'"',
        b'; filename="' + "회의.wav".encode() + b'"; filename*=euc-kr' + b"''%C8%B8",
        b'; filename="a"b".wav"',
    ],
)
def test_audio_is_audio_whatever_its_file_is_called(client: TestClient, wav: bytes, name: bytes) -> None:
    audio = b'--X\r\nContent-Disposition: form-data; name="audio"' + name + b"\r\n\r\n" + wav + b"\r\n"
    answer = send(client, audio, TEXT).json()
    assert (answer["modalities"], answer["audio"]["duration_s"]) == (["audio", "text"], 1.0)


def test_a_transcript_in_a_file_is_text(client: TestClient, right: Any) -> None:
    named = {"transcript": ("자막.txt", "정말 고마워요".encode(), "text/plain")}
    assert _judged(client.post("/predict", files=named)) == right


def test_odd_parts_are_refused_with_a_sentence(client: TestClient, wav: bytes) -> None:
    audio = part("audio", wav, file=True)
    for odd in (
        audio.replace(b"form-data;", b"form-dataX;"),
        audio.replace(b'name="audio"', b'name="audio"; name="transcript"'),
        audio.replace(b"\r\n\r\n", b"\r\nContent-Transfer-Encoding: base64\r\n\r\n", 1),
    ):
        refused = send(client, odd)
        assert code(refused) == (422, "invalid_request") and "part" in refused.json()["detail"]


# The end of input is not the end of the message


def test_a_form_that_ends_early_is_never_answered(client: TestClient, wav: bytes) -> None:
    whole = TEXT + part("audio", wav, file=True) + b"--X--"
    for length in (len(TEXT), len(TEXT) + 20, len(TEXT) + 100, len(TEXT) + 10_000, len(whole) - 7, len(whole) - 1):
        refused = client.post("/predict", content=whole[:length], headers=MULTIPART)
        assert code(refused) == (422, "invalid_request")
        assert "cut" in refused.json()["detail"]
    assert client.post("/predict", content=whole, headers=MULTIPART).status_code == 200


@pytest.mark.parametrize("body", [TEXT + b"--X--\r\n", "transcript=정말 고마워요".encode(), b'{"transcript": "hm"}'])
@pytest.mark.parametrize("framing", ["chunked", "length"])
@pytest.mark.parametrize("ending", ["closed", "half-closed"])
def test_a_body_that_the_client_does_not_finish(
    listen: Listen, model: Model, settings: Settings, body: bytes, framing: str, ending: str
) -> None:
    """All of the form has come, but not of the request: a proxy that broke off sends just that."""
    kind = {b"-": MULTIPART, b"t": URLENCODED, b"{": JSON}[body[:1]]
    head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: {kind['content-type']}\r\n"
    if framing == "chunked":
        sent = f"{head}Transfer-Encoding: chunked\r\n\r\n{len(body):x}\r\n".encode() + body + b"\r\n"
    else:
        sent = f"{head}Content-Length: {len(body) + 2}\r\n\r\n".encode() + body
    host, port = listen(create_app(settings, model), settings)
    with socket.create_connection((host, port), timeout=20) as connection:
        connection.sendall(sent)
        if ending == "half-closed":
            connection.shutdown(socket.SHUT_WR)
            assert b" 200 " not in connection.recv(10_000)
    with httpx.Client(base_url=f"http://{host}:{port}") as client:
        deadline = time.monotonic() + 20
        while 'maeum_rejected_total{reason="client_gone"} 1.0' not in (metrics := client.get("/metrics").text):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert 'maeum_requests_total{method="POST",route="/predict",status="200"} 0.0' in metrics
