"""Simulates another microphone, line or speaking rate for an utterance, for training and for testing.

Waveforms are float32 [samples], mono, -1..1, at 16 kHz.
"""

import numpy as np
import soxr  # type: ignore[import-untyped]
from numpy.typing import NDArray

from app.audio.decode import SAMPLE_RATE

Waveform = NDArray[np.float32]

TELEPHONE_BAND_HZ = (300.0, 3400.0)
MU = 255.0  # of the companding that 8 kHz lines use, ITU-T G.711


def recorded_otherwise(waveform: Waveform, random: np.random.Generator) -> Waveform:
    """Another speed and level; noise for half of the utterances, a telephone line for a third."""
    changed = at_speed(waveform, random.uniform(0.9, 1.1))
    if random.random() < 1 / 2:
        changed = with_noise(changed, random.uniform(10.0, 30.0), random)
    if random.random() < 1 / 3:
        changed = over_telephone(changed)
    return with_gain(changed, random.uniform(-20.0, 10.0))


def at_speed(waveform: Waveform, factor: float) -> Waveform:
    """Played `factor` times as fast, with the pitch raised by as much."""
    return np.asarray(soxr.resample(waveform, SAMPLE_RATE * factor, SAMPLE_RATE), dtype=np.float32)


def with_noise(waveform: Waveform, snr_db: float, random: np.random.Generator) -> Waveform:
    """With white noise, `snr_db` below the mean power of the signal."""
    power = float(np.mean(np.square(waveform, dtype=np.float64))) * 10 ** (-snr_db / 10)
    noise = random.standard_normal(len(waveform)) * np.sqrt(power)
    return (waveform + noise).astype(np.float32)


def over_telephone(waveform: Waveform) -> Waveform:
    """300 to 3,400 Hz, sampled at 8 kHz, in 8 bits on a logarithmic scale, as G.711 does."""
    spectrum = np.fft.rfft(waveform)
    hertz = np.fft.rfftfreq(len(waveform), 1 / SAMPLE_RATE)
    low, high = TELEPHONE_BAND_HZ
    band = np.fft.irfft(np.where((hertz >= low) & (hertz <= high), spectrum, 0), len(waveform))
    line = np.clip(soxr.resample(band, SAMPLE_RATE, SAMPLE_RATE / 2), -1.0, 1.0)
    code = np.round(np.sign(line) * np.log1p(MU * np.abs(line)) / np.log1p(MU) * 127) / 127
    decoded = np.sign(code) * np.expm1(np.abs(code) * np.log1p(MU)) / MU
    return np.asarray(soxr.resample(decoded, SAMPLE_RATE / 2, SAMPLE_RATE), dtype=np.float32)


def with_gain(waveform: Waveform, gain_db: float) -> Waveform:
    """Louder or quieter by `gain_db`, clipped at full scale."""
    return np.clip(waveform * np.float32(10 ** (gain_db / 20)), -1.0, 1.0)
