"""Simulated recordings of a clip: each effect changes its own property, by the amount given."""

import numpy as np
import pytest
from numpy.typing import NDArray

from app.audio.decode import SAMPLE_RATE
from training.data.microphone import (
    at_speed,
    cropped,
    in_room,
    over_telephone,
    pink,
    recorded_otherwise,
    with_gain,
    with_noise,
    with_offset,
    with_pauses,
    with_tilt,
)


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


def test_pink_noise_has_equal_power_in_every_octave() -> None:
    noise = pink(1 << 16, np.random.default_rng(1))
    spectrum = np.abs(np.fft.rfft(noise)) ** 2
    octaves = [spectrum[1 << k : 2 << k].sum() for k in range(8, 15)]
    assert max(octaves) / min(octaves) < 1.5
    assert np.mean(np.square(noise)) == pytest.approx(1.0)


@pytest.mark.parametrize("level_db", [-np.inf, -45.0])
def test_pauses_stand_around_the_utterance(level_db: float) -> None:
    wave = tone(300)
    around = with_pauses(wave, 0.5, 1.0, level_db, np.random.default_rng(1))
    before, after = around[:8000], around[8000 + len(wave) :]
    assert np.array_equal(around[8000 : 8000 + len(wave)], wave) and len(after) == 16000
    for pause in (before, after):
        assert power(pause) == pytest.approx(10 ** (level_db / 10), rel=0.05)


def test_an_offset_is_added_at_half_level() -> None:
    moved = with_offset(tone(300), 0.1)
    assert float(moved.mean()) == pytest.approx(0.1, abs=1e-3)
    assert power(moved - moved.mean()) == pytest.approx(power(tone(300)) / 4, rel=0.01)


def test_a_room_goes_on_after_the_sound() -> None:
    click = np.zeros(16_000, dtype=np.float32)
    click[100] = 1.0
    room = in_room(click, 0.3, np.random.default_rng(1))
    assert room[100] == pytest.approx(1.0, abs=1e-6) and not np.abs(room[:100]).max() > 1e-6
    early, late = power(room[101:1_700]), power(room[3_300:4_900])
    assert early > 100 * late > 0


def test_a_tilt_is_by_octave_and_keeps_the_peak() -> None:
    both = tone(1_000) + tone(2_000)
    tilted = with_tilt(both, -6.0)
    spectrum = np.abs(np.fft.rfft(tilted))
    hertz = np.fft.rfftfreq(len(tilted), 1 / SAMPLE_RATE)
    low, high = (spectrum[np.abs(hertz - at) < 20].max() for at in (1_000, 2_000))
    assert 20 * np.log10(high / low) == pytest.approx(-6.0, abs=0.2)
    assert np.abs(tilted).max() == pytest.approx(np.abs(both).max(), rel=1e-3)


def test_a_crop_is_a_part_and_a_short_clip_stays_whole() -> None:
    wave = np.arange(16_000, dtype=np.float32)
    part = cropped(wave, 0.25, np.random.default_rng(1))
    assert len(part) == 4_000 and np.array_equal(part, wave[int(part[0]) :][:4_000])
    assert np.array_equal(cropped(wave, 2.0, np.random.default_rng(1)), wave)


def test_another_recording_is_a_valid_clip_and_repeats_itself() -> None:
    wave = tone(400)
    for seed in range(20):
        other = recorded_otherwise(wave, np.random.default_rng(seed))
        assert other.dtype == np.float32 and np.abs(other).max() <= 1
        assert 0.9 * len(wave) <= len(other) <= 1.12 * len(wave) + 4 * SAMPLE_RATE
        assert np.array_equal(other, recorded_otherwise(wave, np.random.default_rng(seed)))
