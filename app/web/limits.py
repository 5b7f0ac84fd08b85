"""Bounds on a request: its size, the time it takes to arrive, what all bodies hold together, and how long it is wanted.

Plain ASGI, so that a body is refused while it streams. The deadline counts from the
first byte, so an upload counts towards it.
"""

import asyncio
import math
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..errors import (
    BodyTooLarge,
    ClientGone,
    DeadlineExceeded,
    MaeumError,
    TimeoutInvalid,
    UploadsFull,
    UploadTooSlow,
)
from ..settings import Settings
from ..telemetry.metrics import Metrics
from .forms import Refusal
from .problems import problem_response
from .state import request_state

Answer = TypeVar("Answer")

TIMEOUT_HEADER = "X-Request-Timeout"


class UploadMiddleware:
    """Refuses bodies that are too large, too slow, or more than there is room for.

    `admit(scope)` may refuse a request by raising a MaeumError, before any of its body is read and while it is.
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
        settings, headers, state = self._settings, Headers(scope=scope), request_state(scope)
        try:
            started = asyncio.get_running_loop().time()
            deadline = state.deadline = started + self._allowed_s(headers)
            announced = headers.get("content-length", "")
            if announced.isdecimal() and int(announced) > settings.max_body_bytes:
                raise self._too_large()
            self._admit(scope)
        except MaeumError as error:
            await problem_response(error, state.request_id)(scope, receive, send)
            return
        arrives_until = min(deadline, started + settings.upload_timeout_s)
        received, complete = 0, False

        async def receive_bounded() -> Message:
            nonlocal received, complete
            if complete:
                return await receive()
            try:
                async with asyncio.timeout_at(arrives_until):
                    message = await receive()
            except TimeoutError:
                slow = UploadTooSlow(f"The request must arrive whole within {settings.upload_timeout_s:g} s.")
                raise Refusal(DeadlineExceeded() if arrives_until == deadline else slow) from None
            if message["type"] == "http.disconnect":
                raise Refusal(ClientGone())
            try:
                self._admit(scope)  # again: what there was room for when it began may be in the way by now
            except MaeumError as error:
                raise Refusal(error) from error
            size = len(message.get("body", b""))
            received += size
            self._hold(size)
            complete = not message.get("more_body", False)
            if received > settings.max_body_bytes:
                raise Refusal(self._too_large())
            if self._held_bytes > settings.max_upload_bytes:
                raise Refusal(UploadsFull())
            return message

        try:
            await self.app(scope, receive_bounded, send)
        finally:
            self._hold(-received)

    def _hold(self, size: int) -> None:
        self._held_bytes += size
        self._metrics.uploading(self._held_bytes)

    def _allowed_s(self, headers: Headers) -> float:
        """Seconds that the sender waits. Raises TimeoutInvalid."""
        asked = headers.get(TIMEOUT_HEADER)
        if asked is None:
            return self._settings.timeout_s
        try:
            seconds = float(asked)
        except ValueError:
            raise TimeoutInvalid from None
        if not (math.isfinite(seconds) and seconds > 0):
            raise TimeoutInvalid
        return min(seconds, self._settings.max_timeout_s)

    def _too_large(self) -> BodyTooLarge:
        megabytes = self._settings.max_body_bytes / 1e6
        return BodyTooLarge(f"The request may have at most {megabytes:g} MB. Send one utterance, or a smaller format.")


async def while_wanted(work: Coroutine[Any, Any, Answer], deadline: float, receive: Receive) -> Answer:
    """The result of `work`, which is cancelled at `deadline` (the loop's time) or when the client goes away.

    `receive` is the request's, its body read. Raises DeadlineExceeded, ClientGone.
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
