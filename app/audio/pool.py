"""A pool of processes that decode, so that a file made to crash, hang or bloat a decoder harms no other.

`app.audio.worker` runs in each process, and `app.audio.process` talks to one. The pool hands out and replaces them.
"""

import asyncio
import io
import logging
import threading
import wave
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue

from ..errors import AudioError, AudioTooCostly, AudioTooLong, AudioUndecodable, DecoderUnavailable
from .decode import Clip, Limits, check_channel
from .process import DecoderProcess, Ended, Reason

_log = logging.getLogger(__name__)


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
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="decode")
        self._pending: set[Future[Clip]] = set()
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
        """Decodes that run or wait."""
        return len(self._pending)

    def start(self) -> None:
        """Starts the processes, which load in the background. One that fails to start is tried again with each clip."""
        for _ in range(self._places.qsize()):
            self._places.put(self._places.get() or self._try_start())

    async def decode(self, data: bytes, channel: int | None = None) -> Clip:
        """As `app.audio.decode.decode`, in another process. Cancelled while it waits, it never begins.

        Raises AudioError, DecoderUnavailable.
        """
        if self._closed:
            raise DecoderUnavailable
        check_channel(channel, self._limits.max_channels)
        future = self._threads.submit(self._decode, data, channel)
        self._pending.add(future)
        future.add_done_callback(self._pending.discard)
        return await asyncio.wrap_future(future)

    async def check(self) -> None:
        """Decodes a short clip. Raises DecoderUnavailable, with the reason in `failure`."""
        try:
            await self.decode(_short_clip())
        except AudioTooLong:
            pass  # the settings allow less
        except AudioError as error:
            self.failure = f"a clip of 0.1 s: {error}"
            raise DecoderUnavailable from error

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

    def _decode(self, data: bytes, channel: int | None) -> Clip:
        worker = self._places.get()
        crashes = failed_starts = 0
        try:
            while True:
                if worker is None:
                    worker = self._start()
                try:
                    worker.wait_until_ready()
                except Ended as ended:
                    failed_starts += 1
                    worker, said = self._replace(worker, ended.reason)
                    if failed_starts == 2:
                        self.failure = said
                        raise DecoderUnavailable from None
                    continue
                self.failure = None
                try:
                    return worker.decode(data, channel)
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
