"""Sends prebuilt requests to a service and times the answers, in its own process. Knows nothing of models or audio.

    closed loop   N connections, each sends its next request when the last is answered: the service's capacity
    open loop     requests arrive at random (Poisson) at a given rate, independent of the service: the user's latency

Latency in the open loop counts from the moment when the request was due, not from when it was sent, so that requests
delayed by a stall are not left out (coordinated omission). The generator's own limit is measured against a server that
only reads and answers; every result holds it as `ceiling_rps`.
"""

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import count, cycle
from multiprocessing import get_context
from typing import Any

import numpy as np

from .client import Address, Pool
from .sink import sink

_SPAWN = get_context("spawn")  # a forked process would inherit locks that threads of its parent hold


@dataclass(frozen=True)
class Result:
    """The result of a loop. Latencies and throughput count answers with status 200; "failed" means no answer at all."""

    loop: str
    statuses: dict[str, int]
    duration_s: float
    throughput_rps: float
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    late_p99_ms: float | None = None  # open loop: delay between due and sent
    ceiling_rps: float | None = None  # the generator's own limit


@dataclass(frozen=True)
class _Answer:
    status: str
    latency_s: float
    late_s: float | None = None


async def closed_loop(
    address: Address, requests: Sequence[bytes], connections: int, seconds: float = 1e9, total: int | None = None
) -> Result:
    """Keeps `connections` requests in flight for `seconds` or until `total` were sent, and waits for all answers."""
    pool, next_request, numbers = Pool(address), cycle(requests), count()
    started = time.perf_counter()

    async def one_after_another() -> list[_Answer]:
        answers = []
        while time.perf_counter() - started < seconds and (total is None or next(numbers) < total):
            sent = time.perf_counter()
            status = await pool.send(next(next_request))
            answers.append(_Answer(status, time.perf_counter() - sent))
        return answers

    by_connection = await asyncio.gather(*(one_after_another() for _ in range(connections)))
    pool.close()
    answers = [answer for own in by_connection for answer in own]
    return _result("closed", answers, time.perf_counter() - started)


async def open_loop(address: Address, requests: Sequence[bytes], rate: float, seconds: float, seed: int = 20) -> Result:
    """Sends requests at random moments for `seconds`, `rate` per second on average, and waits for all answers."""
    chance, due, moments = random.Random(seed), 0.0, []
    while (due := due + chance.expovariate(rate)) < seconds:
        moments.append(due)
    pool, next_request = Pool(address), cycle(requests)
    started = time.perf_counter()

    def elapsed() -> float:
        return time.perf_counter() - started

    async def one(due: float) -> _Answer:
        late = elapsed() - due
        status = await pool.send(next(next_request))
        return _Answer(status, elapsed() - due, late)

    tasks = []
    for due in moments:
        await asyncio.sleep(max(0.0, due - elapsed()))
        tasks.append(asyncio.create_task(one(due)))
    answers = await asyncio.gather(*tasks)
    pool.close()
    return _result("open", answers, max(seconds, elapsed()))


def _result(loop: str, answers: Sequence[_Answer], duration_s: float) -> Result:
    latencies = [answer.latency_s for answer in answers if answer.status == "200"]
    late = [answer.late_s for answer in answers if answer.late_s is not None]
    p50, p95, p99 = (_milliseconds(latencies, percentile) for percentile in (50, 95, 99))
    statuses = dict(sorted(Counter(answer.status for answer in answers).items()))
    throughput = round(len(latencies) / duration_s, 2)
    return Result(loop, statuses, round(duration_s, 3), throughput, p50, p95, p99, _milliseconds(late, 99))


def _milliseconds(seconds: Sequence[float], percentile: float) -> float | None:
    return round(1000 * float(np.percentile(seconds, percentile)), 2) if seconds else None


class Generator:
    """Both loops over the same `requests`, in a process that may be pinned to `cpus`."""

    def __init__(self, requests: Sequence[bytes], cpus: Sequence[int] = ()) -> None:
        self._process = ProcessPoolExecutor(1, _SPAWN, _prepare, (list(requests), tuple(cpus)))
        self.ceiling_rps = self._measure_ceiling()

    def closed(self, address: Address, connections: int, seconds: float = 1e9, total: int | None = None) -> Result:
        return self._run(closed_loop, address, connections, seconds, total)

    def open(self, address: Address, rate: float, seconds: float, seed: int = 20) -> Result:
        return self._run(open_loop, address, rate, seconds, seed)

    def close(self) -> None:
        self._process.shutdown()

    def _run(self, loop: Callable[..., Coroutine[Any, Any, Result]], address: Address, *arguments: object) -> Result:
        result = self._process.submit(_run, loop, address, *arguments).result()
        return replace(result, ceiling_rps=self.ceiling_rps)

    def _measure_ceiling(self, connections: int = 16, seconds: float = 1.0) -> float:
        here, there = _SPAWN.Pipe()
        server = _SPAWN.Process(target=sink, args=(there,), daemon=True)
        server.start()
        address = here.recv()
        try:
            result = self._process.submit(_run, closed_loop, address, connections, seconds).result()
        finally:
            server.terminate()
            server.join()
        return result.throughput_rps


_requests: list[bytes] = []  # in the generator's own process: sent once, not with every loop


def _prepare(requests: list[bytes], cpus: tuple[int, ...]) -> None:
    _requests[:] = requests
    if cpus:
        os.sched_setaffinity(0, cpus)


def _run(loop: Callable[..., Coroutine[Any, Any, Result]], address: Address, *arguments: object) -> Result:
    return asyncio.run(loop(address, _requests, *arguments))
