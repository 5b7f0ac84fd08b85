"""Finds the container of a file from its bytes alone.

File names and content types are ignored: they are often wrong and always forgeable. Nothing is decoded here.
"""

from typing import Literal

from ..errors import AudioFormatUnsupported

Container = Literal["wav", "flac", "ogg", "mp3", "mp4", "matroska", "adts", "amr"]

_ID3_HEADER_BYTES = 10
_OGG_HEADER_BYTES = 27
_ADTS_HEADER_BYTES = 7

# Formats that are sent although they are not supported: offset, first bytes, and the name for the answer.
_KNOWN_UNSUPPORTED = (
    (0, b"#!AMR", "AMR of several channels"),
    (0, b"FORM", "AIFF"),
    (0, b"caff", "CAF"),
    (0, b"RF64", "RF64"),
    (0, b"OggS", "an OGG stream that is neither Vorbis nor Opus"),
)


def skip_id3(data: bytes) -> bytes:
    """`data` without the ID3v2 tags at its beginning.

    libsndfile skips them too, so the bytes that follow must be sniffed as if they came first.
    """
    start = 0
    while data[start : start + 3] == b"ID3" and len(data) >= start + _ID3_HEADER_BYTES:
        flags, *size = data[start + 5 : start + _ID3_HEADER_BYTES]
        has_footer = bool(flags & 0x10)
        tag_bytes = sum((byte & 0x7F) << shift for byte, shift in zip(size, (21, 14, 7, 0), strict=True))
        start += _ID3_HEADER_BYTES + tag_bytes + _ID3_HEADER_BYTES * has_footer
    return data[start:] if start else data


def sniff(data: bytes) -> Container:
    """The container of `data`, from its first bytes. Raises AudioFormatUnsupported."""
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        return "wav"
    if data[:4] == b"fLaC":
        return "flac"
    if data[:4] == b"OggS" and _first_ogg_packet(data).startswith((b"\x01vorbis", b"OpusHead")):
        return "ogg"
    if _is_mp3_frame(data):
        return "mp3"
    if data[4:8] == b"ftyp":
        return "mp4"
    if data[:4] == b"\x1a\x45\xdf\xa3":  # EBML; WebM is Matroska with fewer codecs
        return "matroska"
    if data.startswith((b"#!AMR\n", b"#!AMR-WB\n")):
        return "amr"
    if _is_adts_frame(data):
        return "adts"
    for offset, magic, name in _KNOWN_UNSUPPORTED:
        if data[offset : offset + len(magic)] == magic:
            raise AudioFormatUnsupported(f"This looks like {name}. {AudioFormatUnsupported.sentence}")
    raise AudioFormatUnsupported(f"This is not a known audio format. {AudioFormatUnsupported.sentence}")


def _first_ogg_packet(data: bytes) -> bytes:
    """The beginning of the first page's content, after 27 bytes of header and a table of segments."""
    if len(data) < _OGG_HEADER_BYTES:
        return b""
    start = _OGG_HEADER_BYTES + data[_OGG_HEADER_BYTES - 1]
    return data[start : start + 8]


def _is_mp3_frame(data: bytes) -> bool:
    """Whether `data` begins with an MPEG audio layer III frame header: 11 bits of sync and no reserved value."""
    if len(data) < 4 or data[0] != 0xFF or data[1] & 0xE0 != 0xE0:
        return False
    version, layer = data[1] >> 3 & 0b11, data[1] >> 1 & 0b11
    bitrate, sample_rate = data[2] >> 4, data[2] >> 2 & 0b11
    return version != 0b01 and layer == 0b01 and bitrate not in (0b0000, 0b1111) and sample_rate != 0b11


def _is_adts_frame(data: bytes) -> bool:
    """Whether `data` begins with an AAC frame, and then the next one or the end: a header alone is common."""
    start = _adts_frame_bytes(data)
    return start > 0 and (start >= len(data) or _adts_frame_bytes(data[start : start + _ADTS_HEADER_BYTES]) > 0)


def _adts_frame_bytes(data: bytes) -> int:
    """The frame length, header included, in the ADTS header at the beginning of `data`; 0 where there is none."""
    if len(data) < _ADTS_HEADER_BYTES or data[0] != 0xFF or data[1] & 0xF6 != 0xF0 or data[2] >> 2 & 0xF > 12:
        return 0
    frame_bytes = (data[3] & 0b11) << 11 | data[4] << 3 | data[5] >> 5
    return frame_bytes if frame_bytes > _ADTS_HEADER_BYTES else 0
