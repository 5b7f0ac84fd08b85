"""The load generator against small counting servers: what it sends, when, and what it reports."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest

from benchmarks.harness.client import predict_request
from benchmarks.harness.load import Generator, Result, closed_loop, open_loop

Answering = Callable[[int], Awaitable[str]]
Load = Callable[[tuple[str, int]], Awaitable[Result]]

REQUEST = predict_request(b"RIFF", "안녕하세요")


class Counting:
    """Answers request n with the status from `answering(n)`, and counts the requests in flight."""

    def __init__(self, answering: Answering, closes: bool = False) -> None:
        self.served = self.here = self.most = self.connections = 0
        self.bodies: list[bytes] = []
        self.here_before_each: list[int] = []
        self._handlers: set[asyncio.Task[None] | None] = set()
        self._answering, self._closes = answering, closes

    async def run(self, load: Load) -> Result:
        """The result of `load` on this server."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        try:
            return await load(server.sockets[0].getsockname()[:2])
        finally:
            server.close()
            await asyncio.gather(*filter(None, self._handlers))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._handlers.add(asyncio.current_task())
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = int(head.split(b"Content-Length: ")[1].split(b"\r\n")[0])
                self.bodies.append(await reader.readexactly(length))
                self.served += 1
                self.here += 1
                self.most = max(self.most, self.here)
                status = await self._answering(self.served)
                self.here_before_each.append(self.here)
                self.here -= 1
                writer.write(f"HTTP/1.1 {status} X\r\ncontent-length: 2\r\n\r\n{{}}".encode())
                if self._closes:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client has finished
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def _at_once(number: int) -> str:
    return "200"


def test_statuses_are_counted_and_only_200_is_throughput() -> None:
    async def every_third_is_refused(number: int) -> str:
        await asyncio.sleep(0.005)
        return "429" if number % 3 == 0 else "200"

    server = Counting(every_third_is_refused)
    result = asyncio.run(server.run(lambda address: closed_loop(address, [REQUEST], connections=2, total=30)))
    assert result.statuses == {"200": 20, "429": 10}
    assert result.throughput_rps * result.duration_s == pytest.approx(20, rel=0.05)  # both are rounded


def test_closed_loop_keeps_as_many_in_flight_as_asked() -> None:
    everyone = 5

    async def slowly(number: int) -> str:
        await asyncio.sleep(0.005)
        return "200"

    server = Counting(slowly)
    result = asyncio.run(server.run(lambda address: closed_loop(address, [REQUEST], connections=everyone, total=100)))
    assert result.statuses == {"200": 100}
    assert server.most == everyone
    assert server.connections == everyone, "connections are kept alive"


def test_closed_loop_sends_the_next_only_when_the_last_is_answered() -> None:
    server = Counting(_at_once)
    asyncio.run(server.run(lambda address: closed_loop(address, [REQUEST], connections=1, total=50)))
    assert server.here_before_each == [1] * 50


def test_requests_are_sent_in_turn_and_whole() -> None:
    requests = [predict_request(b"RIFF" + bytes(size), "말") for size in (10, 100_000, 20)]
    server = Counting(_at_once)
    asyncio.run(server.run(lambda address: closed_loop(address, requests, connections=1, total=6)))
    assert server.bodies == [request.split(b"\r\n\r\n", 1)[1] for request in requests] * 2


def test_open_loop_latency_counts_from_when_a_request_was_due() -> None:
    """A server stalls once and serves one request at a time: the latencies include the wait of the others."""
    stall_s, rate = 0.4, 100.0

    async def run() -> tuple[Result, Counting]:
        one_at_a_time = asyncio.Lock()

        async def stalls_once(number: int) -> str:
            async with one_at_a_time:
                await asyncio.sleep(stall_s if number == 1 else 0)
            return "200"

        server = Counting(stalls_once)
        return await server.run(lambda address: open_loop(address, [REQUEST], rate, seconds=stall_s)), server

    result, server = asyncio.run(run())
    assert server.most > 10, "requests leave while the server stalls"
    # Requests are due evenly over the stall, so that the median waits for half of it.
    assert result.p50_ms is not None
    assert result.p50_ms > 1000 * stall_s / 4


def test_open_loop_latency_counts_from_when_due_even_where_it_left_late() -> None:
    """The generator's own delay is part of the latencies and is reported."""
    held_s = 0.3

    async def hold_up(number: int) -> str:
        if number == 1:
            time.sleep(held_s)  # the server shares the loop with the generator
        return "200"

    server = Counting(hold_up)
    result = asyncio.run(server.run(lambda address: open_loop(address, [REQUEST], 100.0, seconds=held_s)))
    assert result.late_p99_ms is not None
    assert result.p99_ms is not None
    assert result.late_p99_ms > 1000 * held_s / 2
    assert result.p99_ms >= result.late_p99_ms


def test_open_loop_sends_the_same_at_the_same_moments_for_the_same_seed() -> None:
    counts = []
    for _ in range(2):
        server = Counting(_at_once)
        asyncio.run(server.run(lambda address: open_loop(address, [REQUEST], 200.0, seconds=0.2, seed=1)))
        counts.append(server.served)
    assert counts[0] == counts[1] > 0


def test_a_connection_closed_between_requests_is_no_failure() -> None:
    server = Counting(_at_once, closes=True)
    result = asyncio.run(server.run(lambda address: closed_loop(address, [REQUEST], connections=1, total=5)))
    assert result.statuses == {"200": 5}


def test_no_answer_is_a_failure_and_has_no_latency() -> None:
    async def run() -> Result:
        server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
        async with server:
            return await closed_loop(server.sockets[0].getsockname()[:2], [REQUEST], connections=1, total=3)

    result = asyncio.run(run())
    assert result.statuses == {"failed": 3}
    assert result.p50_ms is None
    assert result.throughput_rps == 0


def test_the_generator_runs_in_another_process_and_reports_its_own_ceiling() -> None:
    generator = Generator([REQUEST])
    try:
        assert generator.ceiling_rps > 0
        server = Counting(_at_once)

        async def elsewhere(address: tuple[str, int]) -> Result:
            return await asyncio.to_thread(generator.closed, address, 2, total=10)

        result = asyncio.run(server.run(elsewhere))
    finally:
        generator.close()
    assert result.statuses == {"200": 10}
    assert result.ceiling_rps == generator.ceiling_rps
