"""Reads the header of a WAV file and finds its samples. A decoder gets only the samples, or a header written here:
libsndfile's own WAV reader supports many more codecs, and has had overflows in them.
"""

import struct
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from ..errors import AudioEmpty, AudioFormatUnsupported, AudioUndecodable
from .reading import Reading
from .tags import tag_end, trailing_tags_start
from .wave_tags import WAVE_TAGS

Decoder = Literal["raw", "mp3", "ffmpeg"]

_PCM, _FLOAT, _ALAW, _MULAW, _EXTENSIBLE = 0x0001, 0x0003, 0x0006, 0x0007, 0xFFFE
_MS_ADPCM, _IMA_ADPCM, _GSM, _MP3 = 0x0002, 0x0011, 0x0031, 0x0055
# The last 12 bytes of the sub-format GUID by which WAVE_FORMAT_EXTENSIBLE names a tag. RIFX files have it either way.
_GUID_TAILS = (bytes.fromhex("00001000800000aa00389b71"), bytes.fromhex("00000010800000aa00389b71"))
# libsndfile's name of an encoding, by tag and bytes per sample.
_ENCODINGS = {
    (_PCM, 1): "PCM_U8",
    (_PCM, 2): "PCM_16",
    (_PCM, 3): "PCM_24",
    (_PCM, 4): "PCM_32",
    (_FLOAT, 4): "FLOAT",
    (_FLOAT, 8): "DOUBLE",
    (_ALAW, 1): "ALAW",
    (_MULAW, 1): "ULAW",
}
_GSM_BLOCK_BYTES, _GSM_BLOCK_SAMPLES = 65, 320

# A recorder that writes to a pipe cannot go back to write the size, and leaves 0 or about the largest number there is:
# 0xFFFFFFFF, 0x80000000, or 0x7FFFF000. No request is as long.
_LEAST_UNKNOWN_SIZE = 0x7FFF0000
_KNOWN_CHUNKS = {
    *(b"fmt ", b"data", b"fact", b"LIST", b"JUNK", b"junk", b"PAD ", b"FLLR", b"bext", b"cue ", b"smpl", b"inst"),
    *(b"plst", b"PEAK", b"iXML", b"_PMX", b"aXML", b"axml", b"chna", b"id3 ", b"ID3 ", b"cart", b"levl", b"ds64"),
    *(b"acid", b"strc", b"DISP", b"afsp", b"RIFF", b"RIFX", b"RF64", b"BW64", b"slnt", b"wavl", b"umid", b"minf"),
}
# Chunks that programs write behind the samples, even of a stream.
_TEXT_CHUNKS = (b"LIST", b"id3 ", b"ID3 ")
_MAX_TEXT_CHUNKS, _MAX_TEXT_BYTES = 16, 1 << 16
_FILES = {b"RIFF": "<", b"RIFX": ">", b"RF64": "<", b"BW64": "<"}  # byte order by magic


@dataclass(frozen=True)
class _Layout:
    tag: int
    channels: int
    sample_rate: int
    frame_bytes: int
    """Of one sample of each channel, or of a block that is decoded at once."""
    block_samples: int = 0


@dataclass(frozen=True)
class WavData:
    """The samples of a WAV file and how to read them.

    `decoder` is raw for libsndfile's `encoding` in `byte_order`, channels interleaved; mp3 for a run of frames; ffmpeg
    for a WAV file with a header made here.
    """

    decoder: Decoder
    sample_rate: int
    channels: int
    data: bytes
    encoding: str = ""
    byte_order: Literal["LITTLE", "BIG"] = "LITTLE"


def is_wav(data: bytes) -> bool:
    return data[:4] in _FILES and data[8:12] == b"WAVE"


def read_wav(data: bytes, reading: Reading) -> WavData:
    """Reads the chunks of the RIFF, RIFX or RF64 file `data`.

    Sizes are believed where they lead to a next chunk. Data chunks of one format are joined, as FFmpeg does; sound of
    another format behind them, samples that are cut off and bytes that belong to nothing are reported as missing.
    Raises AudioFormatUnsupported for encodings that are not decoded, AudioUndecodable for a header that contradicts
    itself, AudioEmpty without samples.
    """
    order = _FILES[data[:4]]
    heads = deque(_heads(data))
    at, layout, chunk, long_bytes, has_data = 12, None, b"", 0, False
    pieces: list[bytes] = []
    while at + 8 <= len(data):
        name, size = struct.unpack_from(f"{order}4sI", data, at)
        body = at + 8
        if name in _FILES and data[body : body + 4] == b"WAVE":  # files that were joined
            at = body + 4
            continue
        if name == b"ds64":
            (long_bytes,) = struct.unpack_from("<Q", data, body + 8) if body + 16 <= len(data) else (0,)
        elif name == b"fmt ":
            if layout is None:
                chunk = data[body : body + size]
                layout = _read_format(chunk, order)
            elif pieces and data[body : body + 16] != chunk[:16]:
                reading.part_missing = True
                break
        elif name == b"data":
            if layout is None:
                break
            has_data = True
            while heads and heads[0] < body:
                heads.popleft()
            stop = heads[0] if heads else len(data)
            size = long_bytes if size == 0xFFFFFFFF and long_bytes else size
            size = _samples_bytes(data, body, size, stop, reading)
            pieces.append(data[body : body + size // layout.frame_bytes * layout.frame_bytes])
            at = _next_chunk(data, body, size)
            if not _looks_like_chunk(data, at):
                reading.part_missing |= _holds_something(data[at:])
                break
            continue
        at = _next_chunk(data, body, size)
    if layout is None or not has_data:
        raise AudioUndecodable("The WAV file ends before its samples; send the whole file.")
    samples = pieces[0] if len(pieces) == 1 else b"".join(pieces)
    if not samples:
        raise AudioEmpty
    return _wav_data(layout, samples, order)


def _heads(data: bytes) -> Iterator[int]:
    """Where other files begin behind the first."""
    at = data.find(b"WAVE", 12)
    while at >= 0:
        if data[at - 8 : at - 4] in _FILES:
            yield at - 8
        at = data.find(b"WAVE", at + 4)


def _samples_bytes(data: bytes, body: int, size: int, stop: int, reading: Reading) -> int:
    """The bytes of samples that begin at `body`, where a header says `size` and another file, or none, begins at
    `stop`. Reports samples that are cut off.
    """
    if size == 0 and _looks_like_chunk(data, body):
        return 0
    if size == 0 or size >= _LEAST_UNKNOWN_SIZE:
        return _without_chunks_behind(data, body, stop) - body
    reading.part_missing |= size > stop - body
    return min(size, stop - body)


def _next_chunk(data: bytes, body: int, size: int) -> int:
    """Where the chunk after one of `size` bytes begins. Chunks have even sizes, or a byte of padding, which some
    writers forget, and others add for nothing.
    """
    end = body + size
    places = (end + size % 2, end + 1 - size % 2)
    known = (place for place in places if data[place : place + 4] in _KNOWN_CHUNKS)
    return next(known, places[0])


def _looks_like_chunk(data: bytes, at: int) -> bool:
    """Whether the head of a chunk stands at `at`, or the file ends there."""
    if data[at : at + 4] in _KNOWN_CHUNKS:
        return True
    name, size = data[at : at + 4], data[at + 4 : at + 8]
    if len(size) < 4:
        return len(data) <= at
    fits = min(int.from_bytes(size, "little"), int.from_bytes(size)) <= len(data) - at - 8
    return name.isascii() and name.decode().isprintable() and name[:1].isalpha() and fits


def _holds_something(rest: bytes) -> bool:
    """Whether more than tags and padding is in `rest`."""
    while (end := tag_end(rest, 0)) > 0:
        rest = rest[end:]
    return bool(rest[: trailing_tags_start(rest)].strip(b"\0")) and len(rest) > 1


def _without_chunks_behind(data: bytes, start: int, stop: int) -> int:
    """Where samples of unknown length end: at `stop`, or before the chunks of text that fill the end of the file."""
    end = min(stop, max(start, trailing_tags_start(data)))
    for _ in range(_MAX_TEXT_CHUNKS):
        places = (data.rfind(name, max(start, end - _MAX_TEXT_BYTES), end) for name in _TEXT_CHUNKS)
        # An odd chunk is followed by a byte of padding, or not.
        filling = (at for at in places if at >= 0 and end - at - 8 - _chunk_bytes(data, at) in (0, 1))
        before = next(filling, None)
        if before is None:
            break
        end = before
    return end


def _chunk_bytes(data: bytes, at: int) -> int:
    return int.from_bytes(data[at + 4 : at + 8], "little")


def _wav_data(layout: _Layout, samples: bytes, order: str) -> WavData:
    given = (layout.sample_rate, layout.channels)
    if layout.tag == _MP3:
        return WavData("mp3", *given, samples)
    if layout.block_samples:
        return WavData("ffmpeg", *given, _file_of_blocks(layout, samples))
    encoding = _ENCODINGS[layout.tag, layout.frame_bytes // layout.channels]
    return WavData("raw", *given, samples, encoding, "BIG" if order == ">" else "LITTLE")


def _file_of_blocks(layout: _Layout, samples: bytes) -> bytes:
    bytes_per_second = layout.sample_rate * layout.frame_bytes // layout.block_samples
    bits = 0 if layout.tag == _GSM else 4
    head = (layout.tag, layout.channels, layout.sample_rate, bytes_per_second, layout.frame_bytes, bits)
    fmt = struct.pack("<HHIIHHHH", *head, 2, layout.block_samples)
    body = b"WAVEfmt " + struct.pack("<I", len(fmt)) + fmt + b"data" + struct.pack("<I", len(samples)) + samples
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _read_format(chunk: bytes, order: str) -> _Layout:
    if len(chunk) < 16:
        raise AudioUndecodable("The WAV file's format chunk is too short.")
    tag, channels, sample_rate, bytes_per_second, frame_bytes, bits = struct.unpack_from(f"{order}HHIIHH", chunk)
    if tag == _EXTENSIBLE and len(chunk) >= 40 and chunk[28:40] in _GUID_TAILS:
        (tag,) = struct.unpack_from(f"{order}I", chunk, 24)
    if not channels:
        raise AudioUndecodable("The WAV file's header says 0 channels.")
    if tag in (_PCM, _FLOAT, _ALAW, _MULAW):
        frames_fit = bytes_per_second == sample_rate * frame_bytes
        sample_bytes = _sample_bytes(tag, bits, frame_bytes, channels, frames_fit)
        if (tag, sample_bytes) not in _ENCODINGS:
            found = f"{channels} channels of {bits} bits in frames of {frame_bytes} bytes"
            raise AudioUndecodable(f"The WAV file's header says {found}.")
        return _Layout(tag, channels, sample_rate, channels * sample_bytes)
    if tag == _MP3:
        return _Layout(tag, channels, sample_rate, 1)
    block_samples = _block_samples(tag, channels, frame_bytes) if order == "<" else 0
    if not block_samples:
        name = WAVE_TAGS.get(tag, f"0x{tag:04x}, which is unknown")
        raise AudioFormatUnsupported(f"This WAV file's encoding is {name}. {AudioFormatUnsupported.sentence}")
    return _Layout(tag, channels, sample_rate, frame_bytes, block_samples)


def _sample_bytes(tag: int, bits: int, frame_bytes: int, channels: int, frames_fit: bool) -> int:
    """Bytes of one sample of one channel; 0 where the header gives none.

    The bits decide, as in players. Where no encoding has as many, the size of a frame does, and so it does for 24 bits
    in 32 if the bytes per second fit it.
    """
    if tag in (_ALAW, _MULAW):
        return 1
    by_bits, by_frame = (bits + 7) // 8, frame_bytes // channels
    if (tag, by_bits) not in _ENCODINGS or (frames_fit and (by_bits, by_frame) == (3, 4)):
        return 0 if frame_bytes % channels else by_frame
    return by_bits


def _block_samples(tag: int, channels: int, block_bytes: int) -> int:
    """Samples of each channel in a block; 0 where it is none that is decoded."""
    if tag == _GSM and channels == 1 and block_bytes == _GSM_BLOCK_BYTES:
        return _GSM_BLOCK_SAMPLES
    if tag == _IMA_ADPCM and channels <= 2 and block_bytes > 4 * channels and block_bytes % (4 * channels) == 0:
        return (block_bytes - 4 * channels) * 2 // channels + 1
    if tag == _MS_ADPCM and channels <= 2 and block_bytes > 7 * channels:
        return (block_bytes - 7 * channels) * 2 // channels + 2
    return 0
