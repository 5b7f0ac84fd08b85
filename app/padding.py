"""Rows of unequal lengths side by side, as every graph takes them: right-padded with zeros."""

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Scalar = TypeVar("Scalar", bound=np.generic)


def right_pad(rows: Sequence[NDArray[Scalar]]) -> tuple[NDArray[Scalar], NDArray[np.int64]]:
    """`rows` [length each] as [rows, longest], at least one wide, and their lengths."""
    lengths = np.array([len(row) for row in rows], dtype=np.int64)
    padded: NDArray[Any] = np.zeros((len(rows), max(1, int(lengths.max()))), dtype=rows[0].dtype)
    for target, row in zip(padded, rows, strict=True):
        target[: len(row)] = row
    return padded, lengths
