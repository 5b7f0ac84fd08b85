"""Channels to one: their mean, unless they cancel in it or only one holds sound. Notices channels that differ.

A mean suits copies, a pan and the microphones of one room. It loses a pair whose polarity is inverted, which one cable
or plug-in turns round, and it talks over itself where a caller and an agent have a channel each. All three are told
apart by energies in time and frequency, so that a lossy codec, a gain, noise or a delay of some milliseconds changes
little. `docs/decisions.md` has the bounds and how they were found.
"""

from dataclasses import dataclass

import numpy as np
import soxr  # type: ignore[import-untyped]
from numpy.typing import NDArray

Samples = NDArray[np.float32]
Energies = NDArray[np.float64]

_RATE = 8_000  # Hz: the band of a telephone is enough to compare channels
_FRAME = 256  # samples at that rate: 32 ms
_WINDOW = np.hanning(_FRAME).astype(np.float32)[:, None]
_LOW, _BAND, _BANDS = 6, 7, 16  # bins of 31 Hz: sixteen bands of 220 Hz each, from 190 Hz to 3.7 kHz
_SLICE_S = 10  # seconds that are analysed at once, which bounds the memory

# Energy of the mean compared with that of channels of which each holds a sound of its own: N for N copies, 1 for
# different sounds or one sound in one channel, 0 where they cancel.
_LOST = 0.7  # over the whole clip: one channel is better
_CANCELLED = 0.25  # in a band for half a second
_CANCELLED_SHARE = 0.15  # of the energy, from which one channel is better
_HALF_SECOND = 16  # frames

# What exceeds the quietest fifth of a band's frames so many times is sound and no steady noise.
_QUIET, _ABOVE_QUIET = 20, 8  # per cent, and a factor of power
_AUDIBLE = 10**-3.5  # of the power of the loudest channel: below, a channel is empty but for what leaks into it
_DOMINANT = 10  # factor of power by which one channel is ahead of the other in a band of a frame
_DIFFERENT_SHARE = 0.15  # of its energy that each of two channels has to itself


@dataclass(frozen=True)
class Mono:
    """`samples` float32 [frames]. `channel`: the one that was taken, or None for the mean of all.

    `differ`: whether two channels hold different sound, so that a mean confuses them.
    """

    samples: Samples
    channel: int | None = None
    differ: bool = False


def to_mono(samples: Samples, sample_rate: int) -> Mono:
    """Joins the channels of `samples` float32 [frames, channels], at `sample_rate` in Hz.

    The loudest channel takes the place of the mean where channels cancel, or where no other holds more than steady
    noise. Values that are not finite, or overflow, stay in the result.
    """
    if samples.shape[1] == 1:
        return Mono(samples[:, 0])
    with np.errstate(over="ignore", invalid="ignore"):
        *channels, mean = _energies(samples, sample_rate)
        energies = np.stack(channels)
        sound = _sound(energies)
        loudness = sound.sum(axis=(1, 2))
        audible = loudness > _AUDIBLE * loudness.max()
        if _cancel(energies, mean):
            taken: int | None = int(energies.sum(axis=(1, 2)).argmax())
        else:
            taken = int(loudness.argmax()) if audible.sum() == 1 else None
        mono = _mean(samples) if taken is None else samples[:, taken].copy()
    return Mono(mono, taken, _differ(energies, sound, audible))


def _mean(samples: Samples) -> Samples:
    """Ten times as fast as NumPy's own mean over a short last axis."""
    total = samples[:, 0].copy()
    for channel in range(1, samples.shape[1]):
        total += samples[:, channel]
    total /= samples.shape[1]
    return total


def _energies(samples: Samples, sample_rate: int) -> Energies:
    """Of each channel, then of their mean: [channels + 1, frames of 32 ms, bands]."""
    step = _SLICE_S * sample_rate
    slices = [_slice_energies(samples[start : start + step], sample_rate) for start in range(0, len(samples), step)]
    return np.concatenate(slices, axis=1)


def _slice_energies(samples: Samples, sample_rate: int) -> Energies:
    narrow = soxr.resample(samples, sample_rate, _RATE, quality="LQ")
    frames = max(1, -(-len(narrow) // _FRAME))
    padded = np.zeros((frames * _FRAME, samples.shape[1]), dtype=np.float32)
    padded[: len(narrow)] = narrow
    spectrum = np.fft.rfft(padded.reshape(frames, _FRAME, -1) * _WINDOW, axis=1)
    banded = spectrum[:, _LOW : _LOW + _BAND * _BANDS].transpose(2, 0, 1)
    both = np.concatenate([banded, banded.mean(axis=0, keepdims=True)])
    power = both.real**2 + both.imag**2
    energies: Energies = power.reshape(len(both), frames, _BANDS, _BAND).sum(axis=3, dtype=np.float64)
    return energies


def _cancel(energies: Energies, mean: Energies) -> bool:
    """Whether the mean has lost what the channels hold: in all, or in many bands for a while."""
    count, frames, bands = energies.shape
    spare = -frames % _HALF_SECOND
    total = np.pad(energies.sum(axis=0), ((0, spare), (0, 0))).reshape(-1, _HALF_SECOND, bands).sum(axis=1)
    kept = np.pad(mean, ((0, spare), (0, 0))).reshape(-1, _HALF_SECOND, bands).sum(axis=1) * count**2
    lost = total[kept < _CANCELLED * total].sum()
    return bool(kept.sum() < _LOST * total.sum() or lost > _CANCELLED_SHARE * total.sum())


def _sound(energies: Energies) -> Energies:
    """`energies` less what is steady in them."""
    quiet = np.percentile(energies, _QUIET, axis=1, keepdims=True)
    return np.maximum(energies - _ABOVE_QUIET * quiet, 0)


def _differ(energies: Energies, sound: Energies, audible: NDArray[np.bool_]) -> bool:
    """Whether the loudest channel and another one each have sound to themselves."""
    loudest = int(sound.sum(axis=(1, 2)).argmax())

    def alone(channel: int, other: int) -> bool:
        ahead = energies[channel] > _DOMINANT * energies[other]
        return bool((sound[channel] * ahead).sum() > _DIFFERENT_SHARE * sound[channel].sum())

    others = [channel for channel in np.flatnonzero(audible).tolist() if channel != loudest]
    return any(alone(loudest, other) and alone(other, loudest) for other in others)
