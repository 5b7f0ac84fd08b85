"""Decodes in other processes, so that a file made to crash, hang or bloat a decoder takes only itself down.

What runs in them is `app.decoder`. Here they are started, handed one clip each, watched, and replaced. Nothing of HTTP.
"""

import asyncio
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Literal

import numpy as np

from app.audio import SAMPLE_RATE, Clip, Limits
from app.decoder import EXHAUSTED, READY, REPLY, REQUEST, SAMPLES
from app.errors import AudioError, AudioTooCostly, AudioUndecodable, DecoderUnavailable

Reason = Literal["died", "timeout", "memory"]

# Imports `app` from where it was imported here, and nothing else from there or from the working directory.
_START = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); import app; del sys.path[0]; import app.decoder as d; d.main()"
)
# What Python and the loader may need to find the same packages. Nothing else goes along: it may hold secrets.
_KEPT = ("PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "HOME")
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

_START_S = 30.0  # importing takes a fifth of a second on a machine that has nothing else to do
_LATER_S = 1.0  # a process that hangs ends by its own timer; where even that hangs, it is killed after this
# A sentence, and the samples that resampling may round up to: a process that was taken over cannot ask for more.
_SPARE_BYTES = 4096
_ERRORS = {error.code: error for error in AudioError.__subclasses__()}


class _Ended(Exception):
    """The process is gone, or must go."""

    def __init__(self, reason: Reason) -> None:
        self.reason = reason


class Decoders:
    """`count` processes that decode. Threads wait for them; `decode` is called in an event loop.

    `timeout_s` and `memory_bytes` bound one clip. `on_restart` hears of each process that is replaced, in a thread:
    died (crashed, or was killed), timeout, memory.
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
        self._places: SimpleQueue[_Worker | None] = SimpleQueue()
        for _ in range(count):
            self._places.put(None)
        self._workers: set[_Worker] = set()
        self._lock = threading.Lock()
        self._closed = False

    @property
    def busy(self) -> int:
        """Decodes that run or wait."""
        return len(self._pending)

    def start(self) -> None:
        """Starts the processes, which load on their own. Those that do not start are tried again with each clip."""
        for _ in range(self._places.qsize()):
            self._places.put(self._places.get() or self._try_start())

    async def decode(self, data: bytes) -> Clip:
        """As `app.audio.decode`, elsewhere. Cancelled while it waits, it never begins.

        Raises AudioError, DecoderUnavailable.
        """
        if self._closed:
            raise DecoderUnavailable
        future = self._threads.submit(self._decode, data)
        self._pending.add(future)
        future.add_done_callback(self._pending.discard)
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Ends the processes. What is still being decoded fails with DecoderUnavailable."""
        with self._lock:
            self._closed = True
            for worker in self._workers:
                worker.kill()
        self._threads.shutdown()
        for worker in self._workers:
            worker.end()
        self._workers.clear()

    def _decode(self, data: bytes) -> Clip:
        worker = self._places.get()
        crashes = failed_starts = 0
        try:
            while True:
                if worker is None:
                    worker = self._start()
                try:
                    worker.wait_until_ready()
                except _Ended:
                    worker, failed_starts = self._replace(worker, "died"), failed_starts + 1
                    if failed_starts == 2:
                        raise DecoderUnavailable from None
                    continue
                try:
                    return worker.decode(data)
                except _Ended as ended:
                    worker, crashes = self._replace(worker, ended.reason), crashes + 1
                    if ended.reason != "died":
                        raise AudioTooCostly from None
                    # Once it may have been another's fault: the system kills the largest process when memory is short.
                    if crashes == 2:
                        raise AudioUndecodable from None
        finally:
            self._places.put(worker)

    def _start(self) -> "_Worker":
        with self._lock:
            if self._closed:
                raise DecoderUnavailable
            try:
                worker = _Worker(self._limits, self._timeout_s, self._memory_bytes)
            except OSError as error:
                raise DecoderUnavailable from error
            self._workers.add(worker)
            return worker

    def _try_start(self) -> "_Worker | None":
        try:
            return self._start()
        except DecoderUnavailable:
            return None

    def _replace(self, worker: "_Worker", reason: Reason) -> "_Worker | None":
        worker.end()
        with self._lock:
            self._workers.discard(worker)
            closed = self._closed
        if self._on_restart and not closed:
            self._on_restart(reason)
        return self._try_start()


class _Worker:
    """One process. Raises OSError where it cannot be started."""

    def __init__(self, limits: Limits, timeout_s: float, memory_bytes: int) -> None:
        self._timeout_s = timeout_s
        self._max_reply_bytes = int(4 * limits.max_duration_s * SAMPLE_RATE) + _SPARE_BYTES
        numbers = (limits.max_duration_s, limits.max_channels, limits.max_decoded_bytes, timeout_s, memory_bytes)
        root = str(Path(__file__).parents[1])
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", _START, root, *map(str, numbers)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env={name: os.environ[name] for name in _KEPT if name in os.environ} | _ONE_THREAD,
            start_new_session=True,  # no signal that is meant for the service's group
        )
        assert self._process.stdin and self._process.stdout
        self._to, self._from = self._process.stdin.fileno(), self._process.stdout.fileno()
        for file in (self._to, self._from):
            os.set_blocking(file, False)
        self._writable, self._readable = select.poll(), select.poll()
        self._writable.register(self._to, select.POLLOUT)
        self._readable.register(self._from, select.POLLIN)
        self._ready = False

    def wait_until_ready(self) -> None:
        """Raises _Ended where the process is gone, or does not get there."""
        if self._process.poll() is not None:
            raise _Ended("died")
        if not self._ready:
            self._read(len(READY), time.monotonic() + _START_S)
            self._ready = True

    def decode(self, data: bytes) -> Clip:
        """Raises AudioError, _Ended."""
        deadline = time.monotonic() + self._timeout_s + _LATER_S
        try:
            self._write(REQUEST.pack(len(data)), deadline)
            self._write(data, deadline)
        except BrokenPipeError:
            pass  # it may have answered before it ended
        size, kind, duration_s, sample_rate, channels = REPLY.unpack(self._read(REPLY.size, deadline))
        if kind == EXHAUSTED:
            raise _Ended("memory")
        if size > self._max_reply_bytes or (kind == SAMPLES and size % 4):
            raise _Ended("died")
        body = self._read(size, deadline)
        if kind == SAMPLES:
            return Clip(np.frombuffer(body, dtype=np.float32), duration_s, sample_rate, channels)
        code, _, sentence = body.decode(errors="replace").partition("\n")
        raise _ERRORS.get(code, AudioUndecodable)(sentence)

    def kill(self) -> None:
        self._process.kill()

    def end(self) -> None:
        """Kills the process, waits for its end and closes its pipes."""
        with self._process:
            self._process.kill()

    def _write(self, data: bytes, deadline: float) -> None:
        rest = memoryview(data)
        while rest:
            self._wait(self._writable, deadline)
            rest = rest[os.write(self._to, rest) :]

    def _read(self, size: int, deadline: float) -> bytearray:
        data = bytearray(size)
        rest = memoryview(data)
        while rest:
            self._wait(self._readable, deadline)
            count = os.readv(self._from, [rest])
            if count == 0:
                raise _Ended(self._reason())
            rest = rest[count:]
        return data

    def _wait(self, file: select.poll, deadline: float) -> None:
        left_s = deadline - time.monotonic()
        if left_s <= 0 or not file.poll(left_s * 1000):
            raise _Ended("timeout")

    def _reason(self) -> Reason:
        """Why the process has closed its output."""
        try:
            return "timeout" if self._process.wait(_LATER_S) == -signal.SIGALRM else "died"
        except subprocess.TimeoutExpired:
            return "died"
