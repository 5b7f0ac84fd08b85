"""Decodes an audio file to the input of the audio graph: mono 16 kHz float32. Serving and training share it.

No features are computed here: the log-mel front-end is inside the exported graph. The service decodes in the processes
of `app.audio.pool`, which may crash or hang.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING, Self

import numpy as np
import soxr  # type: ignore[import-untyped]
from numpy.typing import NDArray

from ..errors import AudioEmpty, AudioTooLong, AudioTooManyChannels, AudioUndecodable, ChannelMissing
from .channels import Mono, to_mono
from .containers import read_blocks
from .reading import Reading

if TYPE_CHECKING:
    from ..settings import Settings

SAMPLE_RATE = 16_000  # Hz, of every clip once decoded

# A lower rate holds no speech, and a forged one of a few Hz would make resampling explode. No equipment records a
# higher one.
MIN_SAMPLE_RATE, MAX_SAMPLE_RATE = 1_000, 768_000  # Hz


@dataclass(frozen=True)
class Limits:
    """Bounds on a clip. An utterance lasts seconds and stays far below them.

    They are wide enough to report the true length of a recording that was sent by mistake, and keep a few kilobytes of
    forged FLAC from becoming gigabytes. They are checked while decoding; a header only makes a refusal come sooner.
    """

    max_duration_s: float = 600
    max_channels: int = 8
    max_decoded_bytes: int = 120_000_000
    """Of float32, over all channels: five minutes of stereo at 48 kHz."""

    @classmethod
    def of(cls, settings: "Settings") -> Self:
        return cls(settings.max_duration_s, settings.max_channels, settings.max_decoded_bytes)


_DEFAULT = Limits()


@dataclass(frozen=True)
class Clip:
    """A decoded clip.

    `samples`: float32 [samples], mono, 16 kHz, finite, contiguous; those of a float file may exceed -1..1. The
    rest describes the file: `duration_s` of everything that could be decoded, `sample_rate` in Hz, `channels`.
    `channel` is the one that the samples are of, from 0, or None for a mix; `channels_differ` whether a mix joins
    different sounds. `part_missing`: whether part of the sound is not in `samples`: damaged, cut off, or on another
    track.
    """

    samples: NDArray[np.float32]
    duration_s: float
    sample_rate: int
    channels: int
    channel: int | None = None
    channels_differ: bool = False
    part_missing: bool = False


def decode(data: bytes, limits: Limits = _DEFAULT, channel: int | None = None) -> Clip:
    """Decodes a file of any rate: WAV (PCM, float, A-law, mu-law, ADPCM, GSM 6.10, MP3), FLAC, MP3, ADTS (AAC), AMR,
    OGG (Vorbis, Opus, FLAC), and MP4, MOV, Matroska and WebM with one of these codecs, except ADPCM and GSM, or ALAC.

    `channel`, from 0, is taken alone; None joins all as `app.audio.channels` does. The result is resampled by soxr
    (HQ). The same bytes give the same samples.

    Raises AudioFormatUnsupported, AudioUndecodable, AudioEmpty, AudioTooLong, AudioTooManyChannels, ChannelMissing,
    AudioTooCostly.
    """
    if not data:
        raise AudioEmpty
    reading = Reading()
    with _interrupted_later():
        sample_rate, channels, joined = _mono(data, limits, channel, reading)
    mono = joined.samples
    samples = mono if sample_rate == SAMPLE_RATE else soxr.resample(mono, sample_rate, SAMPLE_RATE, quality="HQ")
    if len(samples) == 0:
        raise AudioEmpty
    # Resampling keeps every value that is not finite, and near the largest float makes more.
    if not np.isfinite(samples).all():
        raise AudioUndecodable("The file holds samples that are not numbers (NaN or infinity).")
    samples = np.ascontiguousarray(samples, dtype=np.float32)
    return Clip(
        samples, len(mono) / sample_rate, sample_rate, channels, joined.channel, joined.differ, reading.part_missing
    )


@contextmanager
def _interrupted_later() -> Iterator[None]:
    """Defers Ctrl-C: raised in libsndfile's read callback it would be lost, and the file would seem to end there."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[tuple[int, FrameType | None]] = []
    before = signal.signal(signal.SIGINT, lambda *given: came.append(given))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if came and callable(before):
            before(*came[0])


def _mono(data: bytes, limits: Limits, channel: int | None, reading: Reading) -> tuple[int, int, Mono]:
    """The rate in Hz, the number of channels, and `channel` or all of them joined. Raises as `decode`."""
    blocks = read_blocks(data, partial(_check, limits=limits), reading)
    sample_rate = channels = frames = max_frames = 0
    kept: list[NDArray[np.float32]] = []
    with closing(blocks):
        for block_rate, block in blocks:
            if not kept:
                sample_rate, channels = block_rate, block.shape[1]
                _check(sample_rate, channels, limits)
                check_channel(channel, channels)
                max_frames = int(min(limits.max_decoded_bytes // (4 * channels), limits.max_duration_s * sample_rate))
            elif (block_rate, block.shape[1]) != (sample_rate, channels):
                raise AudioUndecodable("The file changes its sample rate or its channels midway.")
            frames += len(block)
            if frames > max_frames:
                raise AudioTooLong(f"The clip is longer than {max_frames / sample_rate:.0f} s. {AudioTooLong.sentence}")
            kept.append(block if channel is None else block[:, channel : channel + 1].copy())
    if not frames:
        raise AudioEmpty
    samples = np.concatenate(kept)
    kept.clear()  # or a long clip would be in memory three times
    joined = to_mono(samples, sample_rate)  # the caller refuses what is not finite
    return sample_rate, channels, joined if channel is None else replace(joined, channel=channel)


def check_channel(channel: int | None, channels: int) -> None:
    """Raises ChannelMissing for a `channel` that is not one of `channels`."""
    if channel is not None and not 0 <= channel < channels:
        had = "one channel, channel 0" if channels == 1 else f"the channels 0 to {channels - 1}"
        raise ChannelMissing(f"Channel {channel} was asked for, and the audio has {had}. {ChannelMissing.sentence}")


def _check(sample_rate: int, channels: int, limits: Limits) -> None:
    if not MIN_SAMPLE_RATE <= sample_rate <= MAX_SAMPLE_RATE:
        raise AudioUndecodable(f"The file claims a sample rate of {sample_rate} Hz, which no recording has.")
    if channels > limits.max_channels:
        most = f"The audio has {channels} channels and may have {limits.max_channels}."
        raise AudioTooManyChannels(f"{most} {AudioTooManyChannels.sentence}")
