"""Collects what concurrent requests wait for into batches. It knows nothing of models: it calls `run` on lists.

There is no timer. A batch leaves as soon as the runner is free, with what is waiting then: a lone request never waits
for company, and under load batches fill by themselves. Batches are packed by padded cost, the oldest item first.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from app.errors import InferenceFailed, NotReady, QueueFull, traceback_without_values

Item = TypeVar("Item")
Result = TypeVar("Result")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Answered(Generic[Result]):
    """A result, the seconds that its item waited, and the seconds that its batch took."""

    result: Result
    queue_s: float
    run_s: float


@dataclass(frozen=True)
class _Waiting(Generic[Item, Result]):
    item: Item
    future: asyncio.Future[Answered[Result]]
    since: float = field(default_factory=time.perf_counter)


class Batcher(Generic[Item, Result]):
    """Runs `run` on batches in one worker thread.

    `cost(item)` is what an item takes up alone; a batch is as dear as its dearest item times its size, since all are
    padded to the longest. At most `max_batch` items or `max_cost` leave together (an item dearer than that leaves
    alone), and at most `max_queue` wait.
    """

    def __init__(
        self,
        run: Callable[[list[Item]], Sequence[Result]],
        cost: Callable[[Item], int],
        *,
        max_batch: int,
        max_cost: int,
        max_queue: int,
    ) -> None:
        self._run, self._cost = run, cost
        self._max_batch, self._max_cost, self._max_queue = max_batch, max_cost, max_queue
        self._queue: deque[_Waiting[Item, Result]] = deque()
        self._arrived = asyncio.Event()
        self._closed = False
        self._task: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="inference")

    @property
    def alive(self) -> bool:
        """Whether submitted items will be answered."""
        return self._task is not None and not self._task.done() and not self._closed

    @property
    def waiting(self) -> int:
        """Items in the queue, those in the running batch not among them."""
        return len(self._queue)

    def start(self) -> None:
        """Begins to take batches. Called inside the event loop."""
        self._task = asyncio.create_task(self._serve(), name="batcher")

    async def submit(self, item: Item) -> Answered[Result]:
        """Waits for the result of `item`. Raises QueueFull, InferenceFailed, NotReady (before start, after close)."""
        if not self.alive:
            raise NotReady
        if len(self._queue) >= self._max_queue:
            raise QueueFull
        waiting = _Waiting[Item, Result](item, asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        self._arrived.set()
        return await waiting.future

    async def close(self) -> None:
        """Takes nothing more, answers what waits, and ends."""
        self._closed = True
        self._arrived.set()
        if self._task is not None:
            await self._task
        self._thread.shutdown()

    async def _serve(self) -> None:
        while True:
            await self._arrived.wait()
            batch = self._take()
            if batch:
                await self._answer(batch)
            elif self._closed:
                return
            else:
                self._arrived.clear()

    def _take(self) -> list[_Waiting[Item, Result]]:
        """The oldest item, and the next ones in order of arrival that fit beside it. Those given up are dropped."""
        batch: list[_Waiting[Item, Result]] = []
        left: deque[_Waiting[Item, Result]] = deque()
        dearest = 0
        for waiting in self._queue:
            if waiting.future.done():
                continue
            cost = max(dearest, self._cost(waiting.item))
            if batch and (len(batch) == self._max_batch or cost * (len(batch) + 1) > self._max_cost):
                left.append(waiting)
                continue
            dearest = cost
            batch.append(waiting)
        self._queue = left
        return batch

    async def _answer(self, batch: list[_Waiting[Item, Result]]) -> None:
        """Runs `batch` and answers everyone in it, whatever happens in `run`."""
        started = time.perf_counter()
        try:
            results = await asyncio.get_running_loop().run_in_executor(
                self._thread, self._run, [waiting.item for waiting in batch]
            )
            run_s = time.perf_counter() - started
            answers = [
                Answered(result, started - waiting.since, run_s) for waiting, result in zip(batch, results, strict=True)
            ]
        except Exception as error:  # noqa: BLE001 - whatever broke this batch must not end the loop
            _log.error("A batch of %d failed.\n%s", len(batch), traceback_without_values(error))
            for waiting in batch:
                if not waiting.future.done():
                    waiting.future.set_exception(InferenceFailed())
            return
        for waiting, answer in zip(batch, answers, strict=True):
            if not waiting.future.done():
                waiting.future.set_result(answer)
