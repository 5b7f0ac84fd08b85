"""Forms that are nearly right: the answer names the fault, and the service never guesses."""

from typing import Any

import pytest
from starlette.testclient import TestClient

MULTIPART = {"content-type": "multipart/form-data; boundary=X"}


def _part(name: str, content: bytes, *, file: bool = False, extra: bytes = b"") -> bytes:
    filename = b'; filename="clip.wav"' if file else b""
    head = b'--X\r\nContent-Disposition: form-data; name="' + name.encode() + b'"' + filename + b"\r\n" + extra
    return head + b"\r\n" + content + b"\r\n"


def _send(client: TestClient, *parts: bytes) -> Any:
    return client.post("/predict", content=b"".join(parts) + b"--X--\r\n", headers=MULTIPART)


def _code(response: Any) -> tuple[int, str]:
    return response.status_code, response.json()["code"]


TEXT = _part("transcript", "정말".encode())


def test_unknown_fields(client: TestClient) -> None:
    assert _send(client, TEXT).status_code == 200
    for other in (_part("text", b"x"), _part("file", b"x", file=True), _part("Transcript", b"x"), _part("", b"x")):
        assert _code(_send(client, TEXT, other)) == (422, "unknown_field")
    assert _code(client.post("/predict", data={"transcript": "하", "language": "ko"})) == (422, "unknown_field")


def test_fields_given_twice(client: TestClient, wav: bytes) -> None:
    assert _code(_send(client, TEXT, TEXT)) == (422, "duplicate_field")
    audio = _part("audio", wav, file=True)
    assert _code(_send(client, audio, TEXT, audio)) == (422, "duplicate_field")
    assert _code(_send(client, audio, _part("audio", b"x"))) == (422, "duplicate_field")
    urlencoded = {"content-type": "application/x-www-form-urlencoded"}
    assert _code(client.post("/predict", content=b"transcript=a&transcript=b", headers=urlencoded)) == (
        422,
        "duplicate_field",
    )


def test_forms_of_many_parts(client: TestClient) -> None:
    for part in (TEXT, _part("audio", b"x", file=True)):
        assert _code(_send(client, *[part] * 5000)) == (422, "invalid_request")


def test_text_that_is_not_utf_8(client: TestClient) -> None:
    wrong = _send(client, _part("transcript", "정말 고마워요".encode("cp949")))
    assert _code(wrong) == (422, "invalid_request") and "UTF-8" in wrong.json()["detail"]
    assert _code(_send(client, _part("transcript", b"\xed\xa0\x80"))) == (
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
