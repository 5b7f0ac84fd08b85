"""Requests that are refused by their headers alone, on a real connection."""

import json
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from app.engine.engine import Prediction
from app.engine.load import Model
from app.settings import Settings
from app.web import door
from app.web.api import create_app

Listen = Callable[[FastAPI, Settings], tuple[str, int]]


@pytest.fixture
def full(listen: Listen, settings: Settings, model: Model) -> Iterator[Callable[..., FastAPI]]:
    """An app whose queue is full: its model waits for the test's end."""
    entered, opened = threading.Semaphore(0), threading.Event()

    def gated(batch: Any) -> list[Prediction]:
        entered.release()
        assert opened.wait(timeout=20)
        return model.predict(batch)

    with ExitStack() as stack:

        def start(**changed: Any) -> tuple[FastAPI, httpx.Client]:
            own = settings.model_copy(update={"max_queue": 1, **changed})
            app = create_app(own, replace(model, runners=[gated]))
            host, port = listen(app, own)
            client = stack.enter_context(httpx.Client(base_url=f"http://{host}:{port}", timeout=20))
            first, second = (threading.Thread(target=_say, args=(str(client.base_url),)) for _ in range(2))
            for thread in (first, second):
                thread.start()
                stack.callback(thread.join)
                assert thread is second or entered.acquire(timeout=20)
            while b"maeum_queue_depth 1.0" not in client.get("/metrics").content:
                pass
            return app, client

        stack.callback(opened.set)
        yield start
        opened.set()


def _say(address: str) -> None:
    httpx.post(f"{address}/predict", json={"transcript": "하"}, timeout=20)


def test_a_refusal_at_the_door_is_that_of_the_application(full: Callable[..., Any], model: Model) -> None:
    app, client = full()
    at_door = client.post("/predict", json={"transcript": "하"}, headers={"X-Request-ID": "mine"})
    app.state.door.refusal = lambda *_: None
    inside = client.post("/predict", json={"transcript": "하"}, headers={"X-Request-ID": "mine"})
    assert at_door.status_code == inside.status_code == 429
    assert at_door.json() == inside.json() and at_door.json()["request_id"] == "mine"
    measured = {"server-timing", "traceresponse", "date"}
    assert {*at_door.headers.items()} - {("date", at_door.headers["date"])} == {
        (name, value) for name, value in inside.headers.items() if name not in measured
    }


def test_each_is_counted_and_all_are_logged_together(
    full: Callable[..., Any], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "_LOGGED_EVERY_S", 0.2)
    caplog.set_level(logging.INFO, "app.web.door")
    _, client = full()
    ids = {client.post("/predict", json={"transcript": "하"}).json()["request_id"] for _ in range(5)}
    assert len(ids) == 5
    scraped = client.get("/metrics").text
    assert 'maeum_rejected_total{reason="queue_full"} 5.0' in scraped
    assert 'maeum_requests_total{method="POST",route="/predict",status="429"} 5.0' in scraped
    while sum(record.args[0] for record in caplog.records if record.name == "app.web.door") < 5:  # type: ignore[index,misc]
        client.get("/health/live")
    assert len([record for record in caplog.records if record.name == "app.web.door"]) < 5


def test_the_connection_stays_in_step(full: Callable[..., Any]) -> None:
    """Bodies that follow are dropped, whole or in parts, and requests behind them are read."""
    _, client = full()
    body = b'{"transcript": "' + b"a" * 70_000 + b'"}'
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    sized, chunked = head + b"Content-Length: %d\r\n\r\n" % len(body), head + b"Transfer-Encoding: chunked\r\n\r\n"
    health = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"
    with socket.create_connection((client.base_url.host, client.base_url.port or 80), timeout=20) as connection:
        stream = connection.makefile("rb")
        connection.sendall(sized)
        assert _answer(stream)[:2] == (429, "queue_full")
        connection.sendall(body + health)
        assert _answer(stream)[0] == 200
        connection.sendall(sized + body + chunked + b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n" + health)
        assert [_answer(stream)[0] for _ in range(3)] == [429, 429, 200]
        connection.sendall(health + sized)  # behind one that is still answered
        assert [_answer(stream)[0] for _ in range(2)] == [200, 429]
        connection.sendall(body + head + b"Connection: close\r\nContent-Length: 2\r\n\r\n")
        status, _, headers = _answer(stream)
        assert status == 429 and headers["connection"] == "close"
        connection.sendall(b"{}")
        assert stream.read() == b""


def test_a_rest_that_never_comes_is_not_waited_for(full: Callable[..., Any]) -> None:
    _, client = full(header_timeout_s=0.3)
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5000\r\n\r\n"
    with socket.create_connection((client.base_url.host, client.base_url.port or 80), timeout=20) as connection:
        connection.sendall(head)
        stream = connection.makefile("rb")
        assert _answer(stream)[0] == 429
        assert stream.read() == b""


def test_a_page_of_another_origin_can_read_the_refusal(full: Callable[..., Any]) -> None:
    _, client = full(cors_origins="https://example.com")
    refused = client.post("/predict", json={"transcript": "하"}, headers={"Origin": "https://example.com"})
    assert refused.status_code == 429 and refused.headers["access-control-allow-origin"] == "https://example.com"


def test_the_prefix_of_a_proxy_is_known(full: Callable[..., Any]) -> None:
    app, client = full(root_path="/maeum")
    for path in ("/maeum/predict", "/predict", "/predict?x=1"):
        client.post(path, json={"transcript": "하"})
    assert 'maeum_requests_total{method="POST",route="/predict",status="429"} 3.0' in client.get("/metrics").text
    for method, url in ((b"GET", b"/predict"), (b"POST", b"/other"), (b"POST", b"/maeumpredict")):
        assert app.state.door.refusal(method, url, []) is None


def test_what_is_not_predict_is_bounded_and_probes_are_answered(
    listen: Listen, settings: Settings, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "MAX_ELSEWHERE", 3)
    own = settings.model_copy(update={"admin": True})
    host, port = listen(create_app(own, model), own)
    head = b"POST /admin/reload HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 3\r\n\r\n{}"
    with ExitStack() as stack, httpx.Client(base_url=f"http://{host}:{port}", timeout=20) as client:
        waiting = [stack.enter_context(socket.create_connection((host, port), timeout=20)) for _ in range(3)]
        for connection in waiting:
            connection.sendall(head)
        while (refused := client.get("/model")).status_code == 200:
            pass
        assert (refused.status_code, refused.json()["code"]) == (429, "requests_full")
        assert refused.headers["retry-after"] == "1"
        for path in ("/nothing", "/metrics", "/openapi.json"):
            assert client.get(path).json()["code"] == "requests_full"
        assert client.get("/health/live").status_code == client.get("/health/ready").status_code == 200
        assert client.post("/predict", json={"transcript": "하"}).status_code == 200
        for connection in waiting:
            connection.close()
        while client.get("/model").status_code != 200:
            pass


def _answer(stream: Any) -> tuple[int, str, dict[str, str]]:
    """Status, code and headers of the next answer."""
    status = int(stream.readline().split()[1])
    headers = {}
    while (line := stream.readline()) != b"\r\n":
        name, _, value = line.decode().partition(":")
        headers[name.lower()] = value.strip()
    body = json.loads(stream.read(int(headers["content-length"])))
    return status, body.get("code", ""), headers
