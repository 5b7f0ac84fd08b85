"""Refuses requests by their headers alone where there is no room: before one is a task, is routed, or has a body.

Inside the application a refusal costs much of what an answer costs, so that under an overload the refusals would take
the processor from the answers. The application refuses the same itself, where another server runs it.
"""

import asyncio
import logging
import re
import time
import uuid
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from ..errors import MaeumError, QueueFull, RequestsFull
from ..service import Service
from ..settings import Settings
from .browsers import DATA_HEADERS
from .limits import surely_has_audio
from .observe import SANE_ID, UNMATCHED
from .problems import problem_response

_log = logging.getLogger(__name__)

# Requests under way at once, but for /predict, which the queue and the uploads bound, and for probes.
MAX_ELSEWHERE = 64
_LOGGED_EVERY_S = 1.0
# A body that takes longer is not waited for: its sender is slow, and others may come first.
_ARRIVES_IN_S = 0.25
_PROBES = "/health"
_ID = uuid.uuid4().hex  # stands for the request's own in an answer that is made once

RawHeaders = Sequence[tuple[bytes, bytes]]


class Door:
    """Where every request of `app.web.connection` comes in. `paths` are those of routes without parameters."""

    def __init__(self, service: Service, settings: Settings, paths: Collection[str]) -> None:
        self._service = service
        self._prefix = settings.root_path
        self._paths = frozenset(paths)
        # Such a page can read an answer only with headers that `app.web.browsers` adds.
        self._has_pages = bool(settings.cors_origins.strip())
        self._elsewhere = 0
        self._arriving: dict[object, float] = {}  # when each request was let in whose body is not here yet
        self._unlogged: Counter[str] = Counter()
        self._answers = {error.code: _Answer(error) for error in (QueueFull(), RequestsFull())}

    def refusal(self, method: bytes, url: bytes, headers: RawHeaders) -> tuple[bytes, bytes] | None:
        """The head, without its last line, and the body of an answer that refuses a request; None to let it in."""
        path = self._path(url)
        try:
            self._check(method, path, headers)
        except MaeumError as error:
            if method == b"HEAD" or (self._has_pages and any(name == b"origin" for name, _ in headers)):
                return None  # the application refuses it, with all that belongs to it
            self._count(error, method, path)
            return self._answers[error.code].to(headers)
        return None

    def counted(self, url: bytes, app: Any) -> Any:
        """`app` for one request that was let in, which counts until its body is here, or elsewhere until it ends."""
        path = self._path(url)
        if path.startswith(_PROBES):
            return app
        if path == "/predict":
            return self._while_arriving(app)
        self._elsewhere += 1

        async def leaving(scope: Scope, receive: Receive, send: Send) -> None:
            try:
                await app(scope, receive, send)
            finally:
                self._elsewhere -= 1

        return leaving

    def _while_arriving(self, app: Any) -> Any:
        token = object()
        self._arriving[token] = time.perf_counter()

        async def arriving(scope: Scope, receive: Receive, send: Send) -> None:
            async def receive_counted() -> Message:
                message = await receive()
                if not message.get("more_body", False):
                    self._arriving.pop(token, None)
                return message

            try:
                await app(scope, receive_counted, send)
            finally:
                self._arriving.pop(token, None)

        return arriving

    def _soon(self) -> int:
        """Requests whose bodies are about to be here: without them, all that arrive within a moment would be let in."""
        late = time.perf_counter() - _ARRIVES_IN_S
        for token, since in list(self._arriving.items()):
            if since > late:
                break
            del self._arriving[token]
        return len(self._arriving)

    def _check(self, method: bytes, path: str, headers: RawHeaders) -> None:
        """Raises QueueFull, RequestsFull."""
        if path == "/predict":
            if method == b"POST" and self._service.ready:
                self._service.check_room(surely_has_audio(Headers(raw=list(headers))), self._soon())
        elif self._elsewhere >= MAX_ELSEWHERE and not path.startswith(_PROBES):
            raise RequestsFull

    def _path(self, url: bytes) -> str:
        """The path without query and prefix. One that is written in another way is somewhere else, and let in."""
        path = url.partition(b"?")[0].decode("latin-1")
        inside = path.removeprefix(self._prefix)
        return inside if inside.startswith("/") else path

    def _count(self, error: MaeumError, method: bytes, path: str) -> None:
        metrics = self._service.metrics
        metrics.request(path if path in self._paths else UNMATCHED, method.decode("latin-1"), error.status, 0.0)
        metrics.rejected(error.code)
        if not self._unlogged:
            asyncio.get_running_loop().call_later(_LOGGED_EVERY_S, self._log_refused)
        self._unlogged[error.code] += 1

    def _log_refused(self) -> None:
        """A line for each request would cost more than refusing it."""
        for code, count in self._unlogged.items():
            _log.info("%d requests were refused before they were read: %s.", count, code, extra={"problem": code})
        self._unlogged.clear()


class _Answer:
    """A refusal, made once but for the id of the request."""

    def __init__(self, error: MaeumError) -> None:
        response = problem_response(error, _ID)
        response.headers.update(DATA_HEADERS)
        response.headers["X-Request-ID"] = _ID
        del response.headers["content-length"]
        lines = [name + b": " + value + b"\r\n" for name, value in response.raw_headers]
        self._head = (STATUS_LINE[error.status] + b"".join(lines)).split(_ID.encode())
        self._body = bytes(response.body).split(_ID.encode())

    def to(self, headers: RawHeaders) -> tuple[bytes, bytes]:
        given = next((value for name, value in headers if name == b"x-request-id"), b"")
        sane = re.fullmatch(SANE_ID, given.decode("latin-1"))
        request_id = given if sane else uuid.uuid4().hex.encode()
        body = request_id.join(self._body)
        return request_id.join(self._head) + b"content-length: %d\r\n" % len(body), body
