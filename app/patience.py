"""Computes an answer for as long as somebody waits for it."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.types import Receive

from app.errors import ClientGone, DeadlineExceeded

Answer = TypeVar("Answer")


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
