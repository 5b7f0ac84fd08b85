"""Sounds, and files of them."""

import io
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray


def speech(seconds: float, rate: int = 16_000, channels: int = 1, seed: int = 0) -> NDArray[np.float32]:
    """A tone that swells and fades like speech, float32 [samples] or [samples, channels], peaks near 0.5."""
    time = np.arange(round(seconds * rate)) / rate
    phase = 2 * np.pi * (120 + 15 * seed) * time + 15 * np.sin(2 * np.pi * 1.3 * time)
    mono = (0.2 * (1.2 + np.sin(2 * np.pi * 3 * time + seed)) * np.sin(phase)).astype(np.float32)
    return mono if channels == 1 else np.stack([mono] * channels, axis=1)


def sound_file(
    samples: NDArray[Any], rate: int = 16_000, container: str = "WAV", encoding: str | None = "PCM_16"
) -> bytes:
    """`samples` as the bytes of a file."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=container, subtype=encoding)
    return buffer.getvalue()


def likeness(samples: NDArray[np.float32], original: NDArray[np.float32]) -> float:
    """The highest correlation of `original` with a stretch of `samples`, -1 to 1."""
    size = len(samples) + len(original)
    spectra = np.fft.rfft(samples, size), np.fft.rfft(original, size).conj()
    products = np.fft.irfft(spectra[0] * spectra[1], size)[: len(samples) - len(original) + 1]
    sums = np.concatenate([[0.0], np.cumsum(samples.astype(np.float64) ** 2)])
    energies = sums[len(original) :] - sums[: -len(original)]
    return float((products / np.sqrt((energies + 1e-9) * np.sum(original.astype(np.float64) ** 2))).max())
