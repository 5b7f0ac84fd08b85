"""Too many requests or too slow ones: which are refused, when, and that the others are not disturbed."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from app.engine.engine import Prediction
from app.engine.load import Model
from app.settings import Settings
from app.web.api import create_app

Listen = Callable[[FastAPI, Settings], tuple[str, int]]
MULTIPART = {"content-type": "multipart/form-data; boundary=X"}
FILE = b'--X\r\nContent-Disposition: form-data; name="audio"; filename="a"\r\n\r\n'
END = b"\r\n--X--\r\n"


class Gate:
    """Holds a model's batches until it is opened; counts batches and items."""

    def __init__(self, model: Model) -> None:
        self.model, self.entered, self.opened, self.seen = model, threading.Semaphore(0), threading.Event(), 0

    def __call__(self, batch: Any) -> list[Prediction]:
        self.seen += len(batch)
        self.entered.release()
        assert self.opened.wait(timeout=20)
        return self.model.predict(batch)


@pytest.fixture
def gate(model: Model) -> Iterator[Gate]:
    gate = Gate(model)
    yield gate
    gate.opened.set()


@pytest.fixture
def serve(listen: Listen, settings: Settings, model: Model, gate: Gate) -> Callable[..., httpx.Client]:
    """A service whose model waits at the gate, or one without a gate, with these settings."""

    def start(gated: bool = True, **changed: Any) -> httpx.Client:
        own = settings.model_copy(update=changed)
        served = replace(model, runners=[gate]) if gated else model
        host, port = listen(create_app(own, served), own)
        return httpx.Client(base_url=f"http://{host}:{port}", timeout=20)

    return start


def _code(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["code"]


def _say(client: httpx.Client, text: str = "하", **headers: str) -> httpx.Response:
    return client.post("/predict", files={"transcript": (None, text.encode())}, headers=headers)


def _connect(client: httpx.Client) -> socket.socket:
    return socket.create_connection((client.base_url.host, client.base_url.port or 80), timeout=20)


def _answer(connection: socket.socket) -> tuple[int, dict[str, Any]]:
    """Status and body of one answer on `connection`, which is then closed."""
    with connection, connection.makefile("rb") as stream:
        status = int(stream.readline().split()[1])
        length = 0
        while (line := stream.readline().lower()) != b"\r\n":
            if line.startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        body: dict[str, Any] = json.loads(stream.read(length))
        return status, body


def _head(length: int, extra: bytes = b"") -> bytes:
    return (
        (
            b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=X\r\n"
            b"Content-Length: %d\r\n" % length
        )
        + extra
        + b"\r\n"
    )


def test_a_full_queue_refuses_before_the_body_is_sent(serve: Callable[..., httpx.Client], gate: Gate) -> None:
    with serve(max_queue=1) as client, ThreadPoolExecutor(2) as threads:
        running = threads.submit(_say, client)
        assert gate.entered.acquire(timeout=20)
        waiting = threads.submit(_say, client)
        _until(lambda: b"maeum_queue_depth 1.0" in client.get("/metrics").content)
        connection = _connect(client)
        connection.sendall(_head(5_000_000))
        status, problem = _answer(connection)
        assert (status, problem["code"]) == (429, "queue_full")
        gate.opened.set()
        assert [future.result().status_code for future in (running, waiting)] == [200, 200]
        assert _say(client).status_code == 200


def test_past_its_deadline_a_request_is_dropped_before_the_model_sees_it(
    serve: Callable[..., httpx.Client], gate: Gate
) -> None:
    with serve() as client, ThreadPoolExecutor(1) as threads:
        running = threads.submit(_say, client)
        assert gate.entered.acquire(timeout=20)
        late = _say(client, **{"X-Request-Timeout": "0.1"})
        assert _code(late) == (504, "deadline_exceeded")
        gate.opened.set()
        assert running.result().status_code == 200
        assert _say(client).status_code == 200
        assert gate.seen == 2


def test_the_deadline_holds_in_the_model_too_and_has_a_limit(serve: Callable[..., httpx.Client], gate: Gate) -> None:
    with serve(timeout_s=0.1, max_timeout_s=0.2) as client:
        assert _code(_say(client)) == (504, "deadline_exceeded")
        assert _code(_say(client, **{"X-Request-Timeout": "3600"})) == (504, "deadline_exceeded")


@pytest.mark.parametrize("given", ["soon", "0", "-1", "nan", "inf", "1e999", ""])
def test_a_timeout_that_is_none(serve: Callable[..., httpx.Client], given: str) -> None:
    with serve(gated=False) as client:
        assert _code(_say(client, **{"X-Request-Timeout": given})) == (422, "timeout_invalid")
        assert _say(client, **{"X-Request-Timeout": "2.5"}).status_code == 200


def test_for_a_client_that_went_away_nothing_is_computed(serve: Callable[..., httpx.Client], gate: Gate) -> None:
    with serve() as client, ThreadPoolExecutor(1) as threads:
        running = threads.submit(_say, client)
        assert gate.entered.acquire(timeout=20)
        body = b'--X\r\nContent-Disposition: form-data; name="transcript"\r\n\r\nhm' + END
        with _connect(client) as leaving:
            leaving.sendall(_head(len(body)) + body)
            _until(lambda: b"maeum_queue_depth 1.0" in client.get("/metrics").content)
        _until(lambda: b'maeum_rejected_total{reason="client_gone"} 1.0' in client.get("/metrics").content)
        gate.opened.set()
        assert running.result().status_code == 200
        assert _say(client).status_code == 200
        assert gate.seen == 2


def test_slow_uploads_hold_nobody_up_and_end(serve: Callable[..., httpx.Client], wav: bytes) -> None:
    with serve(gated=False, upload_timeout_s=1.0, max_queue=2) as client:
        slow = [_connect(client) for _ in range(50)]
        for connection in slow:
            connection.sendall(_head(1000) + FILE)
        for _ in range(10):
            assert client.post("/predict", files={"audio": wav}).status_code == 200
        for connection in slow:
            status, problem = _answer(connection)
            assert (status, problem["code"]) == (408, "upload_too_slow")


def test_headers_that_never_end_and_a_first_byte_that_never_comes(serve: Callable[..., httpx.Client]) -> None:
    with serve(gated=False, header_timeout_s=0.3) as client:
        for beginning in (b"", b"POST /predict HTTP/1.1\r\nHost: x\r\nX-A: "):
            with _connect(client) as silent:
                silent.sendall(beginning)
                assert silent.recv(100) == b""
        assert client.get("/health/live").status_code == 200


def test_headers_without_end_and_bytes_that_are_no_http(serve: Callable[..., httpx.Client]) -> None:
    with serve(gated=False) as client:
        endless = _connect(client)
        endless.sendall(b"GET / HTTP/1.1\r\nX: " + b"a" * 70_000)
        status, problem = _answer(endless)
        assert (status, problem["code"]) == (431, "headers_too_large")
        wrong = _connect(client)
        wrong.sendall(b"\x16\x03\x01\x02\x00 this is TLS\r\n\r\n")
        status, problem = _answer(wrong)
        assert (status, problem["code"]) == (400, "http_invalid") and problem["request_id"]
        scraped = client.get("/metrics").text
        for code in ("headers_too_large", "http_invalid"):
            assert f'maeum_rejected_total{{reason="{code}"}} 1.0' in scraped


def test_an_endless_upload_is_cut(serve: Callable[..., httpx.Client], wav: bytes) -> None:
    """It is refused as soon as it is too large, and the rest of it is read for a limited time only."""
    with serve(gated=False, max_body_bytes=100_000, header_timeout_s=0.5) as client:
        endless = _connect(client)
        endless.sendall(_head(0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked"))
        sent = 0
        with pytest.raises(OSError):
            while sent < 10_000_000_000:
                endless.sendall(b"10000\r\n" + bytes(65_536) + b"\r\n")
                sent += 65_536
        endless.close()
        assert client.post("/predict", files={"audio": wav}).status_code == 200

        def streamed() -> Iterator[bytes]:
            yield FILE
            for _ in range(20):
                yield bytes(10_000)

        refused = client.post("/predict", content=streamed(), headers=MULTIPART)
        assert _code(refused) == (413, "body_too_large")


def test_all_uploads_together_are_bounded(serve: Callable[..., httpx.Client], wav: bytes) -> None:
    with serve(gated=False, max_upload_bytes=100_000) as client:
        holding = _connect(client)
        holding.sendall(_head(200_000) + FILE + bytes(80_000))
        _until(lambda: _code_or_200(client, wav) == (429, "uploads_full"))
        assert _say(client).status_code == 200  # a small one still fits
        holding.close()
        _until(lambda: client.post("/predict", files={"audio": wav}).status_code == 200)


def test_an_announced_upload_is_not_waited_for_when_it_is_too_large(serve: Callable[..., httpx.Client]) -> None:
    with serve(gated=False) as client:
        connection = _connect(client)
        connection.sendall(_head(25_000_001, b"Expect: 100-continue\r\n"))
        status, problem = _answer(connection)
        assert (status, problem["code"]) == (413, "body_too_large")


def _code_or_200(client: httpx.Client, wav: bytes) -> tuple[int, str]:
    response = client.post("/predict", files={"audio": wav})
    return (200, "") if response.status_code == 200 else _code(response)


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
