"""WAV files as recorders, pipes, editors and careless programs write them: heard whole, or with a warning."""

import struct
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from app.audio.decode import Clip, decode
from app.errors import AudioEmpty, AudioFormatUnsupported, AudioUndecodable
from tests.support.riff import chunk, fmt, pcm16, riff
from tests.support.sounds import sound_file, speech

SPEECH = speech(1.0)
DATA = pcm16(SPEECH)
HEADER = chunk(b"LIST", b"INFOISFT" + struct.pack("<I", 6) + b"writer")
ODD = chunk(b"LIST", b"INFOISFT\x03\0\0\0abc", pad=False)


def _same(clip: Clip, samples: NDArray[np.float32], atol: float = 1e-4) -> None:
    assert clip.samples.shape == samples.shape
    np.testing.assert_allclose(clip.samples, samples, atol=atol)


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000, 0x80000000])
@pytest.mark.parametrize("riff_size", [0, 0xFFFFFFFF, 36])
def test_a_streamed_file_ends_with_its_bytes(size: int, riff_size: int) -> None:
    clip = decode(riff(fmt(), chunk(b"data", DATA, size), size=riff_size))
    _same(clip, SPEECH)
    assert not clip.part_missing


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF])
def test_text_behind_streamed_samples_is_no_sound(size: int) -> None:
    for behind in (HEADER, ODD + b"\0", HEADER + chunk(b"id3 ", b"ID3\x04\0\0\0\0\0\0"), b"TAG" + b"x" * 125):
        _same(decode(riff(fmt(), chunk(b"data", DATA, size), behind)), SPEECH)


@pytest.mark.parametrize("odd", [ODD, chunk(b"bext", b"x" * 603, pad=False), chunk(b"JUNK", b"\0" * 27, pad=False)])
def test_an_odd_chunk_without_its_byte_of_padding(odd: bytes) -> None:
    for file in (riff(fmt(), odd, chunk(b"data", DATA)), riff(odd, fmt(), odd, odd, chunk(b"data", DATA), odd)):
        clip = decode(file)
        _same(clip, SPEECH)
        assert not clip.part_missing


def test_an_even_chunk_with_a_byte_of_padding() -> None:
    _same(decode(riff(fmt(), HEADER + b"\0", chunk(b"data", DATA))), SPEECH)


def test_an_odd_data_chunk_without_padding_before_another() -> None:
    eight = np.round(SPEECH * 127 + 128).astype(np.uint8).tobytes()[:-1]
    clip = decode(riff(fmt(bits=8), chunk(b"data", eight, pad=False), HEADER, chunk(b"data", eight)))
    assert len(clip.samples) == 2 * len(eight) and not clip.part_missing


@pytest.mark.parametrize("frame_bytes", [0, 1, 3, 4, 8, 65535])
@pytest.mark.parametrize("bytes_per_second", [0, 16_000, 32_000, 64_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_bits_and_channels_decide_over_the_size_of_a_frame(
    frame_bytes: int, bytes_per_second: int, channels: int
) -> None:
    stereo = np.repeat(SPEECH[:, None], channels, axis=1)
    head = fmt(channels=channels, frame_bytes=frame_bytes, bytes_per_second=bytes_per_second)
    clip = decode(riff(head, chunk(b"data", pcm16(stereo))))
    assert clip.channels == channels
    _same(clip, SPEECH)


@pytest.mark.parametrize(("bits", "frame_bytes"), [(12, 2), (20, 3), (0, 2), (24, 4)])
def test_bits_that_fill_their_bytes_in_part(bits: int, frame_bytes: int) -> None:
    wide = np.round(SPEECH * (2 ** (8 * frame_bytes - 1) - 1)).astype("<i8")
    data = wide.view(np.uint8).reshape(-1, 8)[:, :frame_bytes].tobytes()
    head = fmt(bits=bits, frame_bytes=frame_bytes, bytes_per_second=16_000 * frame_bytes)
    _same(decode(riff(head, chunk(b"data", data))), SPEECH)


@pytest.mark.parametrize("tag", [6, 7])
def test_telephone_encodings_have_one_byte_whatever_the_header_says(tag: int) -> None:
    encoded = sound_file(SPEECH, encoding={6: "ALAW", 7: "ULAW"}[tag])
    data = encoded[encoded.index(b"data") + 8 :]
    for bits, frame_bytes in ((8, 0), (16, 2), (0, 1)):
        _same(decode(riff(fmt(tag, bits=bits, frame_bytes=frame_bytes), chunk(b"data", data))), SPEECH, 2e-2)


def test_an_empty_data_chunk_before_the_real_one() -> None:
    for between in (b"", HEADER, chunk(b"JUNK", b"")):
        clip = decode(riff(fmt(), chunk(b"data", b""), between, chunk(b"data", DATA)))
        _same(clip, SPEECH)
        assert not clip.part_missing


def test_data_chunks_of_one_format_are_joined() -> None:
    half = len(DATA) // 2
    clip = decode(riff(fmt(), chunk(b"data", DATA[:half]), HEADER, chunk(b"data", DATA[half:]), HEADER))
    _same(clip, SPEECH)
    assert not clip.part_missing


@pytest.mark.parametrize("size", [None, 0, 0xFFFFFFFF])
def test_joined_files(size: int | None) -> None:
    one = riff(fmt(), chunk(b"data", DATA, size))
    clip = decode(one + one + riff(HEADER, fmt(), chunk(b"data", DATA)))
    _same(clip, np.tile(SPEECH, 3))
    assert not clip.part_missing
    other = riff(fmt(channels=2), chunk(b"data", DATA))
    clip = decode(one + other)
    _same(clip, SPEECH)
    assert clip.part_missing


@pytest.mark.parametrize("bits", [8, 16, 24, 32])
@pytest.mark.parametrize("container", ["WAV", "WAVEX"])
def test_big_endian(bits: int, container: str) -> None:
    encoding = "PCM_U8" if bits == 8 else f"PCM_{bits}"
    little = sound_file(SPEECH, container=container, encoding=encoding)
    data = np.frombuffer(little[little.index(b"data") + 8 :], np.uint8).reshape(-1, bits // 8)[:, ::-1].tobytes()
    content = little[20 : 20 + struct.unpack_from("<I", little, 16)[0]]
    fields = "HHIIHH" + ("HHIIHH8s" if container == "WAVEX" else "")
    swapped = struct.pack(">" + fields, *struct.unpack("<" + fields, content[: struct.calcsize("<" + fields)]))
    head = chunk(b"fmt ", swapped, order=">")
    clip = decode(riff(head, chunk(b"LIST", b"INFO", order=">"), chunk(b"data", data, order=">"), magic=b"RIFX"))
    _same(clip, SPEECH, 1e-2 if bits == 8 else 1e-4)


@pytest.mark.parametrize("magic", [b"RF64", b"BW64"])
@pytest.mark.parametrize("known", [True, False])
def test_rf64(magic: bytes, known: bool) -> None:
    sizes = chunk(b"ds64", struct.pack("<QQQI", 0, len(DATA) if known else 0, 0, 0))
    behind = HEADER if known else b""
    file = riff(sizes, fmt(), chunk(b"data", DATA, 0xFFFFFFFF), behind, magic=magic, size=0xFFFFFFFF)
    clip = decode(file)
    _same(clip, SPEECH)
    assert not clip.part_missing
    _same(decode(sound_file(SPEECH, container="RF64")), SPEECH)


def test_what_is_missing_is_reported() -> None:
    whole = riff(fmt(), chunk(b"data", DATA))
    for file, seconds in (
        (whole[: 44 + 16000], 0.5),  # cut off
        (riff(fmt(), chunk(b"data", DATA, 16000)), 0.5),  # a size that was never brought up to date
        (whole + b"\x07" * 400, 1),
    ):
        clip = decode(file)
        assert clip.part_missing and clip.duration_s == seconds
    for padding in (b"\0", b"\0" * 4000, b"TAG" + b"t" * 125, HEADER):
        assert not decode(whole + padding).part_missing


@pytest.mark.parametrize(
    ("encoding", "rate", "channels", "tolerance"),
    [
        ("IMA_ADPCM", 8000, 1, 0.98),
        ("IMA_ADPCM", 44100, 2, 0.99),
        ("MS_ADPCM", 8000, 1, 0.98),
        ("MS_ADPCM", 16000, 2, 0.98),
        ("GSM610", 8000, 1, 0.9),
    ],
)
def test_compressed_encodings(
    make_speech: Callable[..., NDArray[np.float32]], encoding: str, rate: int, channels: int, tolerance: float
) -> None:
    file = sound_file(make_speech(1.0, rate, channels), rate, encoding=encoding)
    clip = decode(file)
    assert (clip.sample_rate, clip.channels, clip.part_missing) == (rate, channels, False)
    assert 1 <= clip.duration_s < 1.15  # the last block is filled up
    assert np.corrcoef(clip.samples[:16000], SPEECH)[0, 1] > tolerance
    at = file.index(b"data") + 4
    streamed = file[:at] + b"\xff\xff\xff\xff" + file[at + 4 :]
    assert decode(streamed).samples.tobytes() == clip.samples.tobytes()
    cut = decode(file[: len(file) // 2])
    assert cut.part_missing and 0.3 < cut.duration_s < 0.7


def test_mp3_in_wav(make_file: Callable[..., bytes]) -> None:
    mp3 = make_file(SPEECH, container="MP3", encoding="MPEG_LAYER_III")
    clip = decode(riff(fmt(0x55, frame_bytes=1, bits=0), chunk(b"fact", bytes(4)), chunk(b"data", mp3)))
    assert clip.samples.tobytes() == decode(mp3).samples.tobytes()
    assert decode(riff(fmt(0x55), chunk(b"data", mp3[:-900]))).part_missing


@pytest.mark.parametrize(
    ("tag", "name"),
    [
        (0x0011, "IMA ADPCM"),  # with a block of no bytes
        (0x0022, "TrueSpeech"),
        (0x0031, "GSM 6.10"),
        (0x0040, "G.721 ADPCM"),
        (0x0045, "G.726 ADPCM"),
        (0x0161, "Windows Media Audio 2"),
        (0x2000, "Dolby AC-3"),
        (0xF1AC, "FLAC in WAV"),
        (0xFFFE, "sub-format"),
        (0xBEEF, "0xbeef, which is unknown"),
    ],
)
def test_other_encodings_are_refused_by_name(tag: int, name: str) -> None:
    with pytest.raises(AudioFormatUnsupported, match=name):
        decode(riff(fmt(tag, frame_bytes=0, bits=4), chunk(b"data", DATA)))


@pytest.mark.parametrize(
    ("file", "error"),
    [
        (riff(fmt(channels=0), chunk(b"data", DATA)), AudioUndecodable),
        (riff(fmt(bits=64, frame_bytes=8), chunk(b"data", DATA)), AudioUndecodable),
        (riff(fmt(3, bits=16), chunk(b"data", DATA)), AudioUndecodable),
        (riff(fmt()), AudioUndecodable),
        (riff(chunk(b"data", DATA), fmt()), AudioUndecodable),
        (riff(fmt(), chunk(b"data", b"")), AudioEmpty),
        (riff(fmt(), chunk(b"data", b""), HEADER), AudioEmpty),
        (riff(fmt(), chunk(b"data", b"", 0xFFFFFFFF)), AudioEmpty),
    ],
)
def test_nothing_to_hear(file: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        decode(file)
