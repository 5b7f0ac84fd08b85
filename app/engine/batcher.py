"""Collects the items of concurrent requests into batches. It knows nothing of models: it calls runners on lists.

There is no timer. A batch leaves as soon as a runner is free, with the items that wait then: a lone item never waits
for company, and under load batches fill by themselves. A batch holds the oldest item and others of about its length, so
that there is little padding.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from ..errors import InferenceFailed, NotReady, traceback_without_values

Item = TypeVar("Item")
Result = TypeVar("Result")

LATEST = 0.1  # weight of the newest batch in the average time of an item
PADDING = 0.2  # most padding, as a share of a batch's cost: with more, waiting for a batch of its length is faster

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
    """Runs each of `runners` on batches, in a thread of its own.

    `cost(item)` is the cost of an item alone; a batch costs its dearest item times its size, since all are padded to
    the longest. At most `max_batch` items or `max_cost` leave together; an item dearer than that leaves
    alone. How many may wait is for the caller to decide. `on_batch` gets the size of each batch that leaves.
    """

    def __init__(
        self,
        runners: Sequence[Callable[[list[Item]], Sequence[Result]]],
        cost: Callable[[Item], int],
        *,
        max_batch: int,
        max_cost: int,
        on_batch: Callable[[int], None] = lambda size: None,
    ) -> None:
        self._on_batch = on_batch
        self._runners, self._cost = runners, cost
        self._max_batch, self._max_cost = max_batch, max_cost
        self._queue: deque[_Waiting[Item, Result]] = deque()
        self._arrived = asyncio.Event()
        self._item_s = 0.0  # a runner's time per item, averaged over recent batches
        self._closed = False
        self._tasks: list[asyncio.Task[None]] = []
        self._threads = ThreadPoolExecutor(max_workers=len(runners), thread_name_prefix="inference")

    @property
    def alive(self) -> bool:
        """Whether submitted items will be answered."""
        return bool(self._tasks) and not any(task.done() for task in self._tasks) and not self._closed

    @property
    def waiting(self) -> int:
        """Items in the queue, without those in running batches."""
        return len(self._queue)

    def expected_wait_s(self, ahead: int) -> float:
        """Estimated wait in seconds behind `ahead` items, from recent batch times. 0 where a runner will be free."""
        return max(0, ahead + 1 - len(self._runners)) * self._item_s / len(self._runners)

    @property
    def oldest_s(self) -> float:
        """Seconds that the oldest item in the queue has waited; 0 where none waits."""
        return time.perf_counter() - self._queue[0].since if self._queue else 0.0

    def start(self) -> None:
        """Begins to take batches. Called inside the event loop."""
        self._tasks = [asyncio.create_task(self._serve(run), name="batcher") for run in self._runners]

    async def submit(self, item: Item) -> Answered[Result]:
        """Waits for the result of `item`. Raises InferenceFailed, NotReady (before start, after close)."""
        if not self.alive:
            raise NotReady
        waiting = _Waiting[Item, Result](item, asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        self._arrived.set()
        return await waiting.future

    async def close(self) -> None:
        """Takes nothing more, answers what waits, and ends."""
        self._closed = True
        self._arrived.set()
        await asyncio.gather(*self._tasks)
        self._threads.shutdown()

    async def _serve(self, run: Callable[[list[Item]], Sequence[Result]]) -> None:
        while True:
            await self._arrived.wait()
            batch = self._take()
            if batch:
                await self._answer(batch, run)
            elif self._closed:
                return
            else:
                self._arrived.clear()

    def _take(self) -> list[_Waiting[Item, Result]]:
        """The oldest item, and those that fit into its batch: nearest in cost first, then in order of arrival.

        Cancelled items are dropped.
        """
        waiting = [item for item in self._queue if not item.future.done()]
        if not waiting:
            self._queue.clear()
            return []
        oldest, *others = ((self._cost(item.item), item) for item in waiting)
        others.sort(key=lambda pair: abs(pair[0] - oldest[0]))
        batch, costs = [oldest[1]], [oldest[0]]
        for cost, item in others:
            padded = max(cost, *costs) * (len(costs) + 1)
            wasted = padded - cost - sum(costs)
            if len(batch) < self._max_batch and padded <= self._max_cost and wasted <= PADDING * padded:
                batch.append(item)
                costs.append(cost)
        taken = set(map(id, batch))
        self._queue = deque(item for item in waiting if id(item) not in taken)
        return batch

    async def _answer(self, batch: list[_Waiting[Item, Result]], run: Callable[[list[Item]], Sequence[Result]]) -> None:
        """Runs `batch` and answers every item of it, whatever happens in `run`."""
        started = time.perf_counter()
        try:
            self._on_batch(len(batch))
            results = await asyncio.get_running_loop().run_in_executor(
                self._threads, run, [waiting.item for waiting in batch]
            )
            run_s = time.perf_counter() - started
            self._item_s += LATEST * (run_s / len(batch) - self._item_s)
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
