"""Traces as a collector receives them: real exports to a small one in a thread."""

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from fastapi import FastAPI, Request
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.proto.trace.v1.trace_pb2 import Status as SpanStatus
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from starlette.testclient import TestClient

from app.errors import InferenceFailed, QueueFull, SettingsInvalid
from app.telemetry.metrics import Metrics
from app.telemetry.stopwatch import Stage
from app.telemetry.tracing import (
    Traces,
    asked_exporter,
    hexadecimal,
    open_traces,
    sender_context,
    traceresponse,
    unrecorded_child,
)
from app.web.observe import ObserveMiddleware
from app.web.problems import add_handlers
from app.web.state import request_state
from tests.support import ROOT
from tests.support.measured import Measured

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"


class Collector:
    """Takes OTLP over HTTP and keeps the spans; answers with `status`."""

    def __init__(self) -> None:
        self.status = 200
        self.exports: list[ExportTraceServiceRequest] = []
        kept = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                assert self.path == "/v1/traces"
                kept.exports.append(ExportTraceServiceRequest.FromString(body))
                self.send_response(kept.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    @property
    def spans(self) -> list[Span]:
        return [
            span
            for export in self.exports
            for resource in export.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    @property
    def resource(self) -> dict[str, str]:
        return attributes(self.exports[0].resource_spans[0].resource)

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


def attributes(described: Any) -> dict[str, Any]:
    """The attributes of a span or a resource."""
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in described.attributes}


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.close()


@pytest.fixture
def variables(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in list(os.environ):
        if name.startswith("OTEL_"):
            monkeypatch.delenv(name)
    return monkeypatch


@pytest.fixture
def traces(collector: Collector, variables: pytest.MonkeyPatch) -> Traces:
    variables.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.address)
    opened = open_traces()
    assert opened is not None
    return opened


def serve(traces: Traces | None) -> TestClient:
    app = FastAPI(telemetry={"tracing": False, "metrics": False, "logs": False})

    @app.post("/predict")
    async def predict(request: Request) -> None:
        async with request.form():
            pass
        stages: dict[Stage, float] = {"decode": 0.004, "queue": 0.0005, "inference": 0.03}
        request_state(request.scope).stopwatch = Measured(stages)

    @app.post("/full")
    async def full() -> None:
        raise QueueFull

    @app.post("/failed")
    async def failed(request: Request) -> None:
        request_state(request.scope).stopwatch = Measured({"decode": 0.002})
        raise InferenceFailed

    @app.get("/health/live")
    async def live() -> None: ...

    add_handlers(app)
    app.add_middleware(ObserveMiddleware, metrics=Metrics(max_queue=1), traces=traces)
    return TestClient(app)


@pytest.mark.parametrize(
    "values",
    [
        [],
        [""],
        ["nonsense"],
        [TRACEPARENT, TRACEPARENT],
        [TRACEPARENT.upper()],
        [TRACEPARENT + "-more"],
        ["ff" + TRACEPARENT[2:]],
        [TRACEPARENT.replace(TRACE, "0" * 32)],
        [TRACEPARENT.replace(PARENT, "0" * 16)],
        [TRACEPARENT + "\n"],
    ],
)
def test_a_traceparent_that_is_not_valid_is_as_none(values: list[str]) -> None:
    assert sender_context(values) is None


def test_traceparents_that_are_valid() -> None:
    parsed = sender_context([TRACEPARENT])
    assert parsed is not None and traceresponse(parsed) == TRACEPARENT and parsed.trace_flags.sampled
    later = sender_context(["01" + TRACEPARENT[2:-2] + "00-more"])
    assert later is not None and hexadecimal(later) == (TRACE, PARENT) and not later.trace_flags.sampled


def test_a_child_that_nobody_records_has_an_id_of_its_own() -> None:
    parent = sender_context([TRACEPARENT])
    assert parent is not None
    child, other = unrecorded_child(parent), unrecorded_child(parent)
    assert traceresponse(child).startswith(f"00-{TRACE}-") and traceresponse(child).endswith("-00")
    assert child.is_valid and len({parent.span_id, child.span_id, other.span_id}) == 3


def test_a_request_and_its_stages(traces: Traces, collector: Collector) -> None:
    response = serve(traces).post(
        "/predict?secret=1",
        data={"transcript": "secret"},
        files={"audio": ("secret.wav", b"secret")},
        headers={
            "traceparent": TRACEPARENT,
            "tracestate": "secret=secret",
            "X-Request-ID": "r1",
            "User-Agent": "secret",
        },
    )
    traces.close()
    assert collector.resource["service.name"] == "maeum" and collector.resource["service.version"]
    spans = {span.name: span for span in collector.spans}
    assert set(spans) == {"POST /predict", "decode", "queue", "inference"}
    server = spans["POST /predict"]
    assert (server.trace_id.hex(), server.parent_span_id.hex()) == (TRACE, PARENT)
    assert response.headers["traceresponse"] == f"00-{TRACE}-{server.span_id.hex()}-01"
    assert server.kind == Span.SPAN_KIND_SERVER and server.status.code == SpanStatus.STATUS_CODE_UNSET
    assert attributes(server) == {
        "http.request.method": "POST",
        "http.route": "/predict",
        "http.response.status_code": 200,
        "maeum.request_id": "r1",
    }
    stages = [spans[name] for name in ("decode", "queue", "inference")]
    assert all(stage.parent_span_id == server.span_id and stage.trace_id == server.trace_id for stage in stages)
    assert server.start_time_unix_nano <= stages[0].start_time_unix_nano
    assert stages[0].end_time_unix_nano == stages[1].start_time_unix_nano
    assert stages[1].end_time_unix_nano == stages[2].start_time_unix_nano
    assert stages[2].end_time_unix_nano <= server.end_time_unix_nano
    assert not any(b"secret" in export.SerializeToString() for export in collector.exports)


def test_times_are_those_that_were_measured(traces: Traces, collector: Collector) -> None:
    span = traces.start("POST", None)
    at = span._began + 1.0
    span.end(
        route="/predict",
        status=200,
        problem=None,
        request_id="r",
        stages={"decode": 0.1, "queue": 0.05, "inference": 0.2},
        answered=at,
    )
    traces.close()
    spans = {span.name: span for span in collector.spans}
    began = spans["POST /predict"].start_time_unix_nano
    since = {
        name: [round((moment - began) / 1e6) for moment in (span.start_time_unix_nano, span.end_time_unix_nano)]
        for name, span in spans.items()
    }
    assert (since["decode"], since["queue"], since["inference"]) == ([650, 750], [750, 800], [800, 1000])


def test_failures(traces: Traces, collector: Collector) -> None:
    client = serve(traces)
    client.post("/full")
    client.post("/failed")
    client.post("/secret")
    client.get("/health/live")
    traces.close()
    spans = {span.name: span for span in collector.spans}
    assert set(spans) == {"POST /full", "POST /failed", "decode", "POST"}
    assert spans["POST /full"].status.code == SpanStatus.STATUS_CODE_UNSET
    assert attributes(spans["POST /full"])["error.type"] == "queue_full"
    assert spans["POST /failed"].status.code == SpanStatus.STATUS_CODE_ERROR
    assert spans["POST /failed"].status.message == "inference_failed"
    assert attributes(spans["POST"])["error.type"] == "not_found"


def test_a_trace_that_the_sender_does_not_record_is_not_recorded(traces: Traces, collector: Collector) -> None:
    response = serve(traces).post("/predict", headers={"traceparent": f"00-{TRACE}-{PARENT}-00"})
    traces.close()
    assert collector.spans == []
    assert response.headers["traceresponse"].startswith(f"00-{TRACE}-") and response.headers["traceresponse"].endswith(
        "-00"
    )


def test_the_sdks_own_variables_hold(collector: Collector, variables: pytest.MonkeyPatch) -> None:
    variables.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", collector.address + "/v1/traces")
    variables.setenv("OTEL_SERVICE_NAME", "hearing")
    variables.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test")
    opened = open_traces()
    assert opened is not None
    serve(opened).post("/full")
    opened.close()
    assert collector.resource["service.name"] == "hearing"
    assert collector.resource["deployment.environment"] == "test"
    variables.setenv("OTEL_TRACES_SAMPLER", "always_off")
    opened = open_traces()
    assert opened is not None
    serve(opened).post("/full")
    opened.close()
    assert len(collector.spans) == 1


def test_a_collector_that_fails_disturbs_nobody_and_is_logged_once(
    traces: Traces, collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    collector.status = 400
    client = serve(traces)
    for _ in range(3):
        assert client.post("/predict").status_code == 200
        traces._provider.force_flush()
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 1 and warnings[0].startswith("Traces cannot be sent")
    collector.status = 200
    client.post("/predict")
    traces.close()
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert warnings[1:] == ["Traces are sent again."]


def test_closing_does_not_wait_for_a_collector_that_never_answers(variables: pytest.MonkeyPatch) -> None:
    never, asked = threading.Event(), threading.Event()

    class Stuck(SpanExporter):
        def export(self, spans: Any) -> SpanExportResult:
            asked.set()
            never.wait()
            return SpanExportResult.FAILURE

    stuck = Traces(Stuck())
    assert serve(stuck).post("/predict").status_code == 200
    stuck.close(timeout_s=0.05)
    (closing,) = [thread for thread in threading.enumerate() if thread.name == "traces"]
    assert asked.wait(20) and closing.is_alive(), "it is still being sent"
    never.set()
    closing.join()


@pytest.mark.parametrize(
    ("environment", "exporter"),
    [
        ({}, None),
        ({"OTEL_SERVICE_NAME": "x"}, None),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, None),
        ({"OTEL_SDK_DISABLED": "True", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, "otlp"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/v1/traces"}, "otlp"),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, "otlp"),
        ({"OTEL_TRACES_EXPORTER": "console"}, "console"),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, "otlp"),
    ],
)
def test_when_traces_are_sent(environment: Mapping[str, str], exporter: str | None) -> None:
    assert asked_exporter(environment) == exporter


@pytest.mark.parametrize(
    "environment",
    [
        {"OTEL_TRACES_EXPORTER": "zipkin"},
        {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
        {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "1000000"},
    ],
)
def test_a_variable_that_cannot_be_followed_is_named(
    environment: Mapping[str, str], variables: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        variables.setenv(name, value)
    with pytest.raises(SettingsInvalid, match="OTEL_"):
        open_traces()


def _in_a_process(code: str, **environment: str) -> str:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=ROOT,
        env={**kept, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return ran.stdout


def test_where_nothing_asks_for_traces_nothing_of_the_sdk_is_loaded() -> None:
    code = (
        "import sys, app.web.api; from app.telemetry.tracing import open_traces; "
        "print(open_traces(), {'opentelemetry.sdk', 'opentelemetry.exporter'} & set(sys.modules))"
    )
    assert _in_a_process(code) == "None set()\n"


def test_without_the_extra_the_failure_says_what_to_install() -> None:
    code = """
import sys
sys.modules["opentelemetry.sdk"] = None
from app.errors import SettingsInvalid
from app.telemetry.tracing import open_traces
try:
    open_traces()
except SettingsInvalid as error:
    print(error)
"""
    assert "pip install 'maeum[traces]'" in _in_a_process(code, OTEL_TRACES_EXPORTER="otlp")


def test_an_unreachable_collector_ends_with_the_process() -> None:
    code = """
import logging
from app.telemetry.tracing import open_traces
logging.basicConfig()
traces = open_traces()
traces.start("POST", None).end(route="/predict", status=200, problem=None, request_id="r", stages={}, answered=None)
traces.close(timeout_s=0.1)
print("ended")
"""
    assert _in_a_process(code, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9") == "ended\n"
