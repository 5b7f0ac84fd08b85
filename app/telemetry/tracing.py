"""Traces by OpenTelemetry: a span for each request, in its sender's trace.

OpenTelemetry's own variables switch them on: OTEL_TRACES_EXPORTER=otlp or console, or a collector's address in
OTEL_EXPORTER_OTLP_ENDPOINT or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT. Its SDK reads the other variables. The SDK is an
extra, imported only where traces are on; W3C's trace context is read by opentelemetry-api either way.

A span holds the route, method, status and times of a request: no path as sent, no query, no header, no name.
"""

import logging
import os
import secrets
import threading
from collections.abc import Mapping, Sequence
from time import perf_counter, time_ns
from typing import TYPE_CHECKING, Literal, cast

from opentelemetry.context import Context
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanKind,
    Status,
    StatusCode,
    Tracer,
    format_span_id,
    format_trace_id,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace import SpanContext as SpanContext  # for its users, as opentelemetry appears only here
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from .. import __version__
from ..errors import SettingsInvalid
from .metrics import METHODS
from .stopwatch import Stage

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

Exporter = Literal["otlp", "console"]

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_PROTOCOL = "http/protobuf"
_CLOSE_S = 3.0

_log = logging.getLogger(__name__)
_propagator = TraceContextTextMapPropagator()


# Places in a trace


def sender_context(traceparents: Sequence[str]) -> SpanContext | None:
    """The sender's span, from its `traceparent` headers; None unless there is exactly one, and it is valid.

    `tracestate` is not read: it is the sender's text, and would travel on in every span.
    """
    if len(traceparents) != 1 or not traceparents[0].isprintable():
        return None
    context = get_current_span(_propagator.extract({"traceparent": traceparents[0]}, Context())).get_span_context()
    return context if context.is_valid else None


def unrecorded_child(parent: SpanContext) -> SpanContext:
    """A span below `parent` that is not recorded; its ids still tie log lines to the sender's trace."""
    return SpanContext(parent.trace_id, secrets.randbits(64) or 1, is_remote=False)  # 0 is no id


def hexadecimal(context: SpanContext) -> tuple[str, str]:
    """The trace id of 32 digits and the span id of 16."""
    return format_trace_id(context.trace_id), format_span_id(context.span_id)


def traceresponse(context: SpanContext) -> str:
    """The header of that name for `context`: it is written as `traceparent` is."""
    trace_id, span_id = hexadecimal(context)
    return f"00-{trace_id}-{span_id}-{context.trace_flags:02x}"


# Whether there are traces


def asked_exporter(environment: Mapping[str, str]) -> Exporter | None:
    """The exporter that the variables of `environment` ask for, None for no traces. Raises SettingsInvalid."""
    asked = environment.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true" or asked == "none":
        return None
    if not asked and not any(environment.get(name) for name in _ENDPOINTS):
        return None
    if asked == "console":
        return "console"
    if asked not in ("", "otlp"):
        raise SettingsInvalid(f"OTEL_TRACES_EXPORTER is {asked!r}; it may be otlp, console or none.")
    for name in _PROTOCOLS:
        if environment.get(name, "") not in ("", _PROTOCOL):
            raise SettingsInvalid(f"{name} is {environment[name]!r}; only {_PROTOCOL} is supported.")
    return "otlp"


def open_traces() -> "Traces | None":
    """The traces that this process's environment asks for, None for none. Raises SettingsInvalid."""
    exporter = asked_exporter(os.environ)
    if exporter is None:
        return None
    try:
        return Traces.to(exporter)
    except ImportError as error:
        raise SettingsInvalid(
            "OpenTelemetry's variables ask for traces, but its SDK is not installed: pip install 'maeum[traces]'."
        ) from error
    except ValueError as error:
        raise SettingsInvalid(
            f"A variable of OpenTelemetry (OTEL_...) has a wrong value: {str(error).rstrip('.')}."
        ) from error


# Spans


class Traces:
    """Makes spans and exports them from a background thread. Sets nothing global."""

    def __init__(self, exporter: "SpanExporter") -> None:
        from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        resource = Resource.create()
        if str(resource.attributes[SERVICE_NAME]).startswith("unknown_service"):
            resource = resource.merge(Resource({SERVICE_NAME: "maeum"}))
        self._provider = TracerProvider(
            resource=resource.merge(Resource({SERVICE_VERSION: __version__})), shutdown_on_exit=False
        )
        self._provider.add_span_processor(BatchSpanProcessor(cast("SpanExporter", _SaidOnce(exporter))))
        self._tracer = self._provider.get_tracer("maeum", __version__)

    @classmethod
    def to(cls, exporter: Exporter) -> "Traces":
        """Traces to `exporter`, configured by the SDK's variables.

        Raises ImportError without the SDK, ValueError for a variable that the SDK cannot read.
        """
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter

        return cls(OTLPSpanExporter() if exporter == "otlp" else ConsoleSpanExporter())

    def start(self, method: str, parent: SpanContext | None) -> "RequestSpan":
        """The span of a request that begins now, below `parent`, its sender's."""
        return RequestSpan(self._tracer, method, parent)

    def close(self, timeout_s: float = _CLOSE_S) -> None:
        """Exports the remaining spans, for at most `timeout_s`; spans not exported by then are lost."""
        # The SDK's own bound is 30 s.
        closing = threading.Thread(target=self._provider.shutdown, name="traces", daemon=True)
        closing.start()
        closing.join(timeout_s)


class RequestSpan:
    """The server's span of one request, with a child for each of its stages."""

    def __init__(self, tracer: Tracer, method: str, parent: SpanContext | None) -> None:
        self._tracer = tracer
        self._method = method if method in METHODS else "_OTHER"
        self._began, self._started_ns = perf_counter(), time_ns()
        self._span = tracer.start_span(
            self._method,
            Context() if parent is None else set_span_in_context(NonRecordingSpan(parent), Context()),
            SpanKind.SERVER,
            {"http.request.method": self._method},
            start_time=self._started_ns,
        )

    @property
    def context(self) -> SpanContext:
        return self._span.get_span_context()

    def end(
        self,
        *,
        route: str | None,
        status: int,
        problem: str | None,
        request_id: str,
        stages: Mapping[Stage, float],
        answered: float | None,
    ) -> None:
        """Ends the span now.

        `route` is the route's template, `problem` the code of an error that was answered, `stages` the seconds of
        those that have run, in their order, `answered` the `perf_counter` time at which the answer began. Stages are
        laid end to end, the last one ending at `answered`.
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
            if status >= 500:  # by OpenTelemetry's conventions 4xx, the sender's own mistake, leaves it unset
                span.set_status(Status(StatusCode.ERROR, problem))
        ended_ns = self._at(perf_counter())
        self._add_stages(stages, ended_ns if answered is None else self._at(answered))
        span.end(ended_ns)

    def _add_stages(self, stages: Mapping[Stage, float], ended_ns: int) -> None:
        above = set_span_in_context(self._span, Context())
        for stage, seconds in reversed(list(stages.items())):
            started_ns = max(self._started_ns, ended_ns - round(seconds * 1e9))
            self._tracer.start_span(stage, above, start_time=started_ns).end(ended_ns)
            ended_ns = started_ns

    def _at(self, moment: float) -> int:
        """A `perf_counter` time as nanoseconds since 1970, by this span's own start: a clock that never jumps."""
        return self._started_ns + round((moment - self._began) * 1e9)


class _SaidOnce:
    """A SpanExporter that logs one line when the collector stops taking spans and one when it takes them again.

    The SDK's many lines about the same are silenced. No subclass, as the SDK is imported late.
    """

    def __init__(self, exporter: "SpanExporter") -> None:
        self._exporter = exporter
        self._reached = True
        for name in ("opentelemetry.exporter", "opentelemetry.sdk"):
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)

    def export(self, spans: "Sequence[ReadableSpan]") -> "SpanExportResult":
        result = self._exporter.export(spans)
        reached = result.name == "SUCCESS"
        if reached != self._reached:
            self._reached = reached
            if reached:
                _log.warning("Traces are sent again.")
            else:
                _log.warning("Traces cannot be sent: the collector does not take them. Requests are not affected.")
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()
