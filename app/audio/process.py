"""One process that decodes, seen from the service: starts it, sends it a file, waits a bounded time, kills it.

`app.audio.worker` runs in it; `app.audio.pool` decides what to do when it ends.
"""

import math
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Literal

import numpy as np

from ..errors import AudioError, AudioUndecodable
from .decode import SAMPLE_RATE, Clip, Limits
from .worker import EXHAUSTED, MIX, READY, REPLY, REQUEST, SAMPLES, main

Reason = Literal["died", "timeout", "memory"]

# Imports the package from the same folder as here, and nothing else from that folder or the working directory.
_PACKAGE = __name__.partition(".")[0]
_START = (
    f"import sys; sys.path.insert(0, sys.argv.pop(1)); import {_PACKAGE}; del sys.path[0]; "
    f"from {main.__module__} import main; main()"
)
# Variables with which Python and the loader find the same packages. The others are not passed on: they may be secret.
_KEPT = ("PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "HOME")
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

_START_S = 30.0  # the imports take a fifth of a second on an idle machine
_LATER_S = 1.0  # a process that hangs ends by its own timer; if that fails, it is killed this much later
# Room for a sentence, and for samples added by rounding: a process under a file's control cannot ask for more.
_SPARE_BYTES = 4096
_PIPE_BYTES = 65_536  # more than a pipe holds
_MAX_WORDS = 2_000  # characters
_NOT_SAID = "Extension modules:"  # a crash lists them all
_ERRORS = {error.code: error for error in AudioError.__subclasses__()}


def _one_line(text: str) -> str:
    """`text` without what could pass for other lines of a log: a file may have taken the process over."""
    shown = ("".join(filter(str.isprintable, line)).strip() for line in text.splitlines())
    return "; ".join(line for line in shown if line and not line.startswith(_NOT_SAID))[-_MAX_WORDS:]


class Ended(Exception):
    """The process has ended, or must be killed."""

    def __init__(self, reason: Reason) -> None:
        self.reason = reason


class DecoderProcess:
    """One process. Raises OSError where it cannot be started."""

    def __init__(self, limits: Limits, timeout_s: float, memory_bytes: int) -> None:
        self._timeout_s = timeout_s
        self._max_reply_bytes = int(4 * limits.max_duration_s * SAMPLE_RATE) + _SPARE_BYTES
        numbers = (limits.max_duration_s, limits.max_channels, limits.max_decoded_bytes, timeout_s, memory_bytes)
        root = str(Path(__file__).parents[2])
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", _START, root, *map(str, numbers)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            env={name: os.environ[name] for name in _KEPT if name in os.environ} | _ONE_THREAD,
            start_new_session=True,  # no signal that is meant for the service's group
        )
        assert self._process.stdin and self._process.stdout and self._process.stderr
        self._to, self._from, self._errors = (
            stream.fileno() for stream in (self._process.stdin, self._process.stdout, self._process.stderr)
        )
        for file in (self._to, self._from, self._errors):
            os.set_blocking(file, False)
        self._writable, self._readable = select.poll(), select.poll()
        self._writable.register(self._to, select.POLLOUT)
        self._readable.register(self._from, select.POLLIN)
        self.ready = False
        """Whether it has ever been ready."""

    def wait_until_ready(self) -> None:
        """Raises Ended where the process has ended, or is not ready in time."""
        if self._process.poll() is not None:
            raise Ended("died")
        if not self.ready:
            self._read(len(READY), time.monotonic() + _START_S)
            self.ready = True

    def decode(self, data: bytes, channel: int | None) -> Clip:
        """Raises AudioError, Ended."""
        deadline = time.monotonic() + self._timeout_s + _LATER_S
        try:
            self._write(REQUEST.pack(len(data), MIX if channel is None else channel), deadline)
            self._write(data, deadline)
        except BrokenPipeError:
            pass  # it may have answered before it ended
        size, kind, *about = REPLY.unpack(self._read(REPLY.size, deadline))
        if kind == EXHAUSTED:
            raise Ended("memory")
        if size > self._max_reply_bytes or (kind == SAMPLES and size % 4):
            raise Ended("died")
        body = self._read(size, deadline)
        if kind == SAMPLES:
            samples = np.frombuffer(body, dtype=np.float32)
            duration_s, sample_rate, channels, taken, *flags = about
            # A file may have taken the process over, and others' requests share its metrics: its values are checked.
            if not (0 <= duration_s < math.inf and np.isfinite(samples).all()):
                raise Ended("died")
            return Clip(samples, duration_s, sample_rate, channels, None if taken == MIX else taken, *flags)
        code, _, sentence = body.decode(errors="replace").partition("\n")
        raise _ERRORS.get(code, AudioUndecodable)(sentence)

    def kill(self) -> None:
        self._process.kill()

    def end(self) -> str:
        """Kills the process, waits for its end and closes its pipes. Returns its last words, in one line."""
        with self._process:
            self._process.kill()
            self._process.wait()
            try:
                words = os.read(self._errors, _PIPE_BYTES)
            except BlockingIOError:
                words = b""
        return _one_line(words.decode(errors="replace"))

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
                raise Ended(self._reason())
            rest = rest[count:]
        return data

    def _wait(self, file: "select.poll", deadline: float) -> None:
        left_s = deadline - time.monotonic()
        if left_s <= 0 or not file.poll(left_s * 1000):
            raise Ended("timeout")

    def _reason(self) -> Reason:
        """Why the process closed its output."""
        try:
            return "timeout" if self._process.wait(_LATER_S) == -signal.SIGALRM else "died"
        except subprocess.TimeoutExpired:
            return "died"
