"""Finds the frames of MPEG audio (MP3, and AAC in ADTS) among tags, padding and junk.

Neither format has a header: a file is any run of frames, each with its own length. Files are joined with `cat`, cut at
any byte, and tagged at both ends. A decoder that resynchronises by itself does not say what it left out, and one that
believes an encoder's header stops at the end of the first of two joined files. So the frames are found here, and the
decoder gets them without a gap.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from .tags import tag_end, trailing_tags_start

Kind = Literal["mp3", "adts"]

# How far from the beginning to search for the first frame: past a tag with a picture whose size is wrong.
SEARCH_BYTES = 1 << 20
# Frames in a row that are no chance: a header after a header of the same kind comes up once in 300,000 places.
_ROW = 3
# Zeros at the end that are padding. More of them is a file whose download was not finished.
_PADDING_BYTES = 4096
_ZEROS, _NOTHING = re.compile(rb"\0*"), re.compile(b"")
_ADTS_HEADER_BYTES = 7

_KBITS = {  # by MPEG version; an index of 0 leaves the length of a frame to the decoder
    3: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    2: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_KBITS[0] = _KBITS[2]
_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}


@dataclass(frozen=True)
class Frames:
    """The whole frames of `data`, without anything between them. `whole` is false where more than tags and padding was
    left out, or where an encoder's header counts more of them.
    """

    kind: Kind
    data: bytes
    whole: bool


@dataclass(frozen=True)
class _Format:
    kind: Kind
    sync: re.Pattern[bytes]
    frame_bytes: Callable[[bytes, int], int]
    """The length of the frame whose header stands at an offset, header included; 0 where none stands."""
    constant: int
    """A mask of the first four bytes of a header: the bits that all frames of a recording share."""

    def row(self, data: bytes, start: int, most: int, end: int) -> tuple[int, bool]:
        """How many frames of one kind follow each other from `start`, and whether the last of them ends at `end`, or
        would end past it.
        """
        count, at, first = 0, start, self._shared(data, start)
        while count < most and at < end and (size := self.frame_bytes(data, at)) and self._shared(data, at) == first:
            count, at = count + 1, at + size
        return count, at >= end

    def is_frame(self, data: bytes, at: int, like: int) -> bool:
        return self._shared(data, at) == self._shared(data, like) and self.frame_bytes(data, at) > 0

    def _shared(self, data: bytes, at: int) -> int:
        return int.from_bytes(data[at : at + 4]) & self.constant


def starts(data: bytes) -> Kind | None:
    """The kind of frames that `data` begins with, or that begin within SEARCH_BYTES; None where there are none."""
    found = _first(data, trailing_tags_start(data))
    return found[0].kind if found else None


def find_frames(data: bytes) -> Frames | None:
    """All whole frames of `data`, None where `starts` finds none.

    Once in step, frames may change their kind, as in joined files; a decoder sees to that.
    """
    end = trailing_tags_start(data)
    found = _first(data, end)
    if found is None:
        return None
    layout, at = found
    whole = not _passed_over(data, 0, at, _ZEROS)
    runs: list[tuple[int, int]] = []
    last, counted = at, _Counted()
    while at < end:
        if layout.is_frame(data, at, last):
            size = layout.frame_bytes(data, at)
            if at + size > end:
                whole = False
                break
            last = at
            announced = _announced_frames(data, at) if layout.kind == "mp3" else None
            # The first such frame tells the decoder how much silence to skip. In the middle it would be a gap.
            if announced is None or not runs:
                _append(runs, at, at + size)
            whole &= counted.add(announced)
            at += size
            continue
        following = _search(layout, data, at, end, end)
        passed = _passed_over(data, at, end if following is None else following)
        if following is None:
            whole &= len(passed) <= _PADDING_BYTES and not passed.strip(b"\0")
            break
        whole &= not passed
        at = last = following
    whole &= counted.add(0)
    return Frames(layout.kind, b"".join(data[start:stop] for start, stop in runs), whole)


class _Counted:
    """Compares the frames there are with the number that an encoder wrote in front of them."""

    def __init__(self) -> None:
        self._left = 0

    def add(self, announced: int | None) -> bool:
        """Counts a frame. One that announces others begins a new count; false where the one before was not reached."""
        if announced is None:
            self._left -= 1
            return True
        reached = self._left <= 0
        self._left = announced
        return reached


def _first(data: bytes, end: int) -> tuple[_Format, int] | None:
    """The format of the first frame and where it begins: right behind the tags, or the first place after a gap where
    frames follow each other.
    """
    start = 0
    while (after := tag_end(data, start)) > start:
        start = after
    for layout in _FORMATS:
        count, at_end = layout.row(data, start, _ROW, end)
        if count >= 2 or (count and at_end):
            return layout, start
    found = [(layout, _search(layout, data, 0, min(end, SEARCH_BYTES), end)) for layout in _FORMATS]
    places = [(layout, place) for layout, place in found if place is not None]
    return min(places, key=lambda pair: pair[1], default=None)


def _search(layout: _Format, data: bytes, start: int, stop: int, end: int) -> int | None:
    """The first place before `stop` where frames follow each other, or where the last one ends at `end`."""
    for match in layout.sync.finditer(data, start, stop):
        place = match.start()
        count, at_end = layout.row(data, place, _ROW, end)
        if count >= _ROW or (count >= 2 and at_end) or (count and place + layout.frame_bytes(data, place) == end):
            return place
    return None


def _passed_over(data: bytes, start: int, stop: int, padding: re.Pattern[bytes] = _NOTHING) -> bytes:
    """What stands between two frames, or before the first, without tags and `padding`. A tag whose size leads past the
    next frame is wrong about its size only.
    """
    at = _skip(padding, data, start)
    while at < stop and (after := tag_end(data, at)) > at:
        at = _skip(padding, data, after)
    rest = data[at:stop]
    return rest[: trailing_tags_start(rest)]


def _skip(padding: re.Pattern[bytes], data: bytes, at: int) -> int:
    found = padding.match(data, at)
    return found.end() if found else at


def _append(runs: list[tuple[int, int]], start: int, stop: int) -> None:
    if runs and runs[-1][1] == start:
        runs[-1] = (runs[-1][0], stop)
    else:
        runs.append((start, stop))


def _mp3_frame_bytes(data: bytes, at: int) -> int:
    """Of layer III: 11 bits of sync and no reserved value."""
    header = data[at : at + 4]
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return 0
    version, layer = header[1] >> 3 & 0b11, header[1] >> 1 & 0b11
    bitrate, rate, padding = header[2] >> 4, header[2] >> 2 & 0b11, header[2] >> 1 & 1
    if version == 1 or layer != 1 or bitrate in (0, 15) or rate == 3:
        return 0
    return (144 if version == 3 else 72) * 1000 * _KBITS[version][bitrate] // _RATES[version][rate] + padding


def _announced_frames(data: bytes, at: int) -> int | None:
    """How many frames follow the one at `at`, which holds no sound, by an encoder's header in it; 0 where the header
    does not say; None where the frame is sound.
    """
    is_mpeg1, is_mono = data[at + 1] >> 3 & 1, data[at + 3] >> 6 == 3
    side_bytes = (17 if is_mono else 32) if is_mpeg1 else (9 if is_mono else 17)
    tag = at + 4 + side_bytes
    if data[tag : tag + 4] not in (b"Xing", b"Info"):
        return None
    has_count = len(data) >= tag + 12 and data[tag + 7] & 1
    return int.from_bytes(data[tag + 8 : tag + 12]) if has_count else 0


def _adts_frame_bytes(data: bytes, at: int) -> int:
    header = data[at : at + _ADTS_HEADER_BYTES]
    if len(header) < _ADTS_HEADER_BYTES or header[0] != 0xFF or header[1] & 0xF6 != 0xF0 or header[2] >> 2 & 0xF > 12:
        return 0
    size = (header[3] & 0b11) << 11 | header[4] << 3 | header[5] >> 5
    return size if size > _ADTS_HEADER_BYTES else 0


_FORMATS = (
    # The rate and the version; whether there is a checksum may change.
    _Format("mp3", re.compile(rb"\xff[\xe2\xe3\xf2\xf3\xfa\xfb]"), _mp3_frame_bytes, 0xFFFE0C00),
    # The profile, the rate and the channels.
    _Format("adts", re.compile(rb"\xff[\xf0\xf1\xf8\xf9]"), _adts_frame_bytes, 0xFFFEFDC0),
)
