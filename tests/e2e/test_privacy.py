"""Nothing that is sent remains afterwards: not in the log at debug level, in the metrics, or on disk."""

import json
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest

MARK = "Mk7f3aXq"
HANGUL = "비밀표식쀍"
MULTIPART = {"content-type": "multipart/form-data; boundary=X"}


def _marked_wav(make_file: Callable[..., bytes], **options: Any) -> bytes:
    """Audio whose samples spell the mark, with a comment that does too."""
    samples = np.frombuffer(MARK.encode() * 4000, dtype=np.int16)
    comment = b"LIST" + (4 + 8 + len(MARK)).to_bytes(4, "little") + b"INFOICMT" + len(MARK).to_bytes(4, "little")
    return make_file(samples, **options) + comment + MARK.encode()


def _part(name: str, content: bytes, filename: str = "") -> bytes:
    file = f'; filename="{filename}"' if filename else ""
    return f'--X\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode() + content + b"\r\n"


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_marked_requests_leave_no_mark(
    start_service: Callable[..., Any], tmp_path: Path, make_file: Callable[..., bytes], log_format: str
) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"shop {'0' * 64}\n")
    folders = {"TMPDIR": str(tmp_path), "HOME": str(tmp_path)}
    service = start_service(folders, log_format=log_format, log_level="debug", max_body_bytes=3_000_000, admin=True)
    wav, text = _marked_wav(make_file), f"{HANGUL} {MARK}".encode()
    headers = {
        **MULTIPART,
        "tracestate": f"a={MARK}",
        "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "X-API-Key": MARK,
        "Authorization": f"Bearer {MARK}",
        "User-Agent": MARK,
        "Cookie": MARK,
        "X-Request-ID": f"<{MARK}>",
    }
    bodies = {
        200: [
            _part("audio", wav, f"{MARK}.wav") + _part("transcript", text),
            _part("audio", wav + bytes(2_500_000), f"{MARK}.wav"),
            _part("audio", _marked_wav(make_file, container="FLAC"), f"{MARK}.flac"),
            _part("transcript", text),
        ],
        413: [_part("audio", wav * 120, f"{MARK}.wav")],
        415: [_part("audio", text), _part("audio", text, f"{MARK}.wav")],
        422: [
            _part("audio", wav[:30] + text, f"{MARK}.wav"),
            _part("audio", b"fLaC" + text, f"{MARK}.flac"),
            _part("audio", b"\0\0\0\x1cftypM4A " + text * 9, f"{MARK}.m4a"),
            _part("transcript", text * 2000),
            _part("transcript", text + HANGUL.encode("cp949")),
            _part("transcript", text) * 2,
        ],
    }
    with service.client() as client:
        for status, parts in bodies.items():
            for part in parts:
                content = b"".join([part, b"--X--\r\n"])
                answer = client.post("/predict", content=content, headers=headers)
                assert answer.status_code == status
                assert MARK not in answer.text and HANGUL not in answer.text
                assert MARK not in str(answer.headers)
        for names in (f"/predict?transcript={MARK}", f"/predict?{MARK}", f"/model?{MARK}={MARK}"):
            assert client.post(names, content=_part(MARK, text), headers=headers).status_code in (405, 422)
        for in_json in ({"transcript": f"{HANGUL} {MARK}"}, {"audio": MARK}, {MARK: HANGUL}):
            client.post("/predict", json=in_json, headers={"X-API-Key": MARK})
            client.post("/predict", data=in_json, headers={"X-API-Key": MARK})
        for path in (f"/{MARK}", f"/predict/{MARK}?{MARK}={MARK}", f"/docs?{MARK}"):
            assert MARK not in client.get(path, headers=headers).text
        late = {**headers, "X-Request-Timeout": MARK}
        assert client.post("/predict", content=bodies[200][0] + b"--X--\r\n", headers=late).status_code == 422
        assert client.post("/predict", content=_part(MARK, text) + b"--X--\r\n", headers=headers).status_code == 422
        assert client.post("/admin/reload", json={"model": MARK}).status_code == 409
        for raw in (
            f"{MARK} / HTTP/1.1\r\n\r\n",
            f"GET / HTTP/1.1\r\n{MARK}\r\n\r\n",
            f"POST /predict HTTP/1.1\r\nX: {MARK}",
        ):
            with socket.create_connection((urlsplit(service.address).hostname, urlsplit(service.address).port)) as wire:
                wire.sendall(raw.encode())
        for part in bodies[200]:  # and some that leave before they are answered
            with socket.create_connection((urlsplit(service.address).hostname, urlsplit(service.address).port)) as wire:
                wire.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=X\r\n")
                wire.sendall(b"Content-Length: %d\r\n\r\n" % (len(part) + 7) + part)
        scraped = client.get("/metrics").text
        assert "maeum_requests_total" in scraped and MARK not in scraped
    service.process.send_signal(signal.SIGTERM)
    assert service.process.wait(timeout=30) == 0

    log = service.log.read_text()
    assert log.count("POST /predict 200") >= 4 and log.count("422") >= 7
    spellings = [MARK, HANGUL, repr(text), str(text), json.dumps(HANGUL), HANGUL.encode().hex(), MARK.encode().hex()]
    assert [spelling for spelling in spellings if spelling.strip("'\"") in log] == []
    marks = (MARK.encode(), HANGUL.encode(), HANGUL.encode("utf-16-le"))
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.name for path in left} == {"keys", service.log.name}
    assert [path for path in left for mark in marks if mark in path.read_bytes()] == []
