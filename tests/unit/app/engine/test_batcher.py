"""The batcher alone: which items leave together, which are refused, and a loop that nothing ends."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine

import pytest

from app.engine.batcher import Batcher
from app.errors import InferenceFailed, NotReady


class Runner:
    """Doubles numbers; waits for leave to go on, and remembers its batches."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.started = threading.Semaphore(0)
        self.leave = threading.Semaphore(0)

    def __call__(self, items: list[int]) -> list[int]:
        self.batches.append(items)
        self.started.release()
        assert self.leave.acquire(timeout=10)
        if 13 in items:
            raise RuntimeError(f"unlucky: {items}")
        return [2 * item for item in items]

    async def has_started(self) -> None:
        assert await asyncio.to_thread(self.started.acquire, timeout=10)


Scenario = Callable[[Batcher[int, int], Runner], Awaitable[None]]


def _play(
    scenario: Scenario,
    max_batch: int = 4,
    max_cost: int = 1000,
    cost: Callable[[int], int] = lambda item: 100,
    replicas: int = 1,
) -> Runner:
    runner = Runner()

    async def play() -> None:
        batcher = Batcher([runner] * replicas, cost, max_batch=max_batch, max_cost=max_cost)
        batcher.start()
        await scenario(batcher, runner)
        runner.leave.release(100)
        await batcher.close()
        assert not batcher.alive

    asyncio.run(play())
    return runner


def _submit(batcher: Batcher[int, int], *items: int) -> list[asyncio.Task[int]]:
    def one(item: int) -> Coroutine[object, object, int]:
        return batcher.submit(item)

    return [asyncio.create_task(one(item)) for item in items]


async def _results(tasks: list[asyncio.Task[int]]) -> list[int]:
    return [await task for task in tasks]


def test_a_lone_item_leaves_at_once_and_the_rest_together() -> None:
    async def scenario(batcher: Batcher[int, int], runner: Runner) -> None:
        first = _submit(batcher, 1)
        await runner.has_started()
        rest = _submit(batcher, 2, 3, 4, 5, 6)
        await asyncio.sleep(0)
        assert batcher.waiting == 5
        runner.leave.release(3)
        assert await _results(first + rest) == [2, 4, 6, 8, 10, 12]

    assert _play(scenario).batches == [[1], [2, 3, 4, 5], [6]]


def test_batches_are_bounded_by_padded_cost_and_the_oldest_is_never_passed_over() -> None:
    async def scenario(batcher: Batcher[int, int], runner: Runner) -> None:
        first = _submit(batcher, 1)
        await runner.has_started()
        rest = _submit(batcher, 5, 20, 4, 5, 4, 50, 20)
        await asyncio.sleep(0)
        runner.leave.release(10)
        await _results(first + rest)

    played = _play(scenario, max_batch=10, max_cost=20, cost=lambda item: item)
    assert played.batches == [[1], [5, 5, 4, 4], [20], [50], [20]]


def test_items_wait_for_others_of_similar_length() -> None:
    async def scenario(batcher: Batcher[int, int], runner: Runner) -> None:
        first = _submit(batcher, 1)
        await runner.has_started()
        rest = _submit(batcher, 100, 500, 110, 480, 20, 95)
        await asyncio.sleep(0)
        runner.leave.release(10)
        await _results(first + rest)

    played = _play(scenario, max_batch=10, max_cost=10_000, cost=lambda item: item)
    assert played.batches == [[1], [100, 95, 110], [500, 480], [20]]


def test_replicas_work_at_the_same_time() -> None:
    async def scenario(batcher: Batcher[int, int], runner: Runner) -> None:
        tasks = _submit(batcher, 1)
        await runner.has_started()
        tasks += _submit(batcher, 2)
        await runner.has_started()
        assert batcher.waiting == 0
        runner.leave.release(2)
        assert await _results(tasks) == [2, 4]

    assert _play(scenario, replicas=2).batches == [[1], [2]]


def test_a_failing_batch_answers_everyone_and_the_next_works(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(batcher: Batcher[int, int], runner: Runner) -> None:
        first = _submit(batcher, 1)
        await runner.has_started()
        unlucky = _submit(batcher, 2, 13, 3)
        await asyncio.sleep(0)
        runner.leave.release(10)
        assert await _results(first) == [2]
        for task in unlucky:
            with pytest.raises(InferenceFailed):
                await task
        assert batcher.alive
        assert await batcher.submit(4) == 8

    _play(scenario)
    assert "RuntimeError" in caplog.text
    assert "unlucky: [" not in caplog.text  # a message may quote what a user sent


def test_too_few_results_are_a_failure() -> None:
    async def play() -> None:
        batcher = Batcher[int, int](
            [lambda items: items[:1] if len(items) == 1 else []], lambda _: 1, max_batch=9, max_cost=9
        )
        batcher.start()
        tasks = _submit(batcher, 1, 2)
        for task in tasks:
            with pytest.raises(InferenceFailed):
                await task
        assert await batcher.submit(3) == 3
        await batcher.close()

    asyncio.run(play())


def test_cancelled_items_are_skipped_in_the_queue_and_in_the_batch() -> None:
    async def scenario(batcher: Batcher[int, int], runner: Runner) -> None:
        running = _submit(batcher, 1, 2)
        await runner.has_started()
        waiting = _submit(batcher, 3, 4)
        await asyncio.sleep(0)
        running[0].cancel()
        waiting[0].cancel()
        await asyncio.sleep(0)
        runner.leave.release(10)
        assert await _results([running[1], waiting[1]]) == [4, 8]

    assert _play(scenario).batches == [[1, 2], [4]]


def test_an_item_that_is_given_up_leaves_the_queue_while_a_batch_runs() -> None:
    async def scenario(batcher: Batcher[int, int], runner: Runner) -> None:
        running = _submit(batcher, 1)
        await runner.has_started()
        first, second = _submit(batcher, 2, 3)
        await asyncio.sleep(0.01)
        assert batcher.waiting == 2 and batcher.oldest_s > 0
        second.cancel()
        await asyncio.wait((second,))
        assert batcher.waiting == 1
        first.cancel()
        await asyncio.wait((first,))
        assert batcher.waiting == 0 and batcher.oldest_s == 0
        runner.leave.release(10)
        assert await _results(running) == [2]

    assert _play(scenario).batches == [[1]]


def test_each_item_is_told_when_its_batch_leaves() -> None:
    left: list[int] = []

    async def scenario(batcher: Batcher[int, int], runner: Runner) -> None:
        tasks = [asyncio.create_task(batcher.submit(item, lambda item=item: left.append(item))) for item in (1, 2, 3)]
        await runner.has_started()
        assert left == [1, 2, 3]
        runner.leave.release(10)
        assert await _results(tasks) == [2, 4, 6]

    _play(scenario)


def test_only_cancelled_items_do_not_stop_the_loop() -> None:
    async def scenario(batcher: Batcher[int, int], runner: Runner) -> None:
        running = _submit(batcher, 1)
        await runner.has_started()
        (given_up,) = _submit(batcher, 2)
        await asyncio.sleep(0)
        given_up.cancel()
        runner.leave.release(10)
        assert await _results(running) == [2]
        await asyncio.sleep(0.01)
        assert await batcher.submit(3) == 6

    assert _play(scenario).batches == [[1], [3]]


def test_closing_answers_waiting_items_and_refuses_new_ones() -> None:
    async def scenario(batcher: Batcher[int, int], runner: Runner) -> None:
        tasks = _submit(batcher, 1)
        await runner.has_started()
        tasks += _submit(batcher, 2, 3)
        await asyncio.sleep(0)
        closing = asyncio.create_task(batcher.close())
        await asyncio.sleep(0)
        with pytest.raises(NotReady):
            await batcher.submit(4)
        runner.leave.release(10)
        await closing
        assert await _results(tasks) == [2, 4, 6]

    _play(scenario)


def test_nothing_is_taken_before_the_start() -> None:
    async def play() -> None:
        batcher = Batcher([lambda items: items], lambda _: 1, max_batch=1, max_cost=1)
        with pytest.raises(NotReady):
            await batcher.submit(1)
        await batcher.close()

    asyncio.run(play())
