"""The level of a clip: channels to mono, and what passes full scale brought back to it."""

import numpy as np
from numpy.typing import NDArray


def to_mono(block: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean of the channels: float32 [frames, channels] to [frames]. Huge floats may overflow to infinity."""
    with np.errstate(over="ignore", invalid="ignore"):
        mono: NDArray[np.float32] = block.mean(axis=1, dtype=np.float32)
    return mono


def within_full_scale(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """`samples` divided by their peak where it is over 1, as it may be in float files.

    Clipping would be heard. The front-end is relative to the loudest value, so nothing is lost.
    """
    peak = float(np.abs(samples).max())
    return samples / np.float32(peak) if peak > 1 else samples
