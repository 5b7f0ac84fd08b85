"""A pool of processes that decode, so that a file made to crash, hang or bloat a decoder harms no other.

`app.audio.worker` runs in each process, and `app.audio.process` talks to one. The pool hands out and replaces them.
"""

import asyncio
import io
import logging
import threading
import time
import wave
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any, TypeVar

from ..errors import AudioError, AudioTooCostly, AudioTooLong, AudioUndecodable, DecoderUnavailable
from ..telemetry.pace import Pace
from .decode import Clip, Limits, check_channel
from .process import DecoderProcess, Ended, Reason

_log = logging.getLogger(__name__)

Result = TypeVar("Result")


def _short_clip() -> bytes:
    """A tenth of a second of silence, at a rate that has to be resampled."""
    file = io.BytesIO()
    with wave.open(file, "wb") as clip:
        clip.setparams((1, 2, 8_000, 0, "NONE", ""))
        clip.writeframes(bytes(2 * 800))
    return file.getvalue()


class Decoders:
    """`count` processes that decode. Threads wait for them; `decode` is called in an event loop.

    `timeout_s` and `memory_bytes` bound one clip. `on_restart` is called in a thread for each process that is
    replaced, with the reason: died (crashed, or was killed), timeout, memory.
    """

    def __init__(
        self,
        count: int,
        limits: Limits,
        timeout_s: float,
        memory_bytes: int,
        on_restart: Callable[[Reason], None] | None = None,
    ) -> None:
        self._limits, self._timeout_s, self._memory_bytes = limits, timeout_s, memory_bytes
        self._on_restart = on_restart
        self._count = count
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="decode")
        self._pace = Pace(count)
        # When each came, in that order, which is also the order in which the threads take them.
        self._pending: dict[Future[Any], float] = {}
        # One place for each thread; None where no process could be started.
        self._places: SimpleQueue[DecoderProcess | None] = SimpleQueue()
        for _ in range(count):
            self._places.put(None)
        self._workers: set[DecoderProcess] = set()
        self._lock = threading.Lock()
        self._closed = False
        self.failure: str | None = None
        """Why the last clip found no process to decode it; None where the last one did."""

    @property
    def busy(self) -> int:
        """Clips that are being decoded or wait."""
        return len(self._pending)

    @property
    def idle(self) -> bool:
        """Whether a decoder is free."""
        return len(self._pending) < self._count

    @property
    def waiting(self) -> int:
        """Clips that wait for a decoder."""
        return max(0, len(self._pending) - self._count)

    @property
    def oldest_s(self) -> float:
        """Seconds that the oldest clip which waits for a decoder has waited; 0 where none waits."""
        waiting = list(self._pending.values())[self._count :]
        return time.perf_counter() - waiting[0] if waiting else 0.0

    def expected_wait_s(self) -> float:
        """Estimated wait for a decoder in seconds, from the times of recent clips. 0 where one will be free."""
        return self._pace.expected_wait_s(self.waiting)

    def start(self) -> None:
        """Starts the processes, which load in the background. One that fails to start is tried again with each clip."""
        for _ in range(self._places.qsize()):
            self._places.put(self._places.get() or self._try_start())

    async def decode(self, data: bytes, channel: int | None = None) -> Clip:
        """As `app.audio.decode.decode`, in another process. Cancelled while it waits, it never begins.

        Raises AudioError, DecoderUnavailable.
        """
        return await self.decode_and(lambda clip: clip, data, channel)

    async def decode_and(
        self,
        use: Callable[[Clip], Result],
        data: bytes,
        channel: int | None = None,
        begins: Callable[[], None] = lambda: None,
    ) -> Result:
        """What `use` makes of the decoded clip, in the same thread, so that a clip waits only once.

        `begins` is called in that thread, before. Raises what `decode` and `use` do.
        """
        if self._closed:
            raise DecoderUnavailable
        check_channel(channel, self._limits.max_channels)

        def work() -> Result:
            begins()
            clip, started = self._decode(data, channel)
            result = use(clip)
            self._pace.took(time.perf_counter() - started)
            return result

        future = self._threads.submit(work)
        self._pending[future] = time.perf_counter()
        future.add_done_callback(self._forget)
        return await asyncio.wrap_future(future)

    async def check(self) -> None:
        """Decodes a short clip, which is not counted. Raises DecoderUnavailable, with the reason in `failure`."""
        if self._closed:
            raise DecoderUnavailable
        try:
            await asyncio.wrap_future(self._threads.submit(self._decode, _short_clip(), None))
        except AudioTooLong:
            pass  # the settings allow less
        except AudioError as error:
            self.failure = f"a clip of 0.1 s: {error}"
            raise DecoderUnavailable from error

    def _forget(self, future: Future[Any]) -> None:
        self._pending.pop(future, None)

    def close(self) -> None:
        """Ends the processes. Clips that are still being decoded fail with DecoderUnavailable."""
        with self._lock:
            self._closed = True
            for worker in self._workers:
                worker.kill()
        self._threads.shutdown()
        for worker in self._workers:
            worker.end()
        self._workers.clear()

    def _decode(self, data: bytes, channel: int | None) -> tuple[Clip, float]:
        """The clip, and when its decoding began: the start of a process is no part of the pace."""
        worker = self._places.get()
        crashes = failed_starts = 0
        try:
            while True:
                if worker is None:
                    worker = self._start()
                try:
                    worker.wait_until_ready()
                except Ended as ended:
                    failed_starts += not worker.ready  # else it died while it was idle
                    worker, said = self._replace(worker, ended.reason)
                    if failed_starts == 2:
                        self.failure = said
                        raise DecoderUnavailable from None
                    continue
                self.failure = None
                started = time.perf_counter()
                try:
                    return worker.decode(data, channel), started
                except Ended as ended:
                    crashes += 1
                    worker, _ = self._replace(worker, ended.reason)
                    if ended.reason != "died":
                        raise AudioTooCostly from None
                    # One crash may not be this clip's fault: the system kills the largest process when memory is short.
                    if crashes == 2:
                        raise AudioUndecodable from None
        finally:
            self._places.put(worker)

    def _start(self) -> DecoderProcess:
        with self._lock:
            if self._closed:
                raise DecoderUnavailable
            try:
                worker = DecoderProcess(self._limits, self._timeout_s, self._memory_bytes)
            except OSError as error:
                self.failure = error.strerror or type(error).__name__
                _log.error("No decoder process can be started: %s.", self.failure)
                raise DecoderUnavailable from error
            self._workers.add(worker)
            return worker

    def _try_start(self) -> DecoderProcess | None:
        try:
            return self._start()
        except DecoderUnavailable:
            return None

    def _replace(self, worker: DecoderProcess, reason: Reason) -> tuple[DecoderProcess | None, str]:
        """Another process, and how the one before ended."""
        words = worker.end()
        said = f"a decoder process ended ({reason})" + (f": {words}" if words else "")
        with self._lock:
            self._workers.discard(worker)
            closed = self._closed
        if not closed:
            _log.warning("One is replaced: %s.", said)
            if self._on_restart:
                self._on_restart(reason)
        return self._try_start(), said
