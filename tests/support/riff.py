"""Builds WAV files chunk by chunk, right and wrong."""

import struct

import numpy as np
from numpy.typing import NDArray


def chunk(name: bytes, content: bytes, size: int | None = None, pad: bool = True, order: str = "<") -> bytes:
    """`size` replaces the true one; without `pad` an odd chunk is followed by the next at once."""
    head = struct.pack(f"{order}4sI", name, len(content) if size is None else size)
    return head + content + b"\0" * (pad and len(content) % 2)


def fmt(
    tag: int = 1,
    channels: int = 1,
    rate: int = 16_000,
    frame_bytes: int | None = None,
    bits: int = 16,
    bytes_per_second: int | None = None,
    order: str = "<",
) -> bytes:
    """A format chunk; `frame_bytes` and `bytes_per_second` replace the true ones."""
    true_bytes = channels * bits // 8
    frame = true_bytes if frame_bytes is None else frame_bytes
    rate_bytes = rate * true_bytes if bytes_per_second is None else bytes_per_second
    return chunk(b"fmt ", struct.pack(f"{order}HHIIHH", tag, channels, rate, rate_bytes, frame, bits), order=order)


def riff(*chunks: bytes, magic: bytes = b"RIFF", size: int | None = None) -> bytes:
    body = b"WAVE" + b"".join(chunks)
    order = ">" if magic == b"RIFX" else "<"
    return magic + struct.pack(f"{order}I", len(body) if size is None else size) + body


def pcm16(samples: NDArray[np.float32], order: str = "<") -> bytes:
    return np.round(samples * 32767).astype(f"{order}i2").tobytes()
