"""What is costly to make and the same for all: made at most once at a time, for all who ask meanwhile."""

import asyncio
import time
from collections.abc import Callable
from typing import Generic, TypeVar

Result = TypeVar("Result")

# Of the time may be spent on making it, so that a flood of requests leaves the processor to others.
_SHARE = 0.1
_LONGEST_PAUSE_S = 0.5


class Shared(Generic[Result]):
    """`make` runs in a thread. Whoever asks gets what was made after that, never an older one."""

    def __init__(self, make: Callable[[], Result]) -> None:
        self._make = make
        self._next: asyncio.Task[Result] | None = None
        self._making = asyncio.Lock()
        self._not_before = 0.0

    async def get(self) -> Result:
        """Raises what `make` does. Cancelled, it is made for the others all the same."""
        if self._next is None:
            self._next = asyncio.ensure_future(self._made())
            self._next.add_done_callback(_retrieved)  # where nobody waits any more, nobody else does
        return await asyncio.shield(self._next)

    async def _made(self) -> Result:
        async with self._making:
            await asyncio.sleep(max(0.0, self._not_before - time.perf_counter()))
            self._next = None  # who asks from now on waits for the one after
            started = time.perf_counter()
            try:
                return await asyncio.to_thread(self._make)
            finally:
                ended = time.perf_counter()
                self._not_before = ended + min(_LONGEST_PAUSE_S, (ended - started) * (1 - _SHARE) / _SHARE)


def _retrieved(task: asyncio.Task[Result]) -> None:
    if not task.cancelled():
        task.exception()
