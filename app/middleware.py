"""What surrounds every request: its id, an answer to whatever fails unexpectedly, and the limit of its size.

Plain ASGI, so that bodies and answers stream through.
"""

import logging
import re
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import BodyTooLarge, InternalError, traceback_without_values
from app.problems import problem_response

_log = logging.getLogger(__name__)

# What may stand in a log line and a header without a thought.
_SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class RequestIdMiddleware:
    """Gives a request the sender's X-Request-ID if it is sane, else a new one, and returns it in the same header.

    As the outermost middleware it also answers every exception that nothing else answered, and logs where it happened
    with that id, without any content of the request.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _SANE_ID.fullmatch(given) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        started = False

        async def send_with_id(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                MutableHeaders(scope=message)["X-Request-ID"] = request_id
            await send(message)

        try:
            await self.app(scope, receive, send_with_id)
        except Exception as error:  # noqa: BLE001 - the last boundary: the process must not die of a request
            _log.error("Request %s failed.\n%s", request_id, traceback_without_values(error))
            if not started:
                await problem_response(InternalError(), request_id)(scope, receive, send_with_id)


class BodyLimitMiddleware:
    """Refuses bodies over `max_bytes`: at once where the length is announced, else while they stream in.

    The framework's own `max_body_size` is not used because it answers announced lengths in plain text.
    """

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self.app = app
        self.max_bytes = max_bytes
        self.sentence = f"The request may have at most {max_bytes / 1e6:g} MB. Send one utterance, or a smaller format."

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "")
        if announced.isdecimal() and int(announced) > self.max_bytes:
            refusal = problem_response(BodyTooLarge(self.sentence), scope["state"]["request_id"])
            await refusal(scope, receive, send)
            return
        received = 0

        async def receive_within_limit() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self.max_bytes:
                # The one kind of exception that the framework's form parser lets pass.
                raise HTTPException(BodyTooLarge.status, self.sentence)
            return message

        await self.app(scope, receive_within_limit, send)
