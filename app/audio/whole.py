"""Follows the pieces of a file, to find whether it holds all that it announces, and whether it is several files.

FFmpeg's demuxers pass over what is damaged or cut off, and say so only in their log. Sizes are followed, nothing is
decoded.
"""

import struct
from dataclasses import dataclass

_EBML, _SEGMENT, _CLUSTER, _BLOCK_GROUP = 0x1A45DFA3, 0x18538067, 0x1F43B675, 0xA0
_ENTERED = (_SEGMENT, _CLUSTER)
_EBML_KNOWN = {
    *(_EBML, 0xEC, 0xBF),  # the header; Void and CRC-32, which may stand anywhere
    *(0x114D9B74, 0x1549A966, 0x1654AE6B, 0x1C53BB6B, 0x1941A469, 0x1043A770, 0x1254C367),  # in a segment
    *(0xE7, 0xA3, _BLOCK_GROUP, 0xA7, 0xAB, 0x5854, 0xAF),  # in a cluster
    *_ENTERED,
}
# Bytes of a frame after its first, by frame type: speech, comfort noise, and frames that were not received or sent.
_AMR_BYTES = dict(enumerate((12, 13, 15, 17, 19, 20, 26, 31, 5))) | {15: 0}
_AMR_WB_BYTES = dict(enumerate((17, 23, 32, 36, 40, 46, 50, 58, 60, 5))) | {14: 0, 15: 0}
_AMR_MAGIC, _AMR_WB_MAGIC = b"#!AMR\n", b"#!AMR-WB\n"


@dataclass(frozen=True)
class Outline:
    """Where the joined files of `cat a b` begin, the first at 0, and whether the pieces of each follow each other up to
    the end. FFmpeg reads the index of the first file only, and would decode the second by it.
    """

    starts: list[int]
    is_whole: bool


def outline_mp4(data: bytes) -> Outline:
    """By the boxes at the top."""
    starts: list[int] = []
    return Outline(starts, _follow_boxes(data, starts))


def _follow_boxes(data: bytes, starts: list[int]) -> bool:
    at = 0
    while at + 8 <= len(data):
        size, name = struct.unpack_from(">I4s", data, at)
        if size == 1 and at + 16 <= len(data):
            (size,) = struct.unpack_from(">Q", data, at + 8)
        if size == 0:  # up to the end, or padding
            return True
        if size < 8 or not name.isascii():
            return False
        if name == b"ftyp" or not starts:
            starts.append(at)
        at += size
    return at <= len(data)


def outline_matroska(data: bytes) -> Outline:
    """By the elements of the segment and its clusters."""
    starts: list[int] = []
    return Outline(starts, _follow_elements(data, starts))


def _follow_elements(data: bytes, starts: list[int]) -> bool:
    at = 0
    while at < len(data):
        start = at
        name, at = _ebml_number(data, at, keep_marker=True)
        size, at = _ebml_number(data, at, keep_marker=False)
        if name not in _EBML_KNOWN or size is None:
            return False
        if name == _EBML:
            starts.append(start)
        if name == _SEGMENT and size >= 0 and at + size > len(data):
            return False
        if name not in _ENTERED:
            if size < 0:
                return False
            at += size
    return at == len(data)


def _ebml_number(data: bytes, at: int, keep_marker: bool) -> tuple[int | None, int]:
    """The number at `at` and where it ends. None where there is none, -1 where all bits say that it is unknown."""
    if at >= len(data) or not data[at]:
        return None, at
    length = 9 - data[at].bit_length()
    if at + length > len(data):
        return None, at
    number = int.from_bytes(data[at : at + length])
    if not keep_marker:
        number &= (1 << 7 * length) - 1
        number = -1 if number == (1 << 7 * length) - 1 else number
    return number, at + length


def whole_amr(data: bytes) -> tuple[bytes, bool] | None:
    """The whole frames, those of joined files as one file, and whether there is nothing else. None where a frame is
    followed by what is none.
    """
    magic, frame_bytes = (_AMR_MAGIC, _AMR_BYTES) if data.startswith(_AMR_MAGIC) else (_AMR_WB_MAGIC, _AMR_WB_BYTES)
    start, at = 0, len(magic)
    files: list[bytes] = []
    while at < len(data):
        if data.startswith(magic, at):
            files.append(data[start:at])
            start = at = at + len(magic)
            continue
        size = frame_bytes.get(data[at] >> 3 & 0xF)
        if data[at] & 0b10000011 or size is None:
            return None
        if at + 1 + size > len(data):
            break
        at += 1 + size
    return b"".join([*files, data[start:at]]), at == len(data)
