"""Simulated recordings of a clip: each effect changes its own property, by the amount given."""

import numpy as np
import pytest
from numpy.typing import NDArray

from app.audio.decode import SAMPLE_RATE
from training.data.microphone import at_speed, over_telephone, recorded_otherwise, with_gain, with_noise


def tone(hertz: float, seconds: float = 0.5, level: float = 0.3) -> NDArray[np.float32]:
    time = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return (level * np.sin(2 * np.pi * hertz * time)).astype(np.float32)


def power(waveform: NDArray[np.float32]) -> float:
    return float(np.mean(np.square(waveform, dtype=np.float64)))


def test_a_telephone_passes_its_band_alone() -> None:
    for samples in (1, 2, 7_999, 8_000):
        assert abs(len(over_telephone(tone(1_000)[:samples])) - samples) <= 2
    assert power(over_telephone(tone(1_000))) == pytest.approx(power(tone(1_000)), rel=0.05)
    for hertz in (100, 3_800, 6_000):
        assert power(over_telephone(tone(hertz))) < 1e-3 * power(tone(hertz))
    both = over_telephone(tone(1_000) + tone(5_000))
    spectrum = np.abs(np.fft.rfft(both)) ** 2
    above = np.fft.rfftfreq(len(both), 1 / SAMPLE_RATE) > 4_000
    assert spectrum[above].sum() < 1e-3 * spectrum.sum()
    assert both.dtype == np.float32


@pytest.mark.parametrize("snr_db", [0.0, 10.0, 20.0])
def test_noise_is_as_loud_as_asked(snr_db: float) -> None:
    wave = tone(300)
    noise = with_noise(wave, snr_db, np.random.default_rng(1)) - wave
    assert 10 * np.log10(power(wave) / power(noise)) == pytest.approx(snr_db, abs=0.5)
    assert np.array_equal(with_noise(wave, snr_db, np.random.default_rng(1)) - wave, noise)


def test_gain_is_in_decibels_and_cut_at_full_scale() -> None:
    wave = tone(300)
    assert with_gain(wave, -20.0) == pytest.approx(0.1 * wave, abs=1e-6)
    loud = with_gain(wave, 20.0)
    assert (loud.min(), loud.max()) == (-1.0, 1.0)
    assert loud.dtype == np.float32


def test_faster_speech_is_shorter_and_higher() -> None:
    faster = at_speed(tone(400), 1.1)
    assert len(faster) == pytest.approx(len(tone(400)) / 1.1, abs=2)
    assert np.argmax(np.abs(np.fft.rfft(faster))) * SAMPLE_RATE / len(faster) == pytest.approx(440, abs=3)


def test_another_recording_is_a_valid_clip_and_repeats_itself() -> None:
    wave = tone(400)
    for seed in range(20):
        other = recorded_otherwise(wave, np.random.default_rng(seed))
        assert other.dtype == np.float32 and np.abs(other).max() <= 1
        assert 0.9 * len(wave) <= len(other) <= 1.12 * len(wave)
        assert np.array_equal(other, recorded_otherwise(wave, np.random.default_rng(seed)))
