"""A process that decodes: reads files from its input, writes samples to its output. `app.audio.pool` replaces it.

It may crash, hang or run out of memory, which costs only the clip in it. It ends with its input. Retries are the other
side's.
"""

import faulthandler
import os
import signal
import struct
import sys
from pathlib import Path
from typing import BinaryIO

from ..errors import AudioError, traceback_without_values
from .decode import Limits, decode

# A request: the length of the file and the channel, then the file.
REQUEST = struct.Struct("<Qi")
MIX = -1  # in place of a channel
# A reply: the length of its body, the kind of its body, duration_s, sample_rate, channels, channel, whether the
# channels differ and whether a part is missing; then the body.
REPLY = struct.Struct("<QBdIIi??")
SAMPLES = 0  # float32
REFUSED = 1  # a code and a sentence, separated by a line end
EXHAUSTED = 2  # no body, and the process ends: fragmented memory is not given back
# Handshake: sent once after start-up.
READY = b"R"

# Enough for the pipes and for PyAV's libraries, which are opened one after another.
_MAX_FILES = 32
# A core dump would hold people's audio. Linux takes 1 for none at all, also where a program collects dumps, for which 0
# is no limit.
CORE_BYTES = 1


def main() -> None:
    """Serves until the input ends. Arguments: the fields of Limits, seconds per clip, bytes above those at start."""
    duration_s, channels, decoded_bytes, timeout_s, memory_bytes = sys.argv[1:]
    limits = Limits(float(duration_s), int(channels), int(decoded_bytes))
    # A signal to the whole process group stops the service, which still has requests to answer.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    source, sink = sys.stdin.buffer, os.fdopen(os.dup(1), "wb", buffering=0)
    last_words = os.fdopen(os.dup(2), "w")  # of which the other side makes a line of the log
    faulthandler.enable(last_words)
    _bound(int(memory_bytes))
    # A C library that prints must neither write between the replies nor quote a file in the log.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for output in (1, 2):
        os.dup2(nowhere, output)
    sink.write(READY)
    # An exception's message may quote it too.
    sys.excepthook = lambda kind, error, trace: print(traceback_without_values(error), file=last_words, flush=True)
    serve(source, sink, limits, float(timeout_s))


def serve(source: BinaryIO, sink: BinaryIO, limits: Limits, timeout_s: float) -> None:
    """Answers one file after another, until the input ends or memory runs out."""
    while len(head := source.read(REQUEST.size)) == REQUEST.size:
        size, channel = REQUEST.unpack(head)
        # Kills a decoder that hangs in C, even if the service is gone.
        signal.setitimer(signal.ITIMER_REAL, timeout_s)
        try:
            data = source.read(size)
            if len(data) < size:
                return
            clip = decode(data, limits, None if channel == MIX else channel)
        except AudioError as error:
            body = f"{error.code}\n{error}".encode()
            _write(sink, _head(len(body), REFUSED) + body)
        except (MemoryError, ImportError):  # a library that is loaded on first use may lack the memory
            _write(sink, _head(0, EXHAUSTED))
            return
        else:
            taken = MIX if clip.channel is None else clip.channel
            about = (clip.duration_s, clip.sample_rate, clip.channels, taken, clip.channels_differ, clip.part_missing)
            _write(sink, REPLY.pack(clip.samples.nbytes, SAMPLES, *about))
            _write(sink, clip.samples.data.cast("B"))
        signal.setitimer(signal.ITIMER_REAL, 0)


def _head(size: int, kind: int) -> bytes:
    """The head of a reply without samples."""
    return REPLY.pack(size, kind, 0, 0, 0, MIX, False, False)


def _write(sink: BinaryIO, data: bytes | memoryview) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[sink.write(rest) :]


def _bound(memory_bytes: int) -> None:
    """Limits the memory, files and core dumps of this process from now on, within the limits that it has already."""
    import resource  # missing on Windows, where this module is imported too, for the format of the pipes

    def bound(limit: int, most: int) -> None:
        _, allowed = resource.getrlimit(limit)
        most = most if allowed == resource.RLIM_INFINITY else min(most, allowed)
        resource.setrlimit(limit, (most, most))

    bound(resource.RLIMIT_CORE, CORE_BYTES)
    bound(resource.RLIMIT_FSIZE, 0)
    bound(resource.RLIMIT_NOFILE, _MAX_FILES)
    statm = Path("/proc/self/statm")
    if statm.exists():  # other systems than Linux lack the limit, or do not enforce it
        most = int(statm.read_text().split()[0]) * resource.getpagesize() + memory_bytes
        bound(resource.RLIMIT_AS, most)
