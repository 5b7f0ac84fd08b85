"""Spans of requests, by OpenTelemetry's SDK. Imported only where traces are asked for: it is an extra.

A span holds what a route, a method, a status and a clock say: no path as it was typed, no query, no header, no name.
"""

import logging
import threading
from collections.abc import Mapping, Sequence
from time import perf_counter, time_ns

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter, SpanExportResult
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    Tracer,
    format_span_id,
    format_trace_id,
    set_span_in_context,
)

from .. import __version__
from .metrics import METHODS, STAGES
from .tracing import Exporter, TraceContext

_log = logging.getLogger(__name__)


class Traces:
    """Makes spans and sends them, from a thread of its own. Nothing about it is global."""

    def __init__(self, exporter: SpanExporter) -> None:
        resource = Resource.create()
        if str(resource.attributes[SERVICE_NAME]).startswith("unknown_service"):
            resource = resource.merge(Resource({SERVICE_NAME: "maeum"}))
        self._provider = TracerProvider(
            resource=resource.merge(Resource({SERVICE_VERSION: __version__})), shutdown_on_exit=False
        )
        self._provider.add_span_processor(BatchSpanProcessor(_SaidOnce(exporter)))
        self._tracer = self._provider.get_tracer("maeum", __version__)

    @classmethod
    def to(cls, exporter: Exporter) -> "Traces":
        """Traces as the SDK's variables say. Raises ValueError for one that cannot be read."""
        return cls(OTLPSpanExporter() if exporter == "otlp" else ConsoleSpanExporter())

    def start(self, method: str, parent: TraceContext | None) -> "RequestSpan":
        """The span of a request that begins now, below its sender's."""
        return RequestSpan(self._tracer, method, parent)

    def close(self, timeout_s: float = 3) -> None:
        """Sends what is left, for `timeout_s` at most: what no collector has taken by then is lost."""
        # The SDK's own bound is 30 s.
        closing = threading.Thread(target=self._provider.shutdown, name="traces", daemon=True)
        closing.start()
        closing.join(timeout_s)


class RequestSpan:
    """The server's span of one request, and below it one for each of its stages."""

    def __init__(self, tracer: Tracer, method: str, parent: TraceContext | None) -> None:
        self._tracer = tracer
        self._method = method if method in METHODS else "_OTHER"
        self._began, self._started_ns = perf_counter(), time_ns()
        above = Context() if parent is None else set_span_in_context(NonRecordingSpan(_remote(parent)), Context())
        self._span = tracer.start_span(
            self._method,
            above,
            SpanKind.SERVER,
            {"http.request.method": self._method},
            start_time=self._started_ns,
        )

    @property
    def context(self) -> TraceContext:
        """Where this span is."""
        context = self._span.get_span_context()
        return TraceContext(
            format_trace_id(context.trace_id), format_span_id(context.span_id), context.trace_flags.sampled
        )

    def end(
        self,
        *,
        route: str | None,
        status: int,
        problem: str | None,
        request_id: str,
        timing_ms: Mapping[str, float],
        answered: float | None,
    ) -> None:
        """Ends the span now.

        `route` is the route's template. The last stage that has a time in `timing_ms` ended when the answer began, at
        `answered` of perf_counter, and each stage before it when the next began.
        """
        span = self._span
        if not span.is_recording():
            span.end()
            return
        if route is not None:
            span.update_name(f"{self._method.replace('_OTHER', 'HTTP')} {route}")
            span.set_attribute("http.route", route)
        span.set_attributes({"http.response.status_code": status, "maeum.request_id": request_id})
        if problem is not None:
            span.set_attribute("error.type", problem)
            if status >= 500:  # by OpenTelemetry's conventions the sender's own mistakes leave it unset
                span.set_status(Status(StatusCode.ERROR, problem))
        ended_ns = self._at(perf_counter())
        self._add_stages(timing_ms, ended_ns if answered is None else self._at(answered))
        span.end(ended_ns)

    def _add_stages(self, timing_ms: Mapping[str, float], ended_ns: int) -> None:
        above = set_span_in_context(self._span, Context())
        for stage in reversed([stage for stage in STAGES if stage in timing_ms]):
            started_ns = max(self._started_ns, ended_ns - round(timing_ms[stage] * 1e6))
            self._tracer.start_span(stage, above, start_time=started_ns).end(ended_ns)
            ended_ns = started_ns

    def _at(self, moment: float) -> int:
        """Nanoseconds since 1970 of a moment of perf_counter, on this span's own unbroken clock."""
        return self._started_ns + round((moment - self._began) * 1e9)


class _SaidOnce(SpanExporter):
    """Says once that the collector cannot be reached, and once that it can again, in place of the SDK's many lines."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._reached = True
        for name in ("opentelemetry.exporter", "opentelemetry.sdk"):
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        reached = result is SpanExportResult.SUCCESS
        if reached != self._reached:
            self._reached = reached
            if reached:
                _log.warning("Traces are sent again.")
            else:
                _log.warning("Traces cannot be sent: the collector does not take them. Requests are not affected.")
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()


def _remote(place: TraceContext) -> SpanContext:
    flags = TraceFlags(TraceFlags.SAMPLED if place.sampled else TraceFlags.DEFAULT)
    return SpanContext(int(place.trace_id, 16), int(place.span_id, 16), is_remote=True, trace_flags=flags)
