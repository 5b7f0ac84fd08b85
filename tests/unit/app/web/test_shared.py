"""What is made at most once at a time, for all who ask."""

import asyncio
import threading

import pytest

from app.web.shared import Shared


class Made:
    """Counts how often it is made, and how often at once at most."""

    def __init__(self) -> None:
        self.count = self.running = self.most = 0
        self.leave = threading.Semaphore(0)

    def __call__(self) -> int:
        self.count += 1
        self.running += 1
        self.most = max(self.most, self.running)
        assert self.leave.acquire(timeout=20)
        self.running -= 1
        return self.count


def test_all_who_ask_meanwhile_share_the_next_one() -> None:
    async def ask() -> None:
        made = Made()
        shared = Shared(made)
        first = asyncio.create_task(shared.get())
        while made.running == 0:
            await asyncio.sleep(0.001)
        others = [asyncio.create_task(shared.get()) for _ in range(500)]
        await asyncio.sleep(0)
        made.leave.release(10)
        assert await first == 1
        assert set(await asyncio.gather(*others)) == {2}, "made after they asked"
        assert (made.count, made.most) == (2, 1)
        assert await shared.get() == 3

    asyncio.run(ask())


def test_one_who_leaves_takes_nothing_from_the_others() -> None:
    async def ask() -> None:
        made = Made()
        shared = Shared(made)
        leaving, staying = (asyncio.create_task(shared.get()) for _ in range(2))
        await asyncio.sleep(0)
        leaving.cancel()
        await asyncio.wait((leaving,))
        made.leave.release(1)
        assert leaving.cancelled() and await staying == 1

    asyncio.run(ask())


def test_a_failure_is_that_of_all_and_the_next_is_made_anew() -> None:
    async def ask() -> None:
        results = iter([ZeroDivisionError, 7])

        def make() -> int:
            result = next(results)
            if isinstance(result, type):
                raise result
            return result

        shared = Shared(make)
        assert [type(each) for each in await asyncio.gather(shared.get(), shared.get(), return_exceptions=True)] == [
            ZeroDivisionError,
            ZeroDivisionError,
        ]
        assert await shared.get() == 7

    asyncio.run(ask())


def test_a_flood_leaves_the_processor_to_others() -> None:
    """One request after another without a pause: nine tenths of the time nothing is made."""

    async def ask() -> float:
        loop = asyncio.get_running_loop()
        shared = Shared(lambda: threading.Event().wait(0.02))
        await shared.get()
        began = loop.time()
        for _ in range(3):
            await shared.get()
        return loop.time() - began

    assert asyncio.run(ask()) >= 3 * 0.02 * 9


@pytest.mark.parametrize("cancelled", [True, False])
def test_a_failure_that_nobody_waits_for_is_silent(cancelled: bool, caplog: pytest.LogCaptureFixture) -> None:
    async def ask() -> None:
        asked = asyncio.create_task(Shared(lambda: 1 // 0).get())
        await asyncio.sleep(0)
        if cancelled:
            asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        await asyncio.sleep(0.05)

    asyncio.run(ask())
    assert "never retrieved" not in caplog.text
