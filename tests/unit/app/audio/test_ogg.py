"""Ogg: chains, several streams, lost and damaged pages. All is heard, or a warning says that it is not."""

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest

from app.audio.decode import decode
from app.audio.ogg import links
from app.audio.reading import Reading
from app.errors import AudioEmpty, AudioFormatUnsupported, AudioUndecodable
from tests.support.encoded import Kind, encode
from tests.support.sounds import likeness, sound_file, speech

MAKERS: dict[str, Callable[[float], bytes]] = {
    "vorbis": lambda seconds: sound_file(speech(seconds), container="OGG", encoding="VORBIS"),
    "vorbis 44.1 kHz": lambda seconds: encode(speech(seconds, 44100, 2), Kind("ogg", "vorbis", 44100, 2)),
    "opus": lambda seconds: sound_file(speech(seconds), container="OGG", encoding="OPUS"),
    "opus of libopus": lambda seconds: encode(speech(seconds, 48000), Kind("ogg", "libopus", 48000)),
    "flac": lambda seconds: encode(speech(seconds, 16000), Kind("ogg", "flac", 16000)),
}


@cache
def _file(name: str, seconds: float = 3.0) -> bytes:
    return MAKERS[name](seconds)


def _pages(data: bytes) -> list[bytes]:
    starts = [0]
    while (following := data.find(b"OggS", starts[-1] + 4)) > 0:
        starts.append(following)
    return [data[start:stop] for start, stop in zip(starts, [*starts[1:], len(data)], strict=True)]


@pytest.mark.parametrize("name", MAKERS)
def test_a_whole_file(name: str) -> None:
    clip = decode(_file(name))
    assert not clip.part_missing and clip.duration_s == pytest.approx(3, abs=0.03)
    assert likeness(clip.samples, speech(3.0)[1000:-1000]) > 0.98


@pytest.mark.parametrize("name", MAKERS)
def test_a_chain_is_heard_to_the_end(name: str) -> None:
    one, other = decode(_file(name)), decode(_file(name, 1.0))
    clip = decode(_file(name) + _file(name, 1.0) + _file(name))
    assert not clip.part_missing
    assert clip.duration_s == pytest.approx(2 * one.duration_s + other.duration_s, abs=0.001)
    end = int(16000 * (one.duration_s + other.duration_s))
    assert likeness(clip.samples[end - 15900 : end], speech(1.0)[500:-500]) > 0.98
    assert likeness(clip.samples[end:], speech(3.0)[500:-500]) > 0.98


def test_a_chain_of_different_codecs_of_one_rate() -> None:
    clip = decode(_file("vorbis") + _file("flac", 1.0))
    assert clip.duration_s == pytest.approx(4, abs=0.01) and not clip.part_missing
    with pytest.raises(AudioUndecodable, match="changes its sample rate"):
        decode(_file("vorbis") + _file("vorbis 44.1 kHz"))


@pytest.mark.parametrize("name", MAKERS)
def test_cut_anywhere(name: str) -> None:
    data = _file(name, 12.0)
    seconds = []
    for size in range(4, len(data), len(data) // 30):
        try:
            clip = decode(data[:size])
        except (AudioEmpty, AudioUndecodable):
            seconds.append(0.0)
            continue
        seconds.append(clip.duration_s)
        assert clip.part_missing
    assert seconds == sorted(seconds) and max(seconds) > 1


@pytest.mark.parametrize("name", MAKERS)
def test_lost_and_damaged_pages(name: str) -> None:
    pages = _pages(_file(name, 20.0))
    assert len(pages) > 5
    middle = len(pages) // 2
    damaged = bytearray(pages[middle])
    damaged[60] ^= 0xFF
    for changed in (
        pages[:middle] + pages[middle + 1 :],
        [*pages[:middle], bytes(damaged), *pages[middle + 1 :]],
        pages[:-1],
    ):
        clip = decode(b"".join(changed))
        assert clip.part_missing and 12 < clip.duration_s < 20.1
    assert decode(b"".join([*pages[:middle], b"junk" * 9, *pages[middle:]])).part_missing
    with pytest.raises(AudioUndecodable):
        decode(b"".join(pages[1:]))  # nobody can tell how the rest is to be decoded


def test_tags_behind_the_last_page() -> None:
    for behind in (b"TAG" + bytes(125), b"\0" * 100):
        assert not decode(_file("vorbis") + behind).part_missing


def test_a_second_stream_is_passed_over_with_a_warning() -> None:
    kind = Kind("ogg", "flac", 16000)
    clip = decode(encode(speech(1.0), kind, beside=(0.01 * speech(1.0), "flac")))
    assert clip.part_missing and clip.duration_s == pytest.approx(1, abs=0.01) and np.abs(clip.samples).max() > 0.1


def _page(body: bytes, flags: int) -> bytes:
    """A page with its checksum, computed bit by bit as the specification says."""
    head = b"OggS\0" + bytes([flags]) + bytes(8) + b"\7\0\0\0" + bytes(4)
    rest = bytes([1, len(body)]) + body
    checksum = 0
    for byte in head + bytes(4) + rest:
        checksum ^= byte << 24
        for _ in range(8):
            checksum = (checksum << 1 ^ (0x04C11DB7 if checksum >> 31 else 0)) & 0xFFFFFFFF
    return head + checksum.to_bytes(4, "little") + rest


@pytest.mark.parametrize(
    ("body", "name"),
    [(b"Speex   1.2", "Speex"), (b"CELT    ", "CELT"), (b"\x80theora", "neither Vorbis, Opus nor FLAC")],
)
def test_other_codecs_are_refused_by_name(body: bytes, name: str) -> None:
    other = _page(body, 0b110)
    with pytest.raises(AudioFormatUnsupported, match=name):
        decode(other)
    clip = decode(_file("vorbis") + other)
    assert clip.duration_s == pytest.approx(3, abs=0.01) and clip.part_missing == (b"theora" not in body)


@pytest.mark.parametrize("data", [b"OggS", b"OggS" + bytes(500), _page(b"\x01vorbis", 0b010)])
def test_what_holds_no_sound(data: bytes) -> None:
    with pytest.raises(AudioUndecodable):
        decode(data)


def test_a_link_holds_one_stream_without_gaps() -> None:
    data, reading = _file("vorbis"), Reading()
    assert [link.native for link in links(data + data, reading)] == [data, data]
    assert not reading.part_missing
