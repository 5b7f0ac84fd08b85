"""Finds tags (ID3, APE, Lyrics3) around audio. They hold no sound, and their sizes are sometimes wrong."""

_ID3_HEADER_BYTES = 10
_ID3V1_BYTES, _ID3V1_EXTENDED_BYTES = 128, 227
_APE_BYTES = 32  # its header, and its footer
_APE_HAS_HEADER, _APE_IS_HEADER = 1 << 31, 1 << 29
_LYRICS_END_BYTES = 15  # six digits and LYRICS200
_LYRICS_MAX_BYTES = 1 << 20  # by those digits


def tag_end(data: bytes, start: int) -> int:
    """Where the tag that begins at `start` ends, by its own size, perhaps past the file; `start` where none begins."""
    if data[start : start + 3] == b"ID3" and len(data) >= start + _ID3_HEADER_BYTES:
        flags, *size = data[start + 5 : start + _ID3_HEADER_BYTES]
        has_footer = bool(flags & 0x10)
        content = sum((byte & 0x7F) << shift for byte, shift in zip(size, (21, 14, 7, 0), strict=True))
        return start + _ID3_HEADER_BYTES + content + _ID3_HEADER_BYTES * has_footer
    if data[start : start + 8] == b"APETAGEX" and len(data) >= start + _APE_BYTES:
        after_header, flags = (int.from_bytes(data[start + at : start + at + 4], "little") for at in (12, 20))
        return start + after_header + _APE_BYTES * bool(flags & _APE_IS_HEADER)
    if data[start : start + 4] == b"TAG+":
        return start + _ID3V1_EXTENDED_BYTES
    if data[start : start + 3] == b"TAG":
        return start + _ID3V1_BYTES
    if data[start : start + 11] == b"LYRICSBEGIN":
        end = data.find(b"LYRICS200", start, start + _LYRICS_MAX_BYTES)
        return start if end < 0 else end + 9
    return start


def skip_tags(data: bytes) -> bytes:
    """`data` without the tags at its beginning."""
    start = 0
    while (end := tag_end(data, start)) > start:
        start = end
    return data[start:] if start else data


def trailing_tags_start(data: bytes) -> int:
    """Where the tags at the end of `data` begin; its length where there are none."""
    end = len(data)
    while (start := _trailing_tag_start(data, end)) < end:
        end = start
    return end


def _trailing_tag_start(data: bytes, end: int) -> int:
    """The start of the tag that ends at `end`, 0 or more; `end` where there is none."""
    size = 0
    if data[max(0, end - _ID3V1_BYTES) : end].startswith(b"TAG") and end >= _ID3V1_BYTES:
        size = _ID3V1_BYTES
    elif data[max(0, end - _ID3V1_EXTENDED_BYTES) : end].startswith(b"TAG+"):
        size = _ID3V1_EXTENDED_BYTES
    elif data[max(0, end - _APE_BYTES) : end].startswith(b"APETAGEX"):
        footer = end - _APE_BYTES
        after_header, flags = (int.from_bytes(data[footer + at : footer + at + 4], "little") for at in (12, 20))
        size = max(_APE_BYTES, after_header) + _APE_BYTES * bool(flags & _APE_HAS_HEADER)
    elif data[max(0, end - 9) : end] == b"LYRICS200" and data[end - _LYRICS_END_BYTES : end - 9].isdigit():
        size = int(data[end - _LYRICS_END_BYTES : end - 9]) + _LYRICS_END_BYTES
    return end - size if size <= end else end
