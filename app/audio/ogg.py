"""Splits an Ogg file into its links, and reports what libogg passes over without a word.

An Ogg file may be a chain: `cat a.ogg b.ogg` is one, and so are recordings of internet radio. libsndfile plays the
first link only. It is therefore given one link at a time, with the pages of a single stream.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

from ..errors import AudioFormatUnsupported, AudioUndecodable
from .reading import Reading
from .tags import trailing_tags_start

Codec = Literal["vorbis", "opus", "flac"]

_HEADER = struct.Struct("<4sBBqIIIB")
_FIRST, _LAST = 0b010, 0b100
_CODECS: tuple[tuple[bytes, Codec], ...] = ((b"\x01vorbis", "vorbis"), (b"OpusHead", "opus"), (b"\x7fFLAC", "flac"))
# Sound that cannot be decoded; other streams are pictures, texts and indexes.
_OTHERS = {b"Speex   ": "Speex", b"CELT    ": "CELT", b"PCM     ": "PCM in OGG"}
_FLAC_MAPPING_BYTES = 9  # before the native signature in the first packet
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


@dataclass(frozen=True)
class Link:
    """The pages of one stream. `native` is the stream without Ogg where it is FLAC, otherwise the pages."""

    codec: Codec
    native: bytes


@dataclass(frozen=True, slots=True)
class _Page:
    serial: int
    flags: int
    number: int
    whole: bytes
    head_bytes: int

    @property
    def body(self) -> bytes:
        return self.whole[self.head_bytes :]


@dataclass
class _Streams:
    """The streams of a link, by serial number, in the order of their first pages."""

    pages: dict[int, list[_Page]] = field(default_factory=dict)

    @property
    def has_begun(self) -> bool:
        return any(len(pages) > 1 for pages in self.pages.values())


def links(data: bytes, reading: Reading) -> Iterator[Link]:
    """Yields the links of `data`, which begins with a page. Reports damaged and missing pages, a missing end, and
    sound that is passed over. Raises AudioFormatUnsupported where nothing can be decoded, AudioUndecodable where there
    is no whole page.
    """
    names: list[str] = []
    is_page = is_decodable = False
    for streams in _split(data, reading):
        is_page |= bool(streams.pages)
        link = _chosen(streams, reading, names)
        if link is not None:
            is_decodable = True
            yield link
    if not is_page:
        raise AudioUndecodable
    if not is_decodable:
        name = names[0] if names else "an OGG stream that is neither Vorbis, Opus nor FLAC"
        raise AudioFormatUnsupported(f"This looks like {name}. {AudioFormatUnsupported.sentence}")


def _split(data: bytes, reading: Reading) -> Iterator[_Streams]:
    streams = _Streams()
    for page in _pages(data, reading):
        if page.flags & _FIRST:
            if streams.has_begun or page.serial in streams.pages:
                yield streams
                streams = _Streams()
            streams.pages[page.serial] = [page]
        elif page.serial in streams.pages:
            streams.pages[page.serial].append(page)
        else:
            reading.part_missing = True  # its first page is lost
    yield streams


def _pages(data: bytes, reading: Reading) -> Iterator[_Page]:
    """Yields the pages whose checksum is right."""
    at, end = 0, trailing_tags_start(data)
    while at < end:
        page = _page(data, at, end)
        if page is not None:
            yield page
            at += len(page.whole)
            continue
        following = data.find(b"OggS", at + 1, end)
        passed = data[at : end if following < 0 else following]
        reading.part_missing |= bool(passed.strip(b"\0"))
        at = end if following < 0 else following


def _page(data: bytes, at: int, end: int) -> _Page | None:
    if end - at < _HEADER.size:
        return None
    magic, version, flags, _, serial, number, checksum, segments = _HEADER.unpack_from(data, at)
    start = at + _HEADER.size + segments
    stop = start + sum(data[at + _HEADER.size : start])
    if magic != b"OggS" or version or stop > end:
        return None
    whole = data[at:stop]
    if _checksum(whole[:22] + bytes(4) + whole[26:]) != checksum:
        return None
    return _Page(serial, flags, number, whole, start - at)


def _checksum(page: bytes) -> int:
    """Ogg's CRC-32. It takes the bits of a byte in the other order than zlib's, and begins with 0."""
    mirrored = zlib.crc32(page.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int.from_bytes(mirrored.to_bytes(4, "little").translate(_REVERSED))


def _chosen(streams: _Streams, reading: Reading, names: list[str]) -> Link | None:
    """The first stream that can be decoded. Adds the names of those that cannot to `names`."""
    chosen: Link | None = None
    for pages in streams.pages.values():
        first = pages[0].body
        others = [name for magic, name in _OTHERS.items() if first.startswith(magic)]
        names += others
        codec = next((codec for magic, codec in _CODECS if first.startswith(magic)), None)
        if codec and not chosen:
            is_gapless = all((after.number - page.number) % (1 << 32) == 1 for page, after in pairwise(pages))
            reading.part_missing |= not is_gapless or not pages[-1].flags & _LAST
            # Packets lie in a row, and a FLAC packet is a frame of native FLAC.
            bodies = b"".join(page.body for page in pages)[_FLAC_MAPPING_BYTES:] if codec == "flac" else None
            chosen = Link(codec, bodies or b"".join(page.whole for page in pages))
        elif codec or others:
            reading.part_missing = True
    return chosen
