"""The shapes that the graphs may meet. On a CPU, whatever comes: nothing is padded past a batch's longest.

On a GPU every new shape has its price, in kernels that are chosen again and memory that is split anew. There sizes are
rounded up to a few, all of which are met before the service says that it is ready.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..store.manifest import Manifest

Scalar = TypeVar("Scalar", bound=np.generic)

FRAMES = 64  # a GPU's buckets of frames are multiples of this: 2 s
TOKENS = 16


@dataclass(frozen=True)
class Buckets:
    """Sizes of a batch's rows, samples and tokens, rising; empty: every size is its own."""

    batch: Sequence[int]
    audio: Sequence[int]
    text: Sequence[int]
    longest: tuple[int, int]  # samples and tokens

    @classmethod
    def none(cls, manifest: Manifest) -> Self:
        """Every shape as it comes."""
        return cls((), (), (), (manifest.audio.max_samples, manifest.text.max_tokens))

    @classmethod
    def of_gpu(cls, manifest: Manifest, max_batch: int) -> Self:
        """Rows in powers of two up to `max_batch`, frames and tokens in steps.

        A version that takes longer clips whole, and cuts them itself, has no longest: its samples stay as they are.
        """
        audio, text = manifest.audio, manifest.text
        frames = [*range(FRAMES, audio.max_frames, FRAMES), audio.max_frames]
        samples = [] if audio.whole_clip else [count * audio.hop_length - 1 for count in frames]
        rows = [1 << power for power in range((max_batch - 1).bit_length())]
        tokens = [*range(TOKENS, text.max_tokens, TOKENS), text.max_tokens]
        return cls([*rows, max_batch], samples, tokens, (audio.max_samples, text.max_tokens))

    def rows(self, size: int) -> int:
        """How many rows a batch of `size` gets."""
        return _bucket(size, self.batch)

    def samples(self, size: int) -> int:
        """How many samples a batch gets whose longest waveform has `size`."""
        return _bucket(size, self.audio)

    def tokens(self, size: int) -> int:
        """How many tokens a batch gets whose longest transcript has `size`."""
        return _bucket(size, self.text)

    def shapes(self) -> Iterator[tuple[int, int, int]]:
        """Rows, samples and tokens of every shape, the largest first; without buckets the longest and a short one."""
        samples, tokens = self.longest
        if not self.batch:
            yield from ((1, samples, tokens), (1, min(samples, 16_000), min(tokens, 8)))
            return
        yield from product(
            sorted(self.batch, reverse=True),
            sorted(self.audio or [samples], reverse=True),
            sorted(self.text, reverse=True),
        )


def _bucket(size: int, sizes: Sequence[int]) -> int:
    """The least of `sizes` that holds `size`; `size` itself where none does."""
    return next((bucket for bucket in sizes if bucket >= size), size)


def right_pad(
    rows: Sequence[NDArray[Scalar]], least_length: int = 1, least_rows: int = 1
) -> tuple[NDArray[Scalar], NDArray[np.int64]]:
    """`rows` [length each] as [rows, longest], and their lengths; no smaller than asked for.

    A row that is there only to fill up has a length of 1, as a graph may not know what to make of nothing.
    """
    lengths = np.ones(max(len(rows), least_rows), dtype=np.int64)
    lengths[: len(rows)] = [len(row) for row in rows]
    padded: NDArray[Any] = np.zeros((len(lengths), max(least_length, int(lengths.max()))), dtype=rows[0].dtype)
    for target, row in zip(padded, rows, strict=False):
        target[: len(row)] = row
    return padded, lengths
