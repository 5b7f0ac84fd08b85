"""Bounds on a request: the size of its body, its time to arrive, the memory of all bodies, and its deadline.

Plain ASGI, so that a body is refused while it streams. A deadline counts from the request's first byte, so it includes
the upload.
"""

import asyncio
import math
import re
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..errors import BodyTooLarge, ClientGone, DeadlineExceeded, MaeumError, TimeoutInvalid, UploadsFull, UploadTooSlow
from ..settings import Settings
from ..telemetry.metrics import Metrics
from .forms import Refusal
from .problems import problem_response
from .state import request_state

Answer = TypeVar("Answer")

TIMEOUT_HEADER = "X-Request-Timeout"
_SECONDS = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")

# No body with a transcript alone is larger: 2000 syllables take 36,000 bytes at most, as escapes of JSON.
_MAX_TRANSCRIPT_BYTES = 65_536


def surely_has_audio(headers: Headers) -> bool:
    """Whether the body of a request is announced to be larger than one that has a transcript alone."""
    return _announced_bytes(headers) > _MAX_TRANSCRIPT_BYTES


class UploadMiddleware:
    """Sets the deadline of a request, and refuses a body that is too large or too slow, or does not fit in memory.

    `admit(scope)` may refuse a request by raising a MaeumError, before its body is read and while it arrives.
    """

    def __init__(self, app: ASGIApp, settings: Settings, admit: Callable[[Scope], None], metrics: Metrics) -> None:
        self.app = app
        self._settings = settings
        self._admit = admit
        self._metrics = metrics
        self._held_bytes = 0  # by all the bodies under way together

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers, state = Headers(scope=scope), request_state(scope)
        started = asyncio.get_running_loop().time()
        try:
            state.deadline = started + self._allowed_s(headers)
            self._check_size(_announced_bytes(headers))
            self._admit(scope)
        except MaeumError as error:
            await problem_response(error, state.request_id)(scope, receive, send)
            return
        upload_s = min(self._settings.upload_timeout_s, state.deadline - started)
        received, complete = 0, False

        # The framework reads a form inside a `try` that lets only a Refusal through.
        async def receive_bounded() -> Message:
            nonlocal received, complete
            if complete:
                return await receive()
            try:
                message = await self._arrived(receive, started + upload_s, upload_s)
                self._admit(scope)  # again: since the request began, others may have taken its room
                size = len(message.get("body", b""))
                received += size
                self._hold(size)
                complete = not message.get("more_body", False)
                self._check_size(received)
                if self._held_bytes > self._settings.max_upload_bytes:
                    raise UploadsFull
            except MaeumError as error:
                raise Refusal(error) from None
            return message

        try:
            await self.app(scope, receive_bounded, send)
        finally:
            self._hold(-received)

    async def _arrived(self, receive: Receive, until: float, upload_s: float) -> Message:
        """The next part of a body. Raises UploadTooSlow at `until`, `upload_s` after the first byte, and ClientGone.

        UploadTooSlow at the deadline too: the client is late, not the service.
        """
        try:
            async with asyncio.timeout_at(until):
                message = await receive()
        except TimeoutError:
            most = f"The request must arrive whole within {upload_s:g} s."
            raise UploadTooSlow(f"{most} {UploadTooSlow.sentence}") from None
        if message["type"] == "http.disconnect":
            raise ClientGone
        return message

    def _hold(self, size: int) -> None:
        self._held_bytes += size
        self._metrics.uploading(self._held_bytes)

    def _check_size(self, size: int) -> None:
        most = self._settings.max_body_bytes
        if size > most:
            raise BodyTooLarge(f"The request may have at most {most / 1e6:g} MB. {BodyTooLarge.sentence}")

    def _allowed_s(self, headers: Headers) -> float:
        """Seconds from the first byte to the deadline. Raises TimeoutInvalid."""
        asked = headers.get(TIMEOUT_HEADER)
        if asked is None:
            return self._settings.timeout_s
        seconds = float(asked) if _SECONDS.fullmatch(asked) else 0.0  # float() alone takes 1_0, nan and more
        if not (math.isfinite(seconds) and seconds > 0):
            raise TimeoutInvalid
        return min(seconds, self._settings.max_timeout_s)


def _announced_bytes(headers: Headers) -> int:
    """The length of the body, where the headers have it, else 0."""
    digits = headers.get("content-length", "").lstrip("0")
    return int(digits[:20]) if digits.isdecimal() else 0  # the first 20 digits are past every bound


async def while_wanted(work: Coroutine[Any, Any, Answer], deadline: float, receive: Receive) -> Answer:
    """The result of `work`, which is cancelled at `deadline` (the loop's time) or when the client goes away.

    `receive` is that of a request whose body has been read. Raises DeadlineExceeded, ClientGone.
    """
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_has_left(receive))
    try:
        seconds = deadline - asyncio.get_running_loop().time()
        await asyncio.wait({working, leaving}, timeout=max(0.0, seconds), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientGone if leaving.done() else DeadlineExceeded
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _has_left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
