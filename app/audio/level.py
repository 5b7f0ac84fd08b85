"""A clip that exceeds full scale back within it."""

import numpy as np
from numpy.typing import NDArray


def within_full_scale(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """`samples` [samples], divided by their peak where that is over 1, as it can be in float files.

    Clipping would distort them. The front-end is relative to the loudest value, so nothing is lost.
    """
    peak = float(np.abs(samples).max())
    return samples / np.float32(peak) if peak > 1 else samples
