"""Rows of unequal lengths side by side, as every graph takes them: right-padded with zeros."""

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Scalar = TypeVar("Scalar", bound=np.generic)


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
