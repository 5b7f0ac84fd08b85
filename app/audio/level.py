"""Level: an offset removed, a clip that exceeds full scale back within it, and the level that a detector wants."""

import numpy as np
from numpy.typing import NDArray

_PART = 160  # samples, 10 ms: every pulse of a voice has its peak in one
_SUSTAINED = 3  # parts: a syllable lasts longer, a click and a wild value of a float file do not
_LEVEL = 0.5  # of full scale
_MAX_GAIN = 100.0  # 40 dB; more would raise the steps of 16 bits to noise


def within_full_scale(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """`samples` [samples], divided by their peak where that is over 1, as it can be in float files.

    Clipping would distort them. The front-end is relative to the loudest value, so nothing is lost.
    """
    peak = float(np.abs(samples).max())
    return samples / np.float32(peak) if peak > 1 else samples


def without_offset(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """`samples` [samples] less their mean: a constant offset, as cheap sound cards add, is no sound."""
    offset: np.float32 = samples.mean(dtype=np.float64).astype(np.float32)
    return samples - offset


def detectable(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """`samples` [samples] as a speech detector needs them: without offset, the loudest 30 ms at half of full scale.

    A shorter peak is clipped: it does not set the level.
    """
    centred = without_offset(samples)
    padded = np.pad(centred, (0, max(_SUSTAINED * _PART - len(centred), -len(centred) % _PART)))
    peaks = np.abs(padded.reshape(-1, _PART)).max(axis=1)
    level = float(np.lib.stride_tricks.sliding_window_view(peaks, _SUSTAINED).min(axis=1).max())
    gain = min(_MAX_GAIN, _LEVEL / level) if level > 0 else 1.0
    louder: NDArray[np.float32] = np.clip(centred * np.float32(gain), -1.0, 1.0)
    return louder
