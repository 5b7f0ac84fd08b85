"""Decodes an audio file into what the audio graph takes: mono 16 kHz float32. Serving and training share it.

Nothing of HTTP and no features: the log-mel front-end is inside the exported graph.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import soundfile
import soxr  # type: ignore[import-untyped]
from numpy.typing import NDArray

from app.containers import read_wav, skip_id3, sniff
from app.errors import AudioEmpty, AudioTooLong, AudioUndecodable

SAMPLE_RATE = 16_000  # Hz

# An utterance lasts seconds. The bounds are wide enough to report the true length of a clip sent whole by mistake, and
# keep a few kilobytes of forged FLAC from becoming gigabytes; both are checked while decoding, never from a header.
MAX_DURATION_S = 600
MAX_VALUES = 30_000_000  # frames x channels: five minutes of stereo at 48 kHz; mono, 120 MB of float32
# Below, there is no voice; a forged rate of a few Hz would make resampling explode. Above, no equipment records.
MIN_SAMPLE_RATE, MAX_SAMPLE_RATE = 1_000, 768_000  # Hz
# Large enough that a block costs more than the call, small enough to stay in the cache.
_BLOCK_VALUES = 1 << 18


@dataclass(frozen=True)
class Clip:
    """A decoded clip.

    `samples`: float32 [samples], mono, 16 kHz, finite, within -1..1, contiguous. The rest tells of the file as it came:
    `duration_s` of all that could be decoded, `sample_rate` in Hz, `channels`.
    """

    samples: NDArray[np.float32]
    duration_s: float
    sample_rate: int
    channels: int


def decode(data: bytes) -> Clip:
    """Decodes a WAV (PCM, float, A-law, mu-law), FLAC, OGG (Vorbis, Opus) or MP3 file of any rate and channels.

    Channels are averaged, then resampled by soxr (HQ). A clip that passes full scale, as float files may, is divided by
    its peak: the front-end is relative to the loudest value, so nothing is lost. The same bytes give the same samples.

    Raises AudioFormatUnsupported, AudioUndecodable, AudioEmpty, AudioTooLong.
    """
    if not data:
        raise AudioEmpty
    with _open(data) as file:
        sample_rate, channels = file.samplerate, file.channels
        _check_rate(sample_rate)
        blocks = list(_mono_blocks(file, sample_rate, channels))
    if not blocks:
        raise AudioEmpty
    mono = np.concatenate(blocks)
    samples = mono if sample_rate == SAMPLE_RATE else soxr.resample(mono, sample_rate, SAMPLE_RATE, quality="HQ")
    if len(samples) == 0:
        raise AudioEmpty
    # Whatever is not finite before resampling is not after it, and near the largest float more becomes so.
    if not np.isfinite(samples).all():
        raise AudioUndecodable("The file holds samples that are not numbers (NaN or infinity).")
    peak = float(np.abs(samples).max())
    if peak > 1:
        samples = samples / np.float32(peak)
    return Clip(np.ascontiguousarray(samples, dtype=np.float32), len(mono) / sample_rate, sample_rate, channels)


def _open(data: bytes) -> soundfile.SoundFile:
    """Opens the sniffed `data`; a WAV file's samples as raw ones, so that no header of it reaches libsndfile."""
    data = skip_id3(data)
    raw: dict[str, Any] = {}
    if sniff(data) == "wav":
        wav = read_wav(data)
        _check_rate(wav.sample_rate)
        data = wav.data
        raw = {"format": "RAW", "endian": "LITTLE", "subtype": wav.encoding}
        raw |= {"samplerate": wav.sample_rate, "channels": wav.channels}
    try:
        return soundfile.SoundFile(io.BytesIO(data), **raw)
    except (soundfile.LibsndfileError, ValueError, TypeError) as error:
        raise AudioUndecodable from error


def _check_rate(sample_rate: int) -> None:
    if not MIN_SAMPLE_RATE <= sample_rate <= MAX_SAMPLE_RATE:
        raise AudioUndecodable(f"The file claims a sample rate of {sample_rate} Hz, which no recording has.")


def _mono_blocks(file: soundfile.SoundFile, sample_rate: int, channels: int) -> Iterator[NDArray[np.float32]]:
    """Yields the mean over channels, block by block. Raises AudioTooLong past a bound, AudioUndecodable."""
    block_frames = max(1, _BLOCK_VALUES // channels)
    max_frames = min(MAX_VALUES // channels, MAX_DURATION_S * sample_rate)
    frames = 0
    while True:
        try:
            block = file.read(block_frames, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            raise AudioUndecodable from error
        if len(block) == 0:
            return
        frames += len(block)
        if frames > max_frames:
            raise AudioTooLong(f"The clip is longer than {max_frames / sample_rate:.0f} s. {AudioTooLong.sentence}")
        # A sum of huge floats may overflow; the caller refuses what is not finite.
        with np.errstate(over="ignore", invalid="ignore"):
            yield block.mean(axis=1, dtype=np.float32)
