"""Runs an ASGI app on the messages of one client, without a server."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from starlette.types import Message, Receive, Scope, Send


async def exchange(
    app: Callable[[Scope, Receive, Send], Awaitable[None]],
    arriving: Sequence[Message] = (),
    headers: Sequence[tuple[bytes, bytes]] = (),
) -> list[Message]:
    """Returns the answer of `app` to POST /predict where the messages `arriving` come, and then nothing more."""
    left, sent = list(arriving), list[Message]()

    async def receive() -> Message:
        if not left:
            await asyncio.Event().wait()
        return left.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/predict", "query_string": b"", "headers": list(headers)}
    await app(scope, receive, send)
    return sent
