"""Channels to one: copies are mixed, channels that cancel or are empty are not, and different sounds are noticed."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from app.audio.channels import to_mono
from app.audio.decode import SAMPLE_RATE, Limits, decode
from app.errors import ChannelMissing
from tests.support.encoded import ADTS, encode
from tests.support.sounds import sound_file

Samples = NDArray[np.float32]

VOICE = decode((Path(__file__).parents[4] / "examples/complaint.wav").read_bytes()).samples
OTHER = VOICE[::-1].copy()  # as loud, in the same band, and silent elsewhere


def stereo(left: Samples, right: Samples, noise_db: float = -70.0) -> Samples:
    """Two channels, each with its own noise, `noise_db` below full scale."""
    noise = np.random.default_rng(3).standard_normal((len(left), 2)) * 10 ** (noise_db / 20)
    return (np.stack([left, right], axis=1) + noise).astype(np.float32)


def delayed(sound: Samples, samples: int) -> Samples:
    return np.concatenate([np.zeros(samples, np.float32), sound])[: len(sound)]


def likeness(one: Samples, other: Samples) -> float:
    """1 for the same sound at any level."""
    count = min(len(one), len(other))
    return float(np.corrcoef(one[:count], other[:count])[0, 1])


def in_a_room(sound: Samples, seed: int) -> Samples:
    """With the reverberation of a room, other at each microphone."""
    decay = np.exp(-np.arange(4000) / 600) * np.random.default_rng(seed).standard_normal(4000)
    response = 0.6 * decay / np.linalg.norm(decay)
    response[seed] += 1
    return np.convolve(sound, response)[: len(sound)].astype(np.float32)


@pytest.mark.parametrize(
    "right",
    [VOICE, 0.5 * VOICE, 0.05 * VOICE, delayed(VOICE, 2), in_a_room(VOICE, 1)],
    ids=["copy", "pan", "hard pan", "delay", "room"],
)
@pytest.mark.parametrize("noise_db", [-100, -50])
def test_ordinary_stereo_is_the_mean(right: Samples, noise_db: float) -> None:
    pair = stereo(VOICE, right, noise_db)
    mono = to_mono(pair, SAMPLE_RATE)
    assert (mono.channel, mono.differ) == (None, False)
    np.testing.assert_allclose(mono.samples, pair.mean(axis=1), atol=1e-6)


@pytest.mark.parametrize(
    "pair",
    [
        stereo(VOICE, -VOICE),
        stereo(VOICE, -0.8 * VOICE),
        stereo(VOICE, -0.5 * VOICE, -50),
        stereo(VOICE, delayed(-VOICE, 2)),
        stereo(VOICE, delayed(VOICE, 16)),  # 1 ms: a comb with its first notch among the formants
        stereo(VOICE, np.where(np.arange(len(VOICE)) < len(VOICE) // 2, VOICE, -VOICE)),
    ],
    ids=["inverted", "quieter", "noisy", "inverted later", "a millisecond", "half of the time"],
)
def test_the_loudest_of_channels_that_cancel_is_taken(pair: Samples) -> None:
    for channels, loudest in ((pair, 0), (pair[:, ::-1] * [0.7, 1], 1)):
        mono = to_mono(np.ascontiguousarray(channels, dtype=np.float32), SAMPLE_RATE)
        assert mono.channel is not None and not mono.differ
        assert likeness(mono.samples, VOICE) > 0.99 or mono.channel == 1 - loudest
        assert np.square(mono.samples).mean() >= 0.9 * np.square(channels).mean(axis=0).max()


@pytest.mark.parametrize("container", ["adts", "OGG", "MP3", "FLAC"])
def test_an_inverted_pair_is_noticed_through_a_codec(container: str) -> None:
    pair = np.stack([VOICE, -VOICE], axis=1)
    data = encode(pair, ADTS) if container == "adts" else sound_file(pair, SAMPLE_RATE, container, None)
    clip = decode(data)
    assert clip.channel in (0, 1) and not clip.channels_differ
    spectra = [np.abs(np.fft.rfft(sound[: len(VOICE)])) for sound in (clip.samples, VOICE)]
    assert likeness(*(np.convolve(spectrum, np.ones(50))[::50].astype(np.float32) for spectrum in spectra)) > 0.95


SILENCE = np.zeros(len(VOICE), np.float32)


@pytest.mark.parametrize(
    "pair",
    [
        stereo(np.concatenate([VOICE, SILENCE]), np.concatenate([SILENCE, OTHER])),
        stereo(np.concatenate([VOICE, SILENCE]), 0.2 * np.concatenate([SILENCE, OTHER]), -50),
        stereo(VOICE, OTHER),
        stereo(VOICE + 0.15 * OTHER, OTHER + 0.15 * VOICE, -50),
        np.stack([VOICE, VOICE, SILENCE, OTHER], axis=1),
    ],
    ids=["in turns", "one is quiet", "at once", "crosstalk", "four channels"],
)
def test_different_speakers_are_mixed_and_noticed(pair: Samples) -> None:
    mono = to_mono(pair, SAMPLE_RATE)
    assert (mono.channel, mono.differ) == (None, True)
    through_a_codec = decode(encode(pair[:, [0, -1]], ADTS))
    assert through_a_codec.channels_differ and through_a_codec.channel is None


@pytest.mark.parametrize("noise_db", [-200, -70, -50, -35])
def test_a_channel_without_sound_is_not_mixed_in(noise_db: float) -> None:
    noise = np.random.default_rng(5).standard_normal(len(VOICE)) * 10 ** (noise_db / 20)
    pair = np.stack([noise, VOICE], axis=1).astype(np.float32)
    mono = to_mono(pair, SAMPLE_RATE)
    assert (mono.channel, mono.differ) == (1, False)
    np.testing.assert_array_equal(mono.samples, VOICE)


@pytest.mark.parametrize("samples", [1, 255, 256, 257, 4000])
def test_clips_of_any_length_are_joined(samples: int) -> None:
    pair = np.stack([VOICE[9000 : 9000 + samples]] * 2, axis=1)
    np.testing.assert_allclose(to_mono(pair, SAMPLE_RATE).samples, pair[:, 0], atol=1e-7)
    assert to_mono(np.zeros_like(pair), SAMPLE_RATE).channel is None


@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38])
def test_what_is_no_sound_stays_to_be_refused(value: float) -> None:
    pair = np.stack([VOICE, np.full(len(VOICE), value, dtype=np.float32)], axis=1)
    assert not np.isfinite(to_mono(pair, SAMPLE_RATE).samples).all() or value == 3e38


def test_joining_takes_little_memory_beside_the_channels() -> None:
    pair = np.tile(np.stack([VOICE, -VOICE], axis=1), (30, 1))
    tracemalloc.start()
    to_mono(pair, SAMPLE_RATE)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1.2 * pair.nbytes


def test_a_channel_that_is_asked_for_is_taken_alone() -> None:
    data = sound_file(np.stack([VOICE, OTHER, -VOICE], axis=1), SAMPLE_RATE, "FLAC", "PCM_24")
    for channel, sound in enumerate((VOICE, OTHER, -VOICE)):
        clip = decode(data, channel=channel)
        assert (clip.channels, clip.channel, clip.channels_differ) == (3, channel, False)
        np.testing.assert_allclose(clip.samples, sound, atol=1e-6)


@pytest.mark.parametrize(
    ("channels", "asked", "said"),
    [(1, 1, "Channel 1 was asked for, and the audio has one channel, channel 0."), (3, 3, "the channels 0 to 2.")],
)
def test_a_channel_that_is_not_there_is_refused(channels: int, asked: int, said: str) -> None:
    data = sound_file(np.stack([VOICE] * channels, axis=1))
    with pytest.raises(ChannelMissing, match=said):
        decode(data, Limits(), asked)
    with pytest.raises(ChannelMissing):
        decode(data, channel=-1)
