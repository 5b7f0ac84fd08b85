"""Everything around a request, on small apps: ids, headers, metrics, and the line in the log."""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from fastapi import FastAPI, Request, Response
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient
from starlette.types import Message, Receive, Scope, Send

from app.errors import ClientGone, DeadlineExceeded, QueueFull, RateLimited
from app.telemetry.logs import context
from app.telemetry.metrics import Metrics
from app.web.observe import ObserveMiddleware
from app.web.problems import add_handlers, problem_response
from app.web.state import request_state
from tests.support.asgi import exchange
from tests.support.measured import Measured

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(max_queue=64)


@pytest.fixture
def client(metrics: Metrics) -> TestClient:
    app = FastAPI(telemetry={"tracing": False, "metrics": False, "logs": False})

    @app.post("/predict")
    async def predict(request: Request) -> str:
        await request.body()
        state = request_state(request.scope)
        state.stopwatch = Measured({"decode": 0.004, "queue": 0.0005, "inference": 0.03})
        state.key_name = "laptop"
        return "answer"

    @app.get("/things/{name}")
    async def thing(name: str) -> str:
        logging.getLogger("app.things").info("Looked.")
        return name

    @app.get("/full")
    async def full() -> None:
        raise QueueFull

    @app.get("/late")
    async def late(request: Request) -> None:
        request_state(request.scope).stopwatch = Measured({"decode": 0.004})
        raise DeadlineExceeded

    @app.get("/broken")
    async def broken() -> None:
        raise KeyError("a private transcript")

    @app.get("/gone")
    async def gone() -> None:
        raise ClientGone

    @app.get("/health/live")
    async def live() -> None: ...

    class Refuses:
        """Another middleware, which answers before a route is looked up."""

        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http" and (b"x-refuse", b"1") in scope["headers"]:
                await problem_response(RateLimited(), request_state(scope).request_id)(scope, receive, send)
            else:
                await self.app(scope, receive, send)

    add_handlers(app)

    @app.get("/metrics")
    def scrape() -> Response:
        body, media_type = metrics.render()
        return Response(body, media_type=media_type)

    app.add_middleware(Refuses)
    app.add_middleware(ObserveMiddleware, metrics=metrics, paths=["/predict"])
    return TestClient(app, raise_server_exceptions=False)


def counted(metrics: Metrics, name: str) -> list[dict[str, str]]:
    """The labels of the series of `name` that are not 0."""
    families = text_string_to_metric_families(metrics.render()[0].decode())
    return [dict(s.labels) for family in families for s in family.samples if s.name == name and s.value]


def last_line(caplog: pytest.LogCaptureFixture) -> Any:
    return [record for record in caplog.records if record.name == "app.access"][-1]


@pytest.fixture(autouse=True)
def _log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


def test_an_answer_brings_its_id_and_times(client: TestClient) -> None:
    headers = client.post("/predict", headers={"X-Request-ID": "mine-1"}).headers
    assert headers["x-request-id"] == "mine-1"
    stages = re.fullmatch(
        r"decode;dur=4.00, queue;dur=0.50, inference;dur=30.00, total;dur=([\d.]+)", headers["server-timing"]
    )
    assert stages is not None and float(stages[1]) > 0
    assert "traceresponse" not in headers
    assert re.fullmatch(r"total;dur=[\d.]+", client.get("/things/a").headers["server-timing"])


@pytest.mark.parametrize("given", ["a b", "x" * 65, "", "ü", 'a"b'])
def test_an_id_that_is_not_sane_is_replaced(client: TestClient, given: str) -> None:
    headers = client.get("/things/a", headers={"X-Request-ID": given.encode("latin-1")}).headers
    assert re.fullmatch("[0-9a-f]{32}", headers["x-request-id"])


def test_a_request_is_counted_by_its_template(client: TestClient, metrics: Metrics) -> None:
    client.post("/predict", content=b"12345")
    client.get("/things/secret?token=1")
    client.get("/secret")
    client.request("BREW", "/secret")
    assert counted(metrics, "maeum_requests_total") == [
        {"route": "/predict", "method": "POST", "status": "200"},
        {"route": "/things/{name}", "method": "GET", "status": "200"},
        {"route": "unmatched", "method": "GET", "status": "404"},
        {"route": "unmatched", "method": "OTHER", "status": "404"},
    ]
    assert counted(metrics, "maeum_rejected_total") == [{"reason": "not_found"}]
    assert [labels["stage"] for labels in counted(metrics, "maeum_stage_seconds_count")] == [
        "decode",
        "queue",
        "inference",
    ]


def test_the_line_in_the_log(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    client.post("/predict?secret", content=b"12345")
    line = last_line(caplog)
    assert line.getMessage() == "POST /predict 200"
    assert (line.received_bytes, line.key, line.problem, line.status) == (5, "laptop", None, 200)
    client.get("/secret/things?secret", headers={"User-Agent": "secret"})
    assert last_line(caplog).getMessage() == "GET unmatched 404"
    assert last_line(caplog).problem == "not_found"
    assert not any("secret" in str(vars(record)) for record in caplog.records if record.name.startswith("app."))


def test_probes_that_go_well_are_logged_at_debug_only(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    client.get("/health/live")
    assert not [record for record in caplog.records if record.name == "app.access"]
    client.post("/health/live")
    assert last_line(caplog).status == 405


def test_a_problem_is_counted_whoever_answers_it(
    client: TestClient, metrics: Metrics, caplog: pytest.LogCaptureFixture
) -> None:
    client.get("/full")
    assert (last_line(caplog).status, last_line(caplog).problem) == (429, "queue_full")
    client.post("/predict", headers={"X-Refuse": "1"})
    assert (last_line(caplog).route, last_line(caplog).problem) == ("/predict", "rate_limited")
    client.get("/secret", headers={"X-Refuse": "1"})
    assert last_line(caplog).route == "unmatched"
    reasons = {labels["reason"] for labels in counted(metrics, "maeum_rejected_total")}
    assert reasons == {"queue_full", "rate_limited"}


def test_a_request_that_fails_counts_the_stages_it_came_through(client: TestClient, metrics: Metrics) -> None:
    response = client.get("/late")
    assert response.status_code == 504 and response.headers["server-timing"].startswith("decode;dur=4.00, total;dur=")
    assert counted(metrics, "maeum_stage_seconds_count") == [{"stage": "decode"}]


def test_the_unexpected_is_answered_and_logged_without_values(
    client: TestClient, metrics: Metrics, caplog: pytest.LogCaptureFixture
) -> None:
    response = client.get("/broken")
    problem = response.json()
    assert (response.status_code, problem["code"]) == (500, "internal_error")
    assert problem["request_id"] == response.headers["x-request-id"] and "server-timing" in response.headers
    assert problem["request_id"] in caplog.text and "KeyError" in caplog.text and "in broken" in caplog.text
    assert "private" not in response.text
    assert not any("a private" in record.getMessage().replace('KeyError("a private', "") for record in caplog.records)
    assert counted(metrics, "maeum_rejected_total") == [{"reason": "internal_error"}]
    assert last_line(caplog).status == 500


def test_lines_of_a_request_have_its_ids(client: TestClient) -> None:
    seen: list[Any] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(context.get())

    handler = Keep()
    logging.getLogger("app.things").addHandler(handler)
    try:
        response = client.get("/things/a", headers={"traceparent": PARENT, "X-Request-ID": "mine"})
    finally:
        logging.getLogger("app.things").removeHandler(handler)
    (ids,) = seen
    assert (ids.request_id, ids.trace_id) == ("mine", PARENT[3:35])
    assert response.headers["traceresponse"] == f"00-{ids.trace_id}-{ids.span_id}-00"
    assert ids.span_id != PARENT[36:52]
    assert context.get() is None


# Clients that go away


Answers = Callable[[Scope, Receive, Send], Awaitable[None]]


def _observe(app: Answers, metrics: Metrics, *messages: Message) -> list[Message]:
    """The messages that are sent where `messages` arrive, and then nothing more."""

    async def run() -> list[Message]:
        sent = await exchange(ObserveMiddleware(app, metrics, paths=["/predict"]), messages)
        assert context.get() is None, "code after the request belongs to no request"
        return sent

    return asyncio.run(run())


GONE = {"route": "/predict", "method": "POST", "status": "499"}


def test_a_client_that_leaves_while_it_sends_is_no_failure(metrics: Metrics, caplog: pytest.LogCaptureFixture) -> None:
    async def reads(scope: Scope, receive: Receive, send: Send) -> None:
        await Request(scope, receive).body()

    part: Message = {"type": "http.request", "body": b"12345", "more_body": True}
    assert _observe(reads, metrics, part, {"type": "http.disconnect"}) == []
    assert counted(metrics, "maeum_requests_total") == [GONE]
    assert last_line(caplog).received_bytes == 5
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


def test_a_client_that_went_away_is_499_whatever_is_then_answered(metrics: Metrics) -> None:
    async def answers_anyway(scope: Scope, receive: Receive, send: Send) -> None:
        assert (await receive())["type"] == "http.disconnect"
        await problem_response(QueueFull(), "r")(scope, receive, send)

    async def raises(scope: Scope, receive: Receive, send: Send) -> None:
        request_state(scope).stopwatch = Measured({"decode": 0.003})
        raise ClientGone

    _observe(answers_anyway, metrics, {"type": "http.disconnect"})
    assert counted(metrics, "maeum_requests_total") == [GONE]
    assert _observe(raises, metrics) == []
    assert counted(metrics, "maeum_rejected_total") == [{"reason": "client_gone"}]
    assert counted(metrics, "maeum_stage_seconds_count") == [{"stage": "decode"}]


def test_a_request_cancelled_at_shutdown_is_answered(metrics: Metrics) -> None:
    async def cancelled(scope: Scope, receive: Receive, send: Send) -> None:
        raise asyncio.CancelledError

    _observe(cancelled, metrics)
    assert counted(metrics, "maeum_requests_total") == [GONE | {"status": "503"}]


def test_leaving_after_the_answer_began_is_no_499(metrics: Metrics) -> None:
    async def streams(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        assert (await receive())["type"] == "http.disconnect"

    _observe(streams, metrics, {"type": "http.disconnect"})
    assert counted(metrics, "maeum_requests_total") == [GONE | {"status": "200"}]


def test_an_app_that_answers_nothing_is_a_500(metrics: Metrics) -> None:
    async def silent(scope: Scope, receive: Receive, send: Send) -> None: ...

    _observe(silent, metrics)
    assert counted(metrics, "maeum_requests_total") == [GONE | {"status": "500"}]


def test_an_answer_that_breaks_off_is_counted_as_failed(metrics: Metrics) -> None:
    async def breaks(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError

    assert [message["type"] for message in _observe(breaks, metrics)] == ["http.response.start"]
    assert counted(metrics, "maeum_rejected_total") == [{"reason": "internal_error"}]
