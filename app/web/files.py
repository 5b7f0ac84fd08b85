"""Static files: whole ones only, whatever part of one a request asks for.

The framework refuses a range that it cannot read or give (400, 416) in plain text, where every other failure is a
problem document. A server may ignore `Range` (RFC 9110, 14.2), and these files are small.
"""

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class WholeFiles:
    """Hides `Range` from `app`, which answers with files."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_whole(message: Message) -> None:
            if message["type"] == "http.response.start":
                del MutableHeaders(scope=message)["Accept-Ranges"]
            await send(message)

        headers = [(name, value) for name, value in scope["headers"] if name != b"range"]
        await self.app({**scope, "headers": headers}, receive, send_whole)
