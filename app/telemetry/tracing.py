"""Whether requests are traced, and W3C's trace context. Nothing of OpenTelemetry is imported before it is asked for.

OpenTelemetry's own variables decide: OTEL_TRACES_EXPORTER=otlp or console, or the address of a collector in
OTEL_EXPORTER_OTLP_ENDPOINT or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT. The others of them are read by its SDK.
"""

import os
import re
import secrets
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

from ..errors import SettingsInvalid

if TYPE_CHECKING:
    from .spans import Traces

Exporter = Literal["otlp", "console"]

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_PROTOCOL = "http/protobuf"
# version, trace, parent, flags; a later version may say more after another hyphen
_TRACEPARENT = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_SAMPLED = 1


class TraceContext(NamedTuple):
    """A place in a trace: `trace_id` of 32 and `span_id` of 16 hexadecimal digits, and whether it is recorded."""

    trace_id: str
    span_id: str
    sampled: bool

    def unrecorded_child(self) -> "TraceContext":
        """A place below this one that nobody records, so that lines of the log can still be found by the trace."""
        return TraceContext(self.trace_id, secrets.token_hex(8), False)

    def __str__(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-{int(self.sampled):02x}"


def parse_traceparent(values: Sequence[str]) -> TraceContext | None:
    """The sender's place, from its `traceparent` headers; None where there is not exactly one, or it is not valid."""
    found = _TRACEPARENT.fullmatch(values[0]) if len(values) == 1 else None
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    if version == "00" and more is not None:
        return None
    return TraceContext(trace_id, span_id, bool(int(flags, 16) & _SAMPLED))


def asked_exporter(environment: Mapping[str, str]) -> Exporter | None:
    """Where the variables of `environment` send traces, None for nowhere. Raises SettingsInvalid."""
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
            raise SettingsInvalid(f"{name} is {environment[name]!r}; traces are sent by {_PROTOCOL} alone.")
    return "otlp"


def open_traces() -> "Traces | None":
    """The traces that this process's environment asks for, None where it asks for none. Raises SettingsInvalid."""
    exporter = asked_exporter(os.environ)
    if exporter is None:
        return None
    try:
        from .spans import Traces

        return Traces.to(exporter)
    except ImportError as error:
        raise SettingsInvalid(
            "OpenTelemetry's variables ask for traces, and its SDK is not installed: pip install 'maeum[traces]'."
        ) from error
    except ValueError as error:
        raise SettingsInvalid(
            f"A variable of OpenTelemetry (OTEL_...) has a wrong value: {str(error).rstrip('.')}."
        ) from error
