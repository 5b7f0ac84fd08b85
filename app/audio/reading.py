"""What the readers of files yield, and what they report beside it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Rate in Hz, and float32 [frames, channels].
Block = tuple[int, NDArray[np.float32]]


@dataclass
class Reading:
    """One file being read. `part_missing` becomes true where some of its sound is passed over: damaged, cut off,
    or on another track.
    """

    part_missing: bool = False
