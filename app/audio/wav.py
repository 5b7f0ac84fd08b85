"""Reads the header of a WAV file and finds its samples. libsndfile gets only the samples: its own WAV reader supports
many more codecs, and has had overflows in them.
"""

import struct
from dataclasses import dataclass

from ..errors import AudioEmpty, AudioFormatUnsupported, AudioUndecodable

_PCM, _FLOAT, _ALAW, _MULAW, _EXTENSIBLE = 0x0001, 0x0003, 0x0006, 0x0007, 0xFFFE
# The last 14 bytes of the sub-format GUID by which WAVE_FORMAT_EXTENSIBLE names one of the tags above.
_GUID_TAIL = bytes.fromhex("000000001000800000aa00389b71")
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


@dataclass(frozen=True)
class WavData:
    """The raw samples of a WAV file and how to read them. Little-endian, channels interleaved."""

    encoding: str
    sample_rate: int
    channels: int
    data: bytes


def read_wav(data: bytes) -> WavData:
    """Reads the chunks of the RIFF file `data` up to its samples.

    A data chunk whose size exceeds the file ends with the file: a recorder that writes to a pipe cannot know the size.
    Raises AudioFormatUnsupported for encodings other than PCM, float, A-law and mu-law, AudioUndecodable for a header
    that contradicts itself, AudioEmpty without samples.
    """
    position, layout = 12, None
    while position + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, position)
        body = position + 8
        if name == b"fmt " and layout is None:
            layout = _read_format(data[body : body + size])
        elif name == b"data":
            if layout is None:
                break
            encoding, sample_rate, channels, frame_bytes = layout
            usable = min(size, len(data) - body) // frame_bytes * frame_bytes
            if usable == 0:
                raise AudioEmpty
            return WavData(encoding, sample_rate, channels, data[body : body + usable])
        position = body + size + size % 2
    raise AudioUndecodable("The WAV file ends before its samples; send the whole file.")


def _read_format(chunk: bytes) -> tuple[str, int, int, int]:
    """Encoding, sample rate, channels and bytes per frame of a `fmt ` chunk."""
    if len(chunk) < 16:
        raise AudioUndecodable("The WAV file's format chunk is too short.")
    tag, channels, sample_rate, _, frame_bytes, _ = struct.unpack_from("<HHIIHH", chunk)
    if tag == _EXTENSIBLE and len(chunk) >= 40 and chunk[26:40] == _GUID_TAIL:
        (tag,) = struct.unpack_from("<H", chunk, 24)
    if tag not in (_PCM, _FLOAT, _ALAW, _MULAW):
        raise AudioFormatUnsupported(f"This WAV file's encoding is 0x{tag:04x}. {AudioFormatUnsupported.sentence}")
    sample_bytes, rest = divmod(frame_bytes, channels) if channels else (0, 1)
    if rest or (tag, sample_bytes) not in _ENCODINGS:
        raise AudioUndecodable(f"The WAV file's header says {channels} channels in frames of {frame_bytes} bytes.")
    return _ENCODINGS[tag, sample_bytes], sample_rate, channels, frame_bytes
