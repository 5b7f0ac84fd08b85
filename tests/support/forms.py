"""Forms written by hand, for tests that need them nearly right."""

from typing import Any

from starlette.testclient import TestClient

JSON = {"content-type": "application/json"}
MULTIPART = {"content-type": "multipart/form-data; boundary=X"}
URLENCODED = {"content-type": "application/x-www-form-urlencoded"}


def part(name: str, content: bytes, *, file: bool = False, extra: bytes = b"") -> bytes:
    """A field of a form whose boundary is X; `extra` are more headers, each with its CRLF."""
    filename = b'; filename="clip.wav"' if file else b""
    head = b'--X\r\nContent-Disposition: form-data; name="' + name.encode() + b'"' + filename + b"\r\n" + extra
    return head + b"\r\n" + content + b"\r\n"


TEXT = part("transcript", "정말".encode())


def send(client: TestClient, *parts: bytes) -> Any:
    """The answer of POST /predict to a form of these parts."""
    return client.post("/predict", content=b"".join(parts) + b"--X--\r\n", headers=MULTIPART)


def code(response: Any) -> tuple[int, str]:
    """Status and code of a problem."""
    return response.status_code, response.json()["code"]
