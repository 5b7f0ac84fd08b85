"""Simulates another microphone, line or speaking rate for an utterance, for training and for testing.

Waveforms are float32 [samples], mono, -1..1, at 16 kHz.
"""

from collections.abc import Callable

import numpy as np
import soxr  # type: ignore[import-untyped]
from numpy.typing import NDArray

from app.audio.decode import SAMPLE_RATE

Waveform = NDArray[np.float32]
Noise = NDArray[np.float64]

TELEPHONE_BAND_HZ = (300.0, 3400.0)
MU = 255.0  # of the companding that 8 kHz lines use, ITU-T G.711


def recorded_otherwise(waveform: Waveform, random: np.random.Generator) -> Waveform:
    """Another speed, room, microphone, level, noise and line, each for some of the utterances, and silence around."""
    changed = waveform
    if random.random() < 0.8:
        changed = at_speed(changed, random.uniform(0.9, 1.1))
    if random.random() < 0.25:
        changed = in_room(changed, random.uniform(0.1, 0.5), random)
    if random.random() < 0.3:
        changed = with_tilt(changed, random.uniform(-6.0, 6.0))
    if random.random() < 0.5:
        before, after = random.uniform(0.0, 2.0, size=2) * random.integers(2, size=2)
        changed = with_pauses(changed, before, after, random.choice([-np.inf, -60.0, -45.0]), random)
    if random.random() < 0.4:
        colour = (white, pink)[random.integers(2)]
        changed = with_noise(changed, random.uniform(5.0, 30.0), random, colour)
    if random.random() < 1 / 3:
        changed = over_telephone(changed)
    return with_gain(changed, random.uniform(-20.0, 10.0))


def at_speed(waveform: Waveform, factor: float) -> Waveform:
    """Played `factor` times as fast, with the pitch raised by as much."""
    return np.asarray(soxr.resample(waveform, SAMPLE_RATE * factor, SAMPLE_RATE), dtype=np.float32)


def white(samples: int, random: np.random.Generator) -> Noise:
    """Noise of equal power at every frequency: float64 [samples], power 1."""
    return random.standard_normal(samples)


def pink(samples: int, random: np.random.Generator) -> Noise:
    """Noise of equal power in every octave, as in rooms and streets: float64 [samples], power 1."""
    spectrum = np.fft.rfft(random.standard_normal(samples))
    noise = np.fft.irfft(spectrum / np.sqrt(np.maximum(1, np.arange(len(spectrum)))), samples)
    return np.asarray(noise / np.sqrt(np.mean(np.square(noise)) + 1e-12))


def with_noise(
    waveform: Waveform,
    snr_db: float,
    random: np.random.Generator,
    colour: Callable[[int, np.random.Generator], Noise] = white,
) -> Waveform:
    """With noise of that `colour`, `snr_db` below the mean power of the signal."""
    power = float(np.mean(np.square(waveform, dtype=np.float64))) * 10 ** (-snr_db / 10)
    return (waveform + colour(len(waveform), random) * np.sqrt(power)).astype(np.float32)


def with_pauses(
    waveform: Waveform, before_s: float, after_s: float, level_db: float, random: np.random.Generator
) -> Waveform:
    """With seconds before and after of white noise at `level_db` of full scale; of digital silence at -infinity."""
    ends = [random.standard_normal(round(s * SAMPLE_RATE)) * 10 ** (level_db / 20) for s in (before_s, after_s)]
    return np.concatenate((ends[0], waveform, ends[1])).astype(np.float32)


def with_offset(waveform: Waveform, offset: float) -> Waveform:
    """At half level, with a constant `offset` added."""
    return np.clip(waveform / 2 + np.float32(offset), -1.0, 1.0)


def in_room(waveform: Waveform, reverberation_s: float, random: np.random.Generator) -> Waveform:
    """In a room whose sound falls by 60 dB in that time: noise that fades, convolved with the utterance."""
    length = max(2, round(reverberation_s * SAMPLE_RATE))
    response = random.standard_normal(length) * 10 ** (-3 * np.arange(length) / length)
    response *= random.uniform(0.2, 0.8) / np.sqrt(np.square(response).sum())
    response[0] = 1.0
    size = len(waveform) + length
    spectrum = np.fft.rfft(waveform, size) * np.fft.rfft(response, size)
    return np.fft.irfft(spectrum, size)[: len(waveform)].astype(np.float32)


def with_tilt(waveform: Waveform, db_per_octave: float) -> Waveform:
    """Through a microphone that favours high or low frequencies, by that much an octave. Its peak stays."""
    spectrum = np.fft.rfft(waveform)
    hertz = np.maximum(np.fft.rfftfreq(len(waveform), 1 / SAMPLE_RATE), 100.0)
    tilted = np.fft.irfft(spectrum * 10 ** (db_per_octave * np.log2(hertz / 1000) / 20), len(waveform))
    peak = np.abs(tilted).max()
    return (tilted * (np.abs(waveform).max() / peak if peak > 0 else 1.0)).astype(np.float32)


def cropped(waveform: Waveform, seconds: float, random: np.random.Generator) -> Waveform:
    """A part of that length at a random place; the whole where it is shorter."""
    samples = round(seconds * SAMPLE_RATE)
    start = int(random.integers(max(1, len(waveform) - samples + 1)))
    return waveform[start : start + samples]


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
