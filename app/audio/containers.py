"""Reads a file of any container that is supported, block by block: which reader gets which bytes of it."""

from collections.abc import Callable, Generator
from itertools import pairwise

from ..errors import AudioUndecodable
from . import libav, mpeg, ogg, sndfile, whole
from .reading import Block, Reading
from .sniff import sniff
from .tags import skip_tags
from .wav import read_wav

# The first metadata block is STREAMINFO: the channels less one in three bits, the samples of each in 36.
_FLAC_CHANNELS_AT, _FLAC_SAMPLES_AT, _FLAC_SAMPLES_END = 20, 21, 26


def read_blocks(data: bytes, check: Callable[[int, int], None], reading: Reading) -> Generator[Block]:
    """Yields the sound of `data`, and reports in `reading` what of it cannot be decoded.

    `check` gets the rate in Hz and the channels that a WAV file claims, before a decoder sees them; what it raises is
    passed on. Raises AudioFormatUnsupported, AudioUndecodable, AudioEmpty, AudioTooManyChannels, AudioTooCostly.
    """
    container = sniff(data)
    if container == "mp3" or container == "adts":
        yield from _read_frames(data, reading)
        return
    data = skip_tags(data)
    if container == "wav":
        yield from _read_wav(data, check, reading)
    elif container == "ogg":
        for link in ogg.links(data, reading):
            yield from _read_flac(link.native, reading) if link.codec == "flac" else sndfile.read_blocks(link.native)
    elif container == "flac":
        yield from _read_flac(data, reading)
    elif container == "amr":
        yield from _read_amr(data, reading)
    else:
        outline = whole.outline_mp4(data) if container == "mp4" else whole.outline_matroska(data)
        reading.part_missing |= not outline.is_whole
        for start, stop in pairwise([0, *outline.starts[1:], len(data)]):
            yield from libav.read_blocks(data[start:stop], container, reading)


def _read_frames(data: bytes, reading: Reading) -> Generator[Block]:
    frames = mpeg.find_frames(data)
    if frames is None or not frames.data:
        raise AudioUndecodable
    reading.part_missing |= not frames.whole
    yield from libav.read_blocks(frames.data, frames.kind, reading)


def _read_wav(data: bytes, check: Callable[[int, int], None], reading: Reading) -> Generator[Block]:
    wav = read_wav(data, reading)
    check(wav.sample_rate, wav.channels)
    if wav.decoder == "mp3":
        yield from _read_frames(wav.data, reading)
    elif wav.decoder == "ffmpeg":
        yield from libav.read_blocks(wav.data, "wav", reading)
    else:
        raw = {"format": "RAW", "endian": wav.byte_order, "subtype": wav.encoding}
        yield from sndfile.read_blocks(wav.data, samplerate=wav.sample_rate, channels=wav.channels, **raw)


def _read_amr(data: bytes, reading: Reading) -> Generator[Block]:
    """AMR has no mark by which to find the next frame after damage; a decoder that went on would make noise."""
    found = whole.whole_amr(data)
    if found is None:
        raise AudioUndecodable
    frames, is_whole = found
    reading.part_missing |= not is_whole
    yield from libav.read_blocks(frames, "amr", reading)


def _read_flac(data: bytes, reading: Reading) -> Generator[Block]:
    """FFmpeg reads FLAC of unknown length, goes on after damage, and decodes up to a cut. libsndfile does neither, but
    is the only one to decode eight channels.
    """
    head = data[:_FLAC_SAMPLES_END]
    if len(head) < _FLAC_SAMPLES_END:
        raise AudioUndecodable
    channels = (head[_FLAC_CHANNELS_AT] >> 1 & 0b111) + 1
    announced = int.from_bytes(head[_FLAC_SAMPLES_AT:]) & (1 << 36) - 1
    blocks = libav.read_blocks(data, "flac", reading) if channels <= libav.MAX_CHANNELS else sndfile.read_blocks(data)
    frames = 0
    for rate, block in blocks:
        frames += len(block)
        yield rate, block
    reading.part_missing |= frames < announced
