"""Ways to damage a file."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np


def damaged(data: bytes, copies: int = 60, seed: int = 5) -> Iterator[bytes]:
    """Copies of `data` with eight bytes replaced at random in each, the same for the same seed."""
    random = np.random.default_rng(seed)
    for _ in range(copies):
        copy = bytearray(data)
        for at in random.integers(0, len(copy), 8):
            copy[at] = random.integers(256)
        yield bytes(copy)


def flip(path: Path) -> None:
    """Changes one bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
