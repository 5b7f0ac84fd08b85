"""A process that decodes: files come on its input, samples go to its output. `app.audio.pool` starts and replaces it.

It may crash, hang or run out of memory; nobody but the clip in it is hurt. It ends when its input does. Nothing of
HTTP, and no second tries: those are the other side's.
"""

import os
import signal
import struct
import sys
from pathlib import Path
from typing import BinaryIO

from ..errors import AudioError
from .decode import Limits, decode

# What goes to it: the length of the file, and the file.
REQUEST = struct.Struct("<Q")
# What comes from it: the length of what follows, what that is, duration_s, sample_rate, channels.
REPLY = struct.Struct("<QBdII")
SAMPLES = 0  # float32
REFUSED = 1  # a code and a sentence, with a line end between
EXHAUSTED = 2  # nothing, and the process ends: memory that is freed in pieces is not had back
# Sent once, when it has loaded what it needs.
READY = b"R"

# PyAV's libraries are opened one after another; with the pipes this leaves a few to spare.
_MAX_FILES = 32


def main() -> None:
    """Serves until the input ends. Arguments: the fields of Limits, seconds a clip, bytes above those at the start."""
    duration_s, channels, decoded_bytes, timeout_s, memory_bytes = sys.argv[1:]
    limits = Limits(float(duration_s), int(channels), int(decoded_bytes))
    # The service may be asked to stop by a signal to its whole group, and still has requests to answer.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    source, sink = sys.stdin.buffer, os.fdopen(os.dup(1), "wb", buffering=0)
    # A C library that prints must not do so between the replies.
    os.dup2(2, 1)
    _bound(int(memory_bytes))
    sink.write(READY)
    serve(source, sink, limits, float(timeout_s))


def serve(source: BinaryIO, sink: BinaryIO, limits: Limits, timeout_s: float) -> None:
    """Answers one file after another, until there is no more or the memory did not suffice."""
    while len(head := source.read(REQUEST.size)) == REQUEST.size:
        (size,) = REQUEST.unpack(head)
        # Kills a decoder that hangs in C, also where nobody is left who would.
        signal.setitimer(signal.ITIMER_REAL, timeout_s)
        try:
            data = source.read(size)
            if len(data) < size:
                return
            clip = decode(data, limits)
        except AudioError as error:
            said = f"{error.code}\n{error}".encode()
            _write(sink, REPLY.pack(len(said), REFUSED, 0, 0, 0) + said)
        except (MemoryError, ImportError):  # a library is loaded when it is first needed, if there is room
            _write(sink, REPLY.pack(0, EXHAUSTED, 0, 0, 0))
            return
        else:
            samples = clip.samples
            _write(sink, REPLY.pack(samples.nbytes, SAMPLES, clip.duration_s, clip.sample_rate, clip.channels))
            _write(sink, samples.data.cast("B"))
        signal.setitimer(signal.ITIMER_REAL, 0)


def _write(sink: BinaryIO, data: bytes | memoryview) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[sink.write(rest) :]


def _bound(memory_bytes: int) -> None:
    """Limits what this process may take from now on."""
    import resource  # not on Windows, where this module is imported too, for what goes through the pipes

    for limit, most in ((resource.RLIMIT_CORE, 0), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_NOFILE, _MAX_FILES)):
        resource.setrlimit(limit, (most, most))
    statm = Path("/proc/self/statm")
    if statm.exists():  # elsewhere than on Linux the system knows no such limit, or does not keep to it
        most = int(statm.read_text().split()[0]) * resource.getpagesize() + memory_bytes
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
