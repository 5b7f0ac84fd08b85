"""Finds the container of a file from its bytes alone.

File names and content types are ignored: they are often wrong and always forgeable. Nothing is decoded here.
"""

from typing import Literal

from ..errors import AudioFormatUnsupported
from . import mpeg
from .tags import skip_tags
from .wav import is_wav

Container = Literal["wav", "flac", "ogg", "mp3", "mp4", "matroska", "adts", "amr"]

# First boxes of an MP4 file. Recorders older than MP4 itself leave out `ftyp`.
_MP4_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"styp")
# Formats that are sent although they are not supported: offset, bytes, and the name for the answer. Some may hold runs
# of MP3 frames, so they come before the search for those.
_KNOWN_UNSUPPORTED = (
    (0, b"#!AMR", "AMR of several channels"),
    (0, b"FORM", "AIFF"),
    (0, b"caff", "CAF"),
    (0, b".snd", "AU"),
    (0, b"dns.", "AU"),
    (0, b"riff\x2e\x91\xcf\x11", "Sony Wave64"),
    (8, b"AVI ", "AVI"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "Windows Media (WMA)"),
    (0, b"wvpk", "WavPack"),
    (0, b"MAC ", "Monkey's Audio"),
    (0, b"TTA1", "True Audio"),
    (0, b"DSD ", "DSD"),
    (0, b"FRM8", "DSD"),
    (0, b"FLV\x01", "Flash video"),
    (0, b".RMF", "RealMedia"),
    (0, b".ra\xfd", "RealAudio"),
    (0, b"MThd", "MIDI, which holds notes and no sound"),
    (0, b"NIST_1A", "NIST Sphere"),
    (0, b"Creative Voice File", "Creative Voice"),
    (0, b"ADIF", "AAC with an ADIF header"),
    (0, b"\x0b\x77", "Dolby AC-3"),
    (0, b"\x7f\xfe\x80\x01", "DTS"),
    (0, b"\x00\x00\x01\xba", "an MPEG program stream"),
    (0, b"#EXTM3U", "a playlist, which names files and holds none"),
)
_TS_PACKET_BYTES = 188


def sniff(data: bytes) -> Container:
    """The container of `data`, which tags may precede. Raises AudioFormatUnsupported.

    MP3 and ADTS are found after padding and junk too.
    """
    body = skip_tags(data)
    container = _by_magic(body)
    if container:
        return container
    if name := _unsupported(body):
        raise AudioFormatUnsupported(f"This looks like {name}. {AudioFormatUnsupported.sentence}")
    frames = mpeg.starts(data)
    if frames is None:
        raise AudioFormatUnsupported(f"This is not a known audio format. {AudioFormatUnsupported.sentence}")
    return frames


def _by_magic(data: bytes) -> Container | None:
    if is_wav(data):
        return "wav"
    if data[:4] == b"fLaC":
        return "flac"
    if data[:4] == b"OggS":
        return "ogg"
    if data[4:8] in _MP4_BOXES:
        return "mp4"
    if data[:4] == b"\x1a\x45\xdf\xa3":  # EBML; WebM is Matroska with fewer codecs
        return "matroska"
    if data.startswith((b"#!AMR\n", b"#!AMR-WB\n")):
        return "amr"
    return None


def _unsupported(data: bytes) -> str | None:
    if all(data[at : at + 1] == b"\x47" for at in range(0, 4 * _TS_PACKET_BYTES, _TS_PACKET_BYTES)):
        return "an MPEG transport stream"
    names = (name for offset, magic, name in _KNOWN_UNSUPPORTED if data[offset : offset + len(magic)] == magic)
    return next(names, None)
