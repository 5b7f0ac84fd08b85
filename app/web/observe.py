"""Observes every request: its id and trace, its log line, its metrics and its span.

Plain ASGI, so that bodies and answers stream through. It reads no body and records no path, only the template of the
route.
"""

import asyncio
import logging
import random
import re
import time
from collections.abc import Collection
from dataclasses import dataclass, field

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..errors import ClientGone, InternalError, NotReady, traceback_without_values
from ..telemetry import logs
from ..telemetry.metrics import METHODS, OTHER_METHOD, Metrics
from ..telemetry.tracing import (
    RequestSpan,
    SpanContext,
    Traces,
    hexadecimal,
    sender_context,
    traceresponse,
    unrecorded_child,
)
from .problems import problem_response
from .state import RequestState, begin_request_state, route_path

_log = logging.getLogger(__name__)
_access = logging.getLogger(f"{logs.PACKAGE}.access")

UNMATCHED = "unmatched"
# Probed every few seconds: a success is not traced, and logged only at debug.
QUIET = frozenset({"/health/live", "/health/ready", "/metrics"})

# Safe in a log line and in a header.
SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass
class _Request:
    """One request while it is under way."""

    state: RequestState
    path: str
    place: SpanContext | None
    span: RequestSpan | None
    began: float = field(default_factory=time.perf_counter)
    received_bytes: int = 0
    status: int | None = None
    answered: float | None = None
    gone: bool = False


class ObserveMiddleware:
    """Surrounds every request; only `app.web.browsers` is further out.

    A request keeps the sender's X-Request-ID if it is sane, else it gets a new one. The answer has it in the same
    header, the times of its stages in `Server-Timing`, and its place in the sender's trace in `traceresponse`.

    Exceptions that nothing else has handled are answered here, and logged by their place in the code, without any
    content of the request.
    """

    def __init__(
        self, app: ASGIApp, metrics: Metrics, traces: Traces | None = None, paths: Collection[str] = ()
    ) -> None:
        """`paths` are those of routes without parameters: they stand for the route of a request that is refused before
        its route is looked up.
        """
        self.app = app
        self._metrics = metrics
        self._traces = traces
        self._paths = frozenset(paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = self._begin(scope)
        place, request_id = request.place, request.state.request_id
        token = logs.context.set(logs.Context(request_id, *(() if place is None else hexadecimal(place))))

        async def receive_counted() -> Message:
            message = await receive()
            request.received_bytes += len(message.get("body", b""))
            if message["type"] == "http.disconnect" and request.status is None:
                request.gone = True
            return message

        async def send_observed(message: Message) -> None:
            if message["type"] == "http.response.start":
                request.status, request.answered = message["status"], time.perf_counter()
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = request_id
                headers["Server-Timing"] = _server_timing(request)
                if place is not None:
                    headers["traceresponse"] = traceresponse(place)
            await send(message)

        try:
            await self.app(scope, receive_counted, send_observed)
        except (ClientGone, ClientDisconnect):
            request.gone = request.status is None
        except asyncio.CancelledError:
            # By the server, when `grace_s` is over.
            if request.gone or request.status is not None:
                raise
            stopped = NotReady("The service stopped before the answer was ready; send the request to another one.")
            await problem_response(stopped, request_id)(scope, receive, send_observed)
        except Exception as error:  # noqa: BLE001 - the last boundary: no request may end the process
            _log.error("Request %s failed.\n%s", request_id, traceback_without_values(error))
            if request.status is None:
                await problem_response(InternalError(), request_id)(scope, receive, send_observed)
            else:
                request.state.problem = InternalError.code
        finally:
            self._end(scope, request)
            logs.context.reset(token)

    def _begin(self, scope: Scope) -> _Request:
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        parent = sender_context(headers.getlist("traceparent"))
        span = None
        place = None if parent is None else unrecorded_child(parent)
        path = route_path(scope)  # here, as a mounted app changes it
        if self._traces is not None and path not in QUIET:
            span = self._traces.start(scope["method"], parent)
            place = span.context
        request_id = given if SANE_ID.fullmatch(given) else f"{random.getrandbits(128):032x}"
        return _Request(begin_request_state(scope, request_id), path, place, span)

    def _end(self, scope: Scope, request: _Request) -> None:
        state = request.state
        problem = ClientGone.code if request.gone else state.problem
        # Where nothing was answered, the server answers 500.
        status = ClientGone.status if request.gone else request.status or InternalError.status
        route = self._route(scope, request.path)
        method = scope["method"] if scope["method"] in METHODS else OTHER_METHOD
        seconds = time.perf_counter() - request.began
        self._metrics.request(route, method, status, seconds)
        stages = state.stopwatch.seconds()
        self._metrics.stages(stages)
        if problem is not None:
            self._metrics.rejected(problem)
        if request.span is not None:
            request.span.end(
                route=None if route == UNMATCHED else route,
                status=status,
                problem=problem,
                request_id=state.request_id,
                stages=stages,
                answered=request.answered,
            )
        level = logging.DEBUG if route in QUIET and status < 400 else logging.INFO
        if _access.isEnabledFor(level):
            fields = {
                "method": method,
                "route": route,
                "status": status,
                "seconds": round(seconds, 4),
                "received_bytes": request.received_bytes,
                "key": state.key_name,
                "problem": problem,
            }
            _access.log(level, "%s %s %d", method, route, status, extra=fields)

    def _route(self, scope: Scope, path: str) -> str:
        """The template of the request's route, `UNMATCHED` without one."""
        template = getattr(scope.get("route"), "path_format", None)
        if isinstance(template, str):
            return template
        return path if path in self._paths else UNMATCHED


def _server_timing(request: _Request) -> str:
    total = time.perf_counter() - request.began
    shown = [*request.state.stopwatch.seconds().items(), ("total", total)]
    return ", ".join(f"{name};dur={seconds * 1000:.2f}" for name, seconds in shown)
