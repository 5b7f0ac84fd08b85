"""Collects the items of concurrent requests into batches. It knows nothing of models: it calls runners on lists.

There is no timer. A batch leaves as soon as a runner is free, with the items that wait then: a lone item never waits
for company, and under load batches fill by themselves. A batch holds the oldest item and others of about its length, so
that there is little padding.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from ..errors import InferenceFailed, NotReady, traceback_without_values
from ..telemetry.pace import Pace

Item = TypeVar("Item")
Result = TypeVar("Result")

PADDING = 0.2  # most padding, as a share of a batch's cost: with more, waiting for a batch of its length is faster

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Waiting(Generic[Item, Result]):
    item: Item
    future: asyncio.Future[Result]
    begins: Callable[[], None]
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
        # In order of arrival. By their futures, so that one that is given up can leave at once.
        self._queue: dict[asyncio.Future[Result], _Waiting[Item, Result]] = {}
        self._arrived = asyncio.Event()
        self._running = 0  # batches
        self._pace = Pace(len(runners))
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

    @property
    def idle(self) -> bool:
        """Whether a runner is free."""
        return self._running < len(self._runners)

    def expected_wait_s(self, ahead: int) -> float:
        """Estimated wait in seconds behind `ahead` items, from recent batch times. 0 where a runner will be free."""
        return self._pace.expected_wait_s(ahead)

    @property
    def oldest_s(self) -> float:
        """Seconds that the oldest item in the queue has waited; 0 where none waits."""
        return time.perf_counter() - next(iter(self._queue.values())).since if self._queue else 0.0

    def start(self) -> None:
        """Begins to take batches. Called inside the event loop."""
        self._tasks = [asyncio.create_task(self._serve(run), name="batcher") for run in self._runners]

    async def submit(self, item: Item, begins: Callable[[], None] = lambda: None) -> Result:
        """Waits for the result of `item`; `begins` is called when its batch leaves. Cancelled, it leaves the queue.

        Raises InferenceFailed, NotReady (before start, after close).
        """
        if not self.alive:
            raise NotReady
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._queue[future] = _Waiting(item, future, begins)
        self._arrived.set()
        try:
            return await future
        finally:
            self._queue.pop(future, None)

    async def close(self) -> None:
        """Takes nothing more, answers what waits, and ends."""
        self._closed = True
        self._arrived.set()
        await asyncio.gather(*self._tasks)
        self._threads.shutdown(wait=False)  # nothing runs in it any more

    async def _serve(self, run: Callable[[list[Item]], Sequence[Result]]) -> None:
        while True:
            await self._arrived.wait()
            batch = self._take()
            if batch:
                self._running += 1
                try:
                    await self._answer(batch, run)
                finally:
                    self._running -= 1
            elif self._closed:
                return
            else:
                self._arrived.clear()

    def _take(self) -> list[_Waiting[Item, Result]]:
        """The oldest item, and those that fit into its batch: nearest in cost first, then in order of arrival."""
        # One that was cancelled a moment ago is still there.
        waiting = [item for item in self._queue.values() if not item.future.done()]
        if not waiting:
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
        for item in batch:
            del self._queue[item.future]
        return batch

    async def _answer(self, batch: list[_Waiting[Item, Result]], run: Callable[[list[Item]], Sequence[Result]]) -> None:
        """Runs `batch` and answers every item of it, whatever happens in `run`."""
        started = time.perf_counter()
        try:
            self._on_batch(len(batch))
            for waiting in batch:
                waiting.begins()
            results = await asyncio.get_running_loop().run_in_executor(
                self._threads, run, [waiting.item for waiting in batch]
            )
            self._pace.took(time.perf_counter() - started, len(batch))
            answers = list(zip(batch, results, strict=True))
        except Exception as error:  # noqa: BLE001 - whatever broke this batch must not end the loop
            _log.error("A batch of %d failed.\n%s", len(batch), traceback_without_values(error))
            for waiting in batch:
                if not waiting.future.done():
                    waiting.future.set_exception(InferenceFailed())
            return
        for waiting, result in answers:
            if not waiting.future.done():
                waiting.future.set_result(result)
