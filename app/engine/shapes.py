"""The shapes that the graphs are run on: how far a batch is padded.

On a CPU no further than to its longest. On a GPU every new shape costs time and memory, as kernels are chosen and
memory is split again. There sizes are rounded up to a few buckets, all of which are run before the service is ready.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..store.manifest import Manifest

Scalar = TypeVar("Scalar", bound=np.generic)

FRAMES, TOKENS = 64, 16  # the steps between buckets on a GPU; 64 frames are 2 s
SHORT = 16  # a short utterance is this part of the longest


@dataclass(frozen=True)
class Buckets:
    """Rising sizes of a batch, each of which is rounded up to the next; where there are none, every size stays.

    `longest`: the samples and the tokens of the longest utterance.
    """

    row_sizes: Sequence[int]
    sample_sizes: Sequence[int]
    token_sizes: Sequence[int]
    longest: tuple[int, int]

    @classmethod
    def none(cls, manifest: Manifest) -> Self:
        """Every size stays."""
        return cls((), (), (), (manifest.audio.max_samples, manifest.text.max_tokens))

    @classmethod
    def of_gpu(cls, manifest: Manifest, max_batch: int) -> Self:
        """Rows in powers of two up to `max_batch`, frames and tokens in steps.

        A version that takes longer clips whole, and cuts them itself, has no longest clip: there samples stay.
        """
        audio, text = manifest.audio, manifest.text
        frames = [*range(FRAMES, audio.max_frames, FRAMES), audio.max_frames]
        samples = [] if audio.whole_clip else [count * audio.hop_length - 1 for count in frames]
        rows = [1 << power for power in range((max_batch - 1).bit_length())]
        tokens = [*range(TOKENS, text.max_tokens, TOKENS), text.max_tokens]
        return cls([*rows, max_batch], samples, tokens, (audio.max_samples, text.max_tokens))

    def rows(self, size: int) -> int:
        """Rows of a batch of `size` utterances."""
        return _rounded_up(size, self.row_sizes)

    def samples(self, longest: int) -> int:
        """Samples of a batch whose longest waveform has `longest`."""
        return _rounded_up(longest, self.sample_sizes)

    def tokens(self, longest: int) -> int:
        """Tokens of a batch whose longest transcript has `longest`."""
        return _rounded_up(longest, self.token_sizes)

    def shapes(self) -> Iterator[tuple[int, int, int]]:
        """Rows, samples and tokens of every shape, the largest first; without buckets the longest and a short one."""
        samples, tokens = self.longest
        if not self.row_sizes:
            yield from ((1, samples, tokens), (1, -(-samples // SHORT), -(-tokens // SHORT)))
            return
        yield from product(
            sorted(self.row_sizes, reverse=True),
            sorted(self.sample_sizes or [samples], reverse=True),
            sorted(self.token_sizes, reverse=True),
        )


def _rounded_up(size: int, buckets: Sequence[int]) -> int:
    """The least of `buckets` that holds `size`; `size` itself where none does."""
    return next((bucket for bucket in buckets if bucket >= size), size)


def right_pad(
    rows: Sequence[NDArray[Scalar]], least_length: int = 1, least_rows: int = 1
) -> tuple[NDArray[Scalar], NDArray[np.int64]]:
    """`rows` [length each] as one array [rows, longest], zeros to the right, and their lengths, int64 [rows].

    The array is no smaller than `least_rows` by `least_length`. Added rows get a length of 1: a graph may have no
    answer to an empty one.
    """
    lengths = np.ones(max(len(rows), least_rows), dtype=np.int64)
    lengths[: len(rows)] = [len(row) for row in rows]
    padded: NDArray[Any] = np.zeros((len(lengths), max(least_length, int(lengths.max()))), dtype=rows[0].dtype)
    for target, row in zip(padded, rows, strict=False):
        target[: len(row)] = row
    return padded, lengths
