"""Decoding: every format, rate and width that is promised, and every file that must be refused."""

import io
import signal
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from app.audio.decode import SAMPLE_RATE, Limits, decode
from app.audio.tags import skip_tags
from app.errors import AudioEmpty, AudioFormatUnsupported, AudioTooLong, AudioTooManyChannels, AudioUndecodable
from app.settings import Settings
from tests.support.damage import damaged

MakeSpeech = Callable[..., NDArray[np.float32]]
MakeFile = Callable[..., bytes]

# Container, encoding, and how far a sample may lie from the original's: quantisation, or what a lossy codec is allowed.
LOSSLESS = [
    ("WAV", "PCM_U8", 1e-2),
    ("WAV", "PCM_16", 1e-4),
    ("WAV", "PCM_24", 1e-6),
    ("WAV", "PCM_32", 1e-6),
    ("WAV", "FLOAT", 1e-7),
    ("WAV", "DOUBLE", 1e-7),
    ("WAV", "ALAW", 2e-2),
    ("WAV", "ULAW", 2e-2),
    ("WAVEX", "PCM_16", 1e-4),
    ("WAVEX", "PCM_24", 1e-6),
    ("WAVEX", "FLOAT", 1e-7),
    ("WAVEX", "ALAW", 2e-2),
    ("WAVEX", "ULAW", 2e-2),
    ("FLAC", "PCM_S8", 1e-2),
    ("FLAC", "PCM_16", 1e-4),
    ("FLAC", "PCM_24", 1e-6),
]
LOSSY = [("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III")]


@pytest.mark.parametrize(("container", "encoding", "tolerance"), LOSSLESS)
@pytest.mark.parametrize("channels", [1, 2])
def test_lossless_formats_at_the_models_rate(
    make_speech: MakeSpeech, make_file: MakeFile, container: str, encoding: str, tolerance: float, channels: int
) -> None:
    clip = decode(make_file(make_speech(0.5, channels=channels), SAMPLE_RATE, container, encoding))
    assert (clip.duration_s, clip.sample_rate, clip.channels) == (0.5, SAMPLE_RATE, channels)
    np.testing.assert_allclose(clip.samples, make_speech(0.5), atol=tolerance)


@pytest.mark.parametrize(("container", "encoding"), LOSSY)
@pytest.mark.parametrize(("rate", "channels"), [(8000, 1), (16000, 2), (24000, 1), (48000, 2)])
def test_lossy_formats(
    make_speech: MakeSpeech, make_file: MakeFile, container: str, encoding: str, rate: int, channels: int
) -> None:
    clip = decode(make_file(make_speech(1.0, rate, channels), rate, container, encoding))
    assert clip.duration_s == pytest.approx(1.0, abs=0.15)  # MP3 pads whole frames
    assert clip.channels == channels
    expected = make_speech(1.0)
    spectra = [np.abs(np.fft.rfft(signal, 16000)) for signal in (clip.samples[:16000], expected)]
    assert np.corrcoef(*spectra)[0, 1] > 0.95


@pytest.mark.parametrize("rate", [4000, 8000, 11025, 22050, 32000, 44100, 48000, 96000, 192000])
def test_any_rate_becomes_16_khz(make_speech: MakeSpeech, make_file: MakeFile, rate: int) -> None:
    clip = decode(make_file(make_speech(1.0, rate), rate))
    assert clip.sample_rate == rate and clip.duration_s == 1.0
    assert abs(len(clip.samples) - SAMPLE_RATE) <= 1
    middle = slice(1000, 15000)  # a resampler rings at the ends
    np.testing.assert_allclose(clip.samples[middle], make_speech(1.0)[middle], atol=5e-3)


def test_samples_are_as_promised(make_speech: MakeSpeech, make_file: MakeFile) -> None:
    samples = decode(make_file(make_speech(0.5, 44100, 2), 44100)).samples
    assert samples.dtype == np.float32 and samples.ndim == 1 and samples.flags.c_contiguous


def test_channels_are_averaged(make_file: MakeFile) -> None:
    clip = decode(make_file(np.array([[0.5, 0.0, 0.1], [0.2, 0.2, 0.2]] * 100, dtype=np.float32), encoding="FLOAT"))
    assert clip.channels == 3
    np.testing.assert_allclose(clip.samples[:2], [0.2, 0.2], atol=1e-6)


def test_the_same_bytes_give_the_same_samples(make_speech: MakeSpeech, make_file: MakeFile) -> None:
    data = make_file(make_speech(1.0, 44100), 44100, "OGG", "VORBIS")
    assert decode(data).samples.tobytes() == decode(data).samples.tobytes()


def test_a_float_file_keeps_its_level(make_speech: MakeSpeech, make_file: MakeFile) -> None:
    samples = make_speech(0.5)
    clip = decode(make_file(samples * 1e6, encoding="FLOAT"))
    np.testing.assert_allclose(clip.samples, samples * 1e6, rtol=1e-6)


def test_one_sample_is_a_clip(make_file: MakeFile) -> None:
    clip = decode(make_file(np.array([0.25], dtype=np.float32)))
    assert clip.samples.tolist() == [0.25] and clip.duration_s == 1 / SAMPLE_RATE


@pytest.mark.parametrize("extra", [0, 3])
def test_wav_chunks_before_the_samples_are_skipped(wav: bytes, extra: int) -> None:
    junk = b"LIST" + struct.pack("<I", 4 + extra) + b"INFO" + b"x" * extra + b"\0" * (extra % 2)
    assert decode(wav[:12] + junk + wav[12:]).samples.tobytes() == decode(wav).samples.tobytes()


def test_a_wav_of_unknown_length_ends_with_the_file(wav: bytes) -> None:
    at = wav.index(b"data") + 4
    streamed = wav[:at] + b"\xff\xff\xff\xff" + wav[at + 4 :]
    assert decode(streamed).samples.tobytes() == decode(wav).samples.tobytes()


def test_a_wav_cut_in_its_samples_is_decoded_up_to_the_cut(wav: bytes) -> None:
    assert decode(wav[: 44 + 16000 + 1]).duration_s == 0.5


@pytest.mark.parametrize("data", [b"", b"\0"])
def test_no_bytes_and_no_samples(data: bytes, make_file: MakeFile) -> None:
    empty = data and make_file(np.zeros(0, dtype=np.float32))
    with pytest.raises(AudioEmpty):
        decode(empty)


@pytest.mark.parametrize("container", ["FLAC", "OGG", "MP3"])
def test_files_without_a_sample(make_file: MakeFile, container: str) -> None:
    encoding = {"FLAC": "PCM_16", "OGG": "VORBIS", "MP3": "MPEG_LAYER_III"}[container]
    with pytest.raises((AudioEmpty, AudioUndecodable, AudioFormatUnsupported)):
        decode(make_file(np.zeros(0, dtype=np.float32), container=container, encoding=encoding))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_samples_that_are_no_numbers(make_speech: MakeSpeech, make_file: MakeFile, bad: float, rate: int) -> None:
    samples = make_speech(0.5, rate)
    samples[100] = bad
    with pytest.raises(AudioUndecodable, match="not numbers"):
        decode(make_file(samples, rate, encoding="FLOAT"))


def test_samples_that_overflow_are_no_numbers_either(make_file: MakeFile) -> None:
    largest = np.float32(3e38) * np.sign(np.sin(np.arange(44100) / 3)).astype(np.float32)
    with pytest.raises(AudioUndecodable, match="not numbers"):
        decode(make_file(largest, 44100, encoding="FLOAT"))


@pytest.mark.parametrize(("container", "encoding"), [("FLAC", "PCM_16"), *LOSSY])
@pytest.mark.parametrize("kept", [100, 0.5])
def test_cut_files_never_raise_anything_else(
    make_speech: MakeSpeech, make_file: MakeFile, container: str, encoding: str, kept: float
) -> None:
    """A header alone is refused; what is there of the rest is decoded, and the warning says that it is not all."""
    data = make_file(make_speech(10.0, 48000), 48000, container, encoding)
    cut = data[: int(kept * len(data)) if kept < 1 else int(kept)]
    if kept < 1:
        clip = decode(cut)
        assert 2 < clip.duration_s < 7 and clip.part_missing
    else:
        with pytest.raises((AudioUndecodable, AudioEmpty)):
            decode(cut)


@pytest.mark.parametrize("container", ["FLAC", "OGG", "MP3", "WAV"])
def test_damaged_files_never_raise_anything_else(make_speech: MakeSpeech, make_file: MakeFile, container: str) -> None:
    encoding = {"FLAC": "PCM_16", "OGG": "VORBIS", "MP3": "MPEG_LAYER_III", "WAV": "PCM_16"}[container]
    data = make_file(make_speech(0.3), container=container, encoding=encoding)
    for copy in damaged(data):
        try:
            clip = decode(copy)
        except (AudioUndecodable, AudioFormatUnsupported, AudioEmpty, AudioTooLong):
            continue
        assert np.isfinite(clip.samples).all()


@pytest.mark.parametrize("encoding", ["IMA_ADPCM", "MS_ADPCM", "GSM610", "G721_32"])
def test_other_wav_encodings_do_not_reach_libsndfile(
    make_speech: MakeSpeech, make_file: MakeFile, encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make_file(make_speech(0.5, 8000), 8000, encoding=encoding)
    opened = []
    monkeypatch.setattr(soundfile, "SoundFile", lambda *_, **__: opened.append(1))
    for disguised in (data, _id3(b"x" * 50) + data, _id3(b"") + _id3(b"y") + data):
        with suppress(AudioFormatUnsupported):
            decode(disguised)
    assert not opened


def test_a_second_format_chunk_changes_nothing(wav: bytes) -> None:
    """Only samples reach libsndfile, so a header that it would read otherwise cannot matter."""
    adpcm = struct.pack("<4sIHHIIHHHH", b"fmt ", 20, 0x11, 1, 16000, 8000, 256, 4, 2, 505)
    assert decode(wav[:36] + adpcm + wav[36:]).samples.tobytes() == decode(wav).samples.tobytes()


@pytest.mark.parametrize(
    "header",
    [
        struct.pack("<HHIIHH", 1, 0, 16000, 32000, 2, 16),  # no channels
        struct.pack("<HHIIHH", 1, 1, 0, 32000, 2, 16),  # no rate
        struct.pack("<HHIIHH", 1, 1, 5, 32000, 2, 16),  # a rate that would make resampling explode
        struct.pack("<HHIIHH", 1, 1, 2**32 - 1, 32000, 2, 16),
        struct.pack("<HHIIHH", 1, 1, 16000, 32000, 0, 0),  # samples of no bits in frames of no bytes
        struct.pack("<HHIIHH", 1, 2, 16000, 32000, 3, 0),  # frames that do not divide by the channels
        b"\1\0",
    ],
)
def test_wav_headers_that_contradict_themselves(header: bytes) -> None:
    body = b"WAVEfmt " + struct.pack("<I", len(header)) + header + b"data" + struct.pack("<I", 32000) + b"\1" * 32000
    with pytest.raises(AudioUndecodable):
        decode(b"RIFF" + struct.pack("<I", len(body)) + body)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"#!AMR_MC1.0\n", "AMR of several channels"),
        (b"hello, this is text", "not a known audio format"),
        (b"RIFF\0\0\0\0AVI LIST", "AVI"),
        (b"\xff\xd8\xff\xe0JPEG", "not a known audio format"),
        (b"ID3", "not a known audio format"),
    ],
)
def test_other_formats_are_named_and_refused(data: bytes, message: str) -> None:
    with pytest.raises(AudioFormatUnsupported, match=message) as refused:
        decode(data)
    assert "FLAC" in str(refused.value)


@pytest.mark.parametrize(
    ("container", "name"), [("AIFF", "AIFF"), ("CAF", "CAF"), ("AU", "AU"), ("W64", "Sony Wave64"), ("VOC", "Creative")]
)
def test_formats_that_libsndfile_knows_and_nobody_needs(
    make_speech: MakeSpeech, make_file: MakeFile, container: str, name: str
) -> None:
    with pytest.raises(AudioFormatUnsupported, match=f"looks like {name}"):
        decode(make_file(make_speech(0.1), container=container))


@pytest.mark.parametrize("container", ["MP3", "FLAC"])
def test_id3_tags_are_skipped(make_speech: MakeSpeech, make_file: MakeFile, container: str) -> None:
    encoding = {"MP3": "MPEG_LAYER_III", "FLAC": "PCM_16"}[container]
    data = make_file(make_speech(0.5), container=container, encoding=encoding)
    untagged = skip_tags(data)
    assert decode(_id3(b"title" * 50) + untagged).samples.tobytes() == decode(data).samples.tobytes()


def test_a_bomb_is_stopped_while_it_decodes(make_file: MakeFile) -> None:
    bomb = make_file(np.zeros(610 * 8000, dtype=np.int16), 8000, "FLAC")
    assert len(bomb) < 100_000
    with pytest.raises(AudioTooLong, match="600 s"):
        decode(bomb)


def test_many_channels_count_too() -> None:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.zeros((6_000_000, 8), dtype=np.int16), 48000, format="FLAC")
    with pytest.raises(AudioTooLong, match="78 s"):
        decode(buffer.getvalue())


def test_silence_that_takes_no_bytes_is_stopped_while_it_decodes(make_file: MakeFile) -> None:
    silence = make_file(np.zeros(120 * 8000, dtype=np.float32), 8000, "OGG", "OPUS")
    assert len(silence) < 30_000  # an hour would take less than a megabyte
    with pytest.raises(AudioTooLong, match="60 s"):
        decode(silence, Limits(max_duration_s=60))


@pytest.mark.parametrize("channels", [9, 32, 255, 8000, 65535])
def test_more_channels_than_people_record(channels: int) -> None:
    """Refused before libsndfile, which takes 1024 at most, sees them."""
    header = struct.pack("<HHIIHH", 1, channels, 16000, 16000, channels, 8)
    body = (
        b"WAVEfmt " + struct.pack("<I", len(header)) + header + b"data" + struct.pack("<I", channels) + bytes(channels)
    )
    with pytest.raises(AudioTooManyChannels, match=f"has {channels} channels and may have 8"):
        decode(b"RIFF" + struct.pack("<I", len(body)) + body)


def test_eight_channels_are_not_too_many(make_speech: MakeSpeech, make_file: MakeFile) -> None:
    assert decode(make_file(make_speech(0.1, channels=8), container="FLAC")).channels == 8


def test_limits(wav: bytes) -> None:
    assert decode(wav, Limits(max_duration_s=1, max_decoded_bytes=64_000)).duration_s == 1
    for tight in (Limits(max_duration_s=0.99), Limits(max_decoded_bytes=63_999)):
        with pytest.raises(AudioTooLong):
            decode(wav, tight)


def test_the_limits_are_the_settings() -> None:
    assert Limits.of(Settings()) == Limits()
    assert Limits.of(Settings(max_channels=2)) == Limits(max_channels=2)


@pytest.mark.parametrize("size", [0, 1, 0x7FFFFFFF, 0xFFFFFFFF])
def test_sizes_that_a_wav_header_forges(wav: bytes, size: int) -> None:
    """None is trusted: a chunk before the samples leads past the end, the samples' own size ends with the file."""
    forged = struct.pack("<I", size)
    at = wav.index(b"fmt ") + 4
    with pytest.raises((AudioUndecodable, AudioEmpty)):
        decode(wav[:at] + forged + wav[at + 4 :])
    at = wav.index(b"data") + 4
    if size > 1:
        assert decode(wav[:at] + forged + wav[at + 4 :]).duration_s == 1
    assert decode(wav[:4] + forged + wav[8:]).duration_s == 1


def _id3(content: bytes) -> bytes:
    size = len(content)
    return b"ID3\x04\0\0" + bytes((size >> 21 & 127, size >> 14 & 127, size >> 7 & 127, size & 127)) + content


def test_ctrl_c_while_a_file_is_read_is_not_lost(monkeypatch: pytest.MonkeyPatch, wav: bytes) -> None:
    """Raised in libsndfile's call for more bytes, it would be swallowed there."""

    class Interrupting(io.BytesIO):
        def readinto(self, buffer: Any) -> int:
            signal.raise_signal(signal.SIGINT)
            return super().readinto(buffer)

        def read(self, size: int | None = -1) -> bytes:
            signal.raise_signal(signal.SIGINT)
            return super().read(size)

    monkeypatch.setattr("app.audio.sndfile.io.BytesIO", Interrupting)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            decode(wav)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def _pipe(flac: bytes) -> bytes:
    """As an encoder leaves a file that it cannot go back in: no number of samples, no checksum of them."""
    return flac[:21] + bytes([flac[21] & 0xF0]) + bytes(20) + flac[42:]


@pytest.mark.parametrize("encoding", ["PCM_S8", "PCM_16", "PCM_24"])
@pytest.mark.parametrize("channels", [1, 2, 7])
def test_flac_of_unknown_length(make_speech: MakeSpeech, make_file: MakeFile, encoding: str, channels: int) -> None:
    flac = make_file(make_speech(1.0, channels=channels), container="FLAC", encoding=encoding)
    clip = decode(_pipe(flac))
    assert clip.samples.tobytes() == decode(flac).samples.tobytes()
    assert (clip.duration_s, clip.channels, clip.part_missing) == (1, channels, False)


def test_flac_with_damage_in_the_middle(make_speech: MakeSpeech, make_file: MakeFile) -> None:
    flac = make_file(make_speech(5.0), container="FLAC")
    middle = len(flac) // 2
    for damage in (b"\x55" * 50, b"\0" * 50, b"\x55" * 3000):
        clip = decode(flac[:middle] + damage + flac[middle + len(damage) :])
        assert clip.part_missing and 3.5 < clip.duration_s < 5
        assert np.abs(clip.samples).max() < 0.6  # no noise
    assert decode(flac[: len(flac) // 2]).part_missing
    assert not decode(flac + b"TAG" + bytes(125)).part_missing


def test_joined_flac_is_heard_to_the_end(make_speech: MakeSpeech, make_file: MakeFile) -> None:
    flac = make_file(make_speech(2.0), container="FLAC")
    for first in (flac, _pipe(flac)):
        clip = decode(first + flac)
        assert clip.duration_s == 4 and not clip.part_missing
        np.testing.assert_allclose(clip.samples[32000:], make_speech(2.0), atol=1e-4)
