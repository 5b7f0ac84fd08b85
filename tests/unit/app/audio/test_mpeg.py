"""MP3 and ADTS as they are found: tagged, padded, cut, joined, damaged. All is heard, or a warning says not."""

import struct
from collections.abc import Callable
from functools import cache
from itertools import pairwise

import numpy as np
import pytest

from app.audio.decode import decode
from app.audio.mpeg import SEARCH_BYTES
from app.errors import AudioEmpty, AudioFormatUnsupported, AudioUndecodable
from tests.support import ROOT, encoded
from tests.support.encoded import Kind, encode
from tests.support.sounds import likeness, sound_file, speech

FRAME_S = {"adts": 0.064, "mp3 44.1 kHz": 1152 / 44100}
JUNK = np.random.default_rng(8).bytes(3000).replace(b"\xff", b"\xfe")
# A picture in a tag, with bytes that look like the beginning of a frame.
PICTURE = b"APIC\0\0\x40\0\0\0\0image/jpeg\0\x03\0\xff\xd8\xff\xe0\0\x10JFIF\xff\xfb\x90\x44" + JUNK


def _mp3(rate: int = 16000, bitrate: int = 64, seconds: float = 1.0, header: bool = True) -> bytes:
    kind = Kind("mp3", "libmp3lame", rate)
    options = {"id3v2_version": "0", "write_xing": str(int(header))}
    return encode(speech(seconds, rate), kind, options=options, bit_rate=bitrate * 1000)


def _adts() -> bytes:
    return encode(speech(1.0, 16000), encoded.ADTS)


MAKERS: dict[str, Callable[[], bytes]] = {
    "mp3": _mp3,
    "mp3 without header": lambda: _mp3(header=False),
    "mp3 44.1 kHz": lambda: _mp3(44100, 128),
    "mp3 of libsndfile": lambda: sound_file(speech(1.0), container="MP3", encoding="MPEG_LAYER_III"),
    "adts": _adts,
}


@cache
def _file(name: str) -> bytes:
    return MAKERS[name]()


def _id3(content: bytes, size: int | None = None) -> bytes:
    size = len(content) if size is None else size
    return b"ID3\x04\0\0" + bytes((size >> 21 & 127, size >> 14 & 127, size >> 7 & 127, size & 127)) + content


def _ape(content: bytes, header: bool = True, footer: bool = True) -> bytes:
    has_header = header << 31
    ends = [
        b"APETAGEX" + struct.pack("<IIIIQ", 2000, len(content) + 32 * footer, 1, has_header | is_header << 29, 0)
        for is_header in (1, 0)
    ]
    return ends[0] * header + content + ends[1] * footer


ID3V1 = b"TAG" + b"title".ljust(125, b"\0")
LYRICS = b"LYRICSBEGIN" + b"la la" + b"000016LYRICS200"


def _frames(data: bytes) -> list[int]:
    """Where each frame begins, and the end."""
    assert not decode(data).part_missing
    same = 0xFFFEFDC0 if data[1] & 0xF6 == 0xF0 else 0xFFFE0C00  # the bits that all headers share
    head = int.from_bytes(data[:4]) & same
    at = [0]
    while at[-1] < len(data):
        places = range(at[-1] + 24, len(data))
        found = (place for place in places if int.from_bytes(data[place : place + 4]) & same == head)
        at.append(next(found, len(data)))
    return at


BEFORE = {
    "zeros": b"\0" * 64,
    "many zeros": b"\0" * 100_000,
    "ID3": _id3(PICTURE),
    "two ID3": _id3(b"x" * 300) + _id3(PICTURE),
    "ID3 and zeros": _id3(PICTURE) + b"\0" * 5000,
    "ID3 of a size too large": _id3(PICTURE, 9000),
    "ID3 larger than the file": _id3(PICTURE, 1 << 27),
    "APE": _ape(b"x" * 77),
    "APE without footer": _ape(b"x" * 77, footer=False),
    "APE of a size too small": _ape(b"x" * 50)[:60] + b"y" * 700,
}


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("before", BEFORE.values(), ids=BEFORE)
def test_tags_and_padding_before_the_first_frame(name: str, before: bytes) -> None:
    file = _file(name)
    whole = decode(file)
    assert not whole.part_missing and whole.duration_s == pytest.approx(1, abs=0.15)
    assert decode(before + file).samples.tobytes() == whole.samples.tobytes()
    assert decode(before + file).part_missing == (before == BEFORE["APE of a size too small"])


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("junk", [JUNK[:1], JUNK[:100], JUNK, b"\xff\xfb" * 500, _id3(PICTURE, 20)])
def test_junk_before_the_first_frame_may_be_lost_sound(name: str, junk: bytes) -> None:
    clip = decode(junk + _file(name))
    assert clip.samples.tobytes() == decode(_file(name)).samples.tobytes()
    assert clip.part_missing


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize(
    "after",
    [ID3V1, LYRICS + ID3V1, _ape(b"x" * 99), _ape(b"x" * 99, header=False) + ID3V1, b"\0" * 500, ID3V1 + ID3V1],
)
def test_tags_and_padding_behind_the_last_frame(name: str, after: bytes) -> None:
    clip = decode(_file(name) + after)
    assert clip.samples.tobytes() == decode(_file(name)).samples.tobytes()
    assert not clip.part_missing


@pytest.mark.parametrize("name", MAKERS)
def test_a_download_that_was_not_finished(name: str) -> None:
    """Some programs give the file its final size first."""
    file = _file(name)
    assert decode(file[: len(file) // 2] + bytes(len(file) // 2)).part_missing


@pytest.mark.parametrize("name", MAKERS)
def test_cut_inside_a_frame(name: str) -> None:
    file = _file(name)
    at, frame_s = _frames(file), FRAME_S.get(name, 0.036)
    for start, stop in ((at[5] + 9, len(file)), (0, at[-4] + 9), (at[4] + 1, at[-3] - 1)):
        clip = decode(file[start:stop])
        kept = sum(start <= first and last <= stop for first, last in pairwise(at))
        assert clip.part_missing
        assert clip.duration_s == pytest.approx(kept * frame_s, abs=3 * frame_s)


def test_cut_between_two_frames_the_encoders_header_tells() -> None:
    file = _file("mp3")
    assert decode(file[: _frames(file)[-6]]).part_missing


@pytest.mark.parametrize("name", MAKERS)
def test_damage_in_the_middle_costs_its_frames_only(name: str) -> None:
    file = _file(name)
    whole, at = decode(file), _frames(file)
    middle = len(at) // 2
    for damage in (b"\x55" * 20, JUNK[: at[middle + 2] - at[middle]], b"\0" * (at[middle + 2] - at[middle])):
        clip = decode(file[: at[middle]] + damage + file[at[middle] + len(damage) :])
        assert clip.part_missing
        assert whole.duration_s - 6 * whole.duration_s / len(at) < clip.duration_s <= whole.duration_s
    inserted = decode(file[: at[middle]] + JUNK + file[at[middle] :])
    assert inserted.part_missing and inserted.duration_s == whole.duration_s


JOINED = [
    ("mp3", "mp3"),
    ("mp3 without header", "mp3 without header"),
    ("mp3", "mp3 without header"),
    ("mp3 without header", "mp3"),
    ("mp3 of libsndfile", "mp3"),
    ("adts", "adts"),
]


@pytest.mark.parametrize(("first", "second"), JOINED)
@pytest.mark.parametrize("between", [b"", _id3(PICTURE), ID3V1 + _id3(b"x" * 40), _ape(b"x" * 9), LYRICS + ID3V1])
def test_joined_files_are_heard_to_the_end(first: str, second: str, between: bytes) -> None:
    parts = [decode(_file(name)) for name in (first, second)]
    clip = decode(_file(first) + between + _file(second) + between)
    assert not clip.part_missing
    assert clip.duration_s == pytest.approx(sum(part.duration_s for part in parts), abs=0.15)
    half, end = speech(1.0)[1000:-1000], round(parts[0].duration_s * 16000)
    assert likeness(clip.samples[:end], half) > 0.98 and likeness(clip.samples[end:], half) > 0.98


def test_joined_files_of_different_bit_rates() -> None:
    files = [_mp3(bitrate=bitrate) for bitrate in (32, 160, 64)]
    clip = decode(b"".join(files) * 2)
    assert clip.duration_s == pytest.approx(6, abs=0.5) and not clip.part_missing


def test_joined_files_of_different_rates_are_refused() -> None:
    with pytest.raises(AudioUndecodable, match="changes its sample rate"):
        decode(_mp3(16000) + _mp3(44100))


def test_the_joined_file_that_is_cut() -> None:
    file = _file("mp3")
    assert decode(file + file[: len(file) // 2]).part_missing
    assert decode(file[: len(file) // 2] + file).part_missing


@pytest.mark.parametrize(
    "data",
    [
        JUNK,
        JUNK * 100,
        b"\0" * 10_000,
        b"\xff" * 10_000,
        b"\xff\xfb\x90\x44" * 3,
        _id3(PICTURE),
        _id3(PICTURE, 1 << 27),
        _ape(b"x" * 99),
        ID3V1,
        b"\xff\xd8\xff\xe0\0\x10JFIF" + JUNK,
    ],
)
def test_what_holds_no_frames(data: bytes) -> None:
    with pytest.raises((AudioFormatUnsupported, AudioUndecodable, AudioEmpty)):
        decode(data)


def test_the_search_is_bounded() -> None:
    with pytest.raises(AudioFormatUnsupported):
        decode(b"\0" * (SEARCH_BYTES + 1) + _file("mp3"))


def test_the_clip_of_the_project() -> None:
    """As other services failed on it: 64 zeros in front, and twice in one file."""
    original = decode((ROOT / "examples" / "complaint.wav").read_bytes()).samples
    mp3 = sound_file(original, container="MP3", encoding="MPEG_LAYER_III")
    assert decode(b"\0" * 64 + mp3).duration_s == pytest.approx(len(original) / 16000, abs=0.1)
    assert decode(mp3 + mp3).duration_s == pytest.approx(2 * len(original) / 16000, abs=0.2)
