"""The front-end equals librosa, whatever the signal, its length and its padding."""

import warnings

import librosa
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from app.audio.decode import SAMPLE_RATE
from training.features import LogMelDelta, mel_filters

Wave = NDArray[np.float32]
DECIBELS = 1e-3


def speech(seconds: float) -> Wave:
    """A gliding pitch with sixty harmonics and pauses: a wide range inside a frame, and between frames."""
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    glide = 3 * np.sin(5 * time)
    wave = sum(np.sin(2 * np.pi * 120 * k * time + k * glide + k) / k**1.5 for k in range(1, 60))
    return np.asarray(0.1 * wave * (np.sin(2 * np.pi * 0.7 * time) > -0.5), dtype=np.float32)


def signals() -> dict[str, Wave]:
    random = np.random.default_rng(3)
    noise = (0.1 * random.standard_normal(40 * SAMPLE_RATE)).astype(np.float32)
    click = np.zeros(SAMPLE_RATE, dtype=np.float32)
    click[5000] = 1
    time = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    found = {
        "speech": speech(3.1),
        "speech of 40 s": speech(40),
        "noise of 40 s": noise,
        "faint noise": noise[:30_000] * 1e-5,
        "silence": np.zeros(20_000, dtype=np.float32),
        "click": click,
        "sine": (0.9 * np.sin(2 * np.pi * 440 * time)).astype(np.float32),
        "loud and clipped": np.clip(speech(1.0) * 100, -1, 1),
    }
    # Around a whole frame, and around the nine frames that the difference needs.
    for length in (1, 2, 100, 511, 512, 513, 1023, 4095, 4096, 4097, 5000):
        found[f"noise of {length} samples"] = noise[-length:]
    return found


def by_librosa(wave: Wave) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Log-mel and delta [frames, 128]."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "n_fft=2048 is too large")  # librosa's remark on clips under 2048 samples
        power = librosa.feature.melspectrogram(
            y=wave, sr=SAMPLE_RATE, n_fft=2048, hop_length=512, n_mels=128, fmin=100, fmax=8000
        )
    log_mel = librosa.power_to_db(power, ref=np.max)
    return log_mel.T, librosa.feature.delta(log_mel, mode="interp" if log_mel.shape[1] >= 9 else "nearest").T


@pytest.fixture(scope="module")
def front_end() -> LogMelDelta:
    return LogMelDelta()


@pytest.mark.parametrize("name", list(signals()))
def test_alone_equals_librosa(front_end: LogMelDelta, name: str) -> None:
    wave = signals()[name]
    features, frames = front_end(torch.from_numpy(wave)[None], torch.tensor([len(wave)]))
    log_mel, difference = by_librosa(wave)
    assert frames.item() == len(log_mel) == features.shape[2]
    assert np.abs(features[0, 0].numpy() - log_mel).max() < DECIBELS
    assert np.abs(features[0, 1].numpy() - difference).max() < DECIBELS


def test_in_a_padded_batch_equals_librosa_and_padding_is_the_floor(front_end: LogMelDelta) -> None:
    waves = list(signals().values())
    lengths = torch.tensor([len(wave) for wave in waves])
    batch = torch.full((len(waves), int(lengths.max())), 0.7)  # padding that is not silent must change nothing
    for row, wave in zip(batch, waves, strict=True):
        row[: len(wave)] = torch.from_numpy(wave)
    features, frames = front_end(batch, lengths)
    for wave, found, count in zip(waves, features.numpy(), frames.tolist(), strict=True):
        log_mel, difference = by_librosa(wave)
        assert np.abs(found[0, :count] - log_mel).max() < DECIBELS
        assert np.abs(found[1, :count] - difference).max() < DECIBELS
        assert (found[0, count:] == -80).all()
        assert (found[1, count:] == 0).all()


def test_a_louder_neighbour_changes_nothing(front_end: LogMelDelta) -> None:
    quiet = torch.from_numpy(speech(1.0)) * 0.01
    alone, _ = front_end(quiet[None], torch.tensor([len(quiet)]))
    batched, _ = front_end(torch.stack((quiet, quiet * 90)), torch.tensor([len(quiet)] * 2))
    assert torch.equal(alone[0], batched[0])


def test_filters_are_slaneys() -> None:
    expected = librosa.filters.mel(sr=SAMPLE_RATE, n_fft=2048, n_mels=128, fmin=100, fmax=8000)
    assert np.abs(mel_filters() - expected).max() < 1e-8
