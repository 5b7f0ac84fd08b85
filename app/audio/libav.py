"""Reads with FFmpeg's libraries what libsndfile lacks, or reads only where it is whole: MP4, Matroska and WebM, MP3,
ADTS, AMR, FLAC, and WAV with ADPCM or GSM.

FFmpeg knows hundreds of formats, some of which open other files and addresses. Here it gets bytes, the one format that
was sniffed, and a handful of codecs. PyAV is imported with the first such file, so that nobody else pays for it.
"""

import io
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Literal, NamedTuple, Never

import numpy as np
from numpy.typing import NDArray

from ..errors import (
    AudioEmpty,
    AudioError,
    AudioFormatUnsupported,
    AudioTooCostly,
    AudioTooManyChannels,
    AudioUndecodable,
)
from .reading import Block, Reading

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame
    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from av.packet import Packet

Format = Literal["mp4", "matroska", "mp3", "adts", "amr", "flac", "wav"]

# PyAV looks for a null pointer after a frame's channels. Eight leave no place for it: PyAV reads past them and crashes.
MAX_CHANNELS = 7


class _Demuxer(NamedTuple):
    """FFmpeg's names of a demuxer and of the decoders that it may be followed by."""

    name: str
    codecs: tuple[str, ...]
    errors: str = ""
    """What the decoder refuses, where it would otherwise go on with a guess."""


_PCM = (
    *("pcm_u8", "pcm_s8", "pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s24be", "pcm_s32le", "pcm_s32be"),
    *("pcm_f32le", "pcm_f32be", "pcm_f64le", "pcm_f64be", "pcm_alaw", "pcm_mulaw"),
)
_RECORDED = ("aac", "opus", "vorbis", "flac", "alac", "mp3float", *_PCM)
_DEMUXERS: dict[Format, _Demuxer] = {
    "mp4": _Demuxer("mp4", (*_RECORDED, "amrnb", "amrwb")),
    "matroska": _Demuxer("matroska", _RECORDED),
    "mp3": _Demuxer("mp3", ("mp3float",)),
    "adts": _Demuxer("aac", ("aac",)),
    "amr": _Demuxer("amr", ("amrnb", "amrwb")),
    "flac": _Demuxer("flac", ("flac",), "crccheck+explode"),
    "wav": _Demuxer("wav", ("adpcm_ima_wav", "adpcm_ms", "gsm_ms")),
}
# Full scale of samples that are whole numbers. Those of 24 bits come in 32.
_FULL_SCALE = {"u1": 1 << 7, "i2": 1 << 15, "i4": 1 << 31}
_UNSIGNED_ZERO = 128
# Packets hold 20 to 60 ms, for which mixing and counting cost more than decoding.
_BLOCK_FRAMES = 1 << 14
_ENCRYPTED = "enca"  # the name of an MP4 track's samples

_OPTIONS = {
    "format_whitelist": "mp4,mov,matroska,webm,mp3,aac,amr,flac,wav",
    "protocol_whitelist": "none",  # there is no protocol of this name
    # How far to search for values that a header lacks.
    "probesize": "500000",  # bytes
    "analyzeduration": "1000000",  # microseconds
    # PyAV asks for missing time stamps to be generated, which takes quadratic time where all are missing.
    "fflags": "-genpts",
}


def read_blocks(data: bytes, container: Format, reading: Reading) -> Generator[Block]:
    """Yields the first audio track that can be decoded, in blocks of about a second.

    Silence that the encoder put first is skipped where the file declares it. Other audio tracks are passed over, and so
    is a packet that cannot be decoded; both are reported. Raises AudioFormatUnsupported where no track has a codec that
    is decoded, AudioUndecodable, also where more packets are damaged than whole, AudioEmpty for no audio track,
    AudioTooManyChannels, AudioTooCostly.
    """
    import av

    demuxer = _DEMUXERS[container]
    tried, has_sound = 0, False
    while True:
        tracks: list[AudioStream] = []
        try:
            with _opened(data, demuxer) as source:
                tracks = _decodable(source, demuxer, reading)
                for block in _decoded(source, tracks[tried], demuxer, reading):
                    has_sound = True
                    yield block
        except (av.FFmpegError, AudioUndecodable) as error:
            # Often a forged size for which no memory would suffice; it is refused at once, without harm.
            if isinstance(error, MemoryError):
                raise AudioTooCostly from error
            if has_sound or tried + 1 >= len(tracks):
                raise _refusal(error) from error
        tried += 1
        if has_sound or tried == len(tracks):
            return


def _refusal(error: Exception) -> AudioError:
    import av

    if not isinstance(error, av.error.PatchWelcomeError):
        return AudioUndecodable()
    variant = "The file's sound is of a variant of its encoding that cannot be decoded, such as AAC-ELD."
    return AudioFormatUnsupported(f"{variant} {AudioFormatUnsupported.sentence}")


def _opened(data: bytes, demuxer: _Demuxer) -> "InputContainer":
    import av

    return av.open(
        io.BytesIO(data),
        "r",
        format=demuxer.name,
        # The demuxers decode a little while they open, and would do so with a video's codec too.
        container_options=_OPTIONS | {"codec_whitelist": ",".join(demuxer.codecs)},
        metadata_errors="replace",
        io_open=_open_nothing,
    )


def _decodable(source: "InputContainer", demuxer: _Demuxer, reading: Reading) -> "list[AudioStream]":
    streams = source.streams.audio
    if not streams:
        raise AudioEmpty("The file holds no audio track.")
    reading.part_missing |= len(streams) > 1
    known = [stream for stream in streams if stream.codec_context and stream.codec_context.name in demuxer.codecs]
    tracks = [stream for stream in known if not _is_encrypted(stream)]
    if not tracks:
        first = streams[0].codec_context
        name = f"encoded as {first.codec.long_name if first else 'something unknown'}"
        found = "encrypted" if known else name
        raise AudioFormatUnsupported(f"The file's sound is {found}. {AudioFormatUnsupported.sentence}")
    return tracks


def _is_encrypted(stream: "AudioStream") -> bool:
    """FFmpeg would decode an encrypted track to noise."""
    try:
        return stream.codec_context.codec_tag == _ENCRYPTED
    except UnicodeDecodeError:  # a damaged name
        return False


def _decoded(source: "InputContainer", stream: "AudioStream", demuxer: _Demuxer, reading: Reading) -> Generator[Block]:
    import av

    stream.codec_context.thread_count = 1
    if demuxer.errors:
        stream.codec_context.options = {"err_detect": demuxer.errors}
    broken: av.FFmpegError | None = None
    whole = damaged = rate = pending_frames = 0
    pending: list[NDArray[np.float32]] = []
    for packet in _packets(source, stream, reading):
        reading.part_missing |= packet.is_corrupt
        try:
            frames = packet.decode()
        except av.FFmpegError as error:
            if isinstance(error, MemoryError) or (not broken and isinstance(error, av.error.PatchWelcomeError)):
                raise
            broken, damaged = error, damaged + 1
            reading.part_missing = True
            continue
        whole += packet.size > 0
        for frame in frames:
            columns = _columns(frame)
            if pending and (frame.sample_rate, columns.shape[1]) != (rate, pending[0].shape[1]):
                yield rate, np.concatenate(pending)
                pending, pending_frames = [], 0
            rate = frame.sample_rate
            pending.append(columns)
            pending_frames += len(columns)
        if pending_frames >= _BLOCK_FRAMES:
            yield rate, np.concatenate(pending)
            pending, pending_frames = [], 0
    if pending:
        yield rate, np.concatenate(pending)
    if damaged > whole:
        raise AudioUndecodable from broken


def _packets(source: "InputContainer", stream: "AudioStream", reading: Reading) -> "Iterator[Packet[AudioStream]]":
    """The packets of a track, up to where the container is damaged."""
    import av

    packets = source.demux(stream)
    packet = next(packets, None)
    while packet is not None:
        yield packet
        try:
            packet = next(packets, None)
        except av.FFmpegError as error:
            if isinstance(error, MemoryError):
                raise
            reading.part_missing = True
            return


def _columns(frame: "AudioFrame") -> NDArray[np.float32]:
    """float32 [frames, channels], full scale at 1."""
    channels = frame.layout.nb_channels
    if channels > MAX_CHANNELS:
        most = f"The audio has {channels} channels and may have {MAX_CHANNELS}."
        raise AudioTooManyChannels(f"{most} {AudioTooManyChannels.sentence}")
    values = frame.to_ndarray()
    columns = values.T if frame.format.is_planar else values.reshape(-1, channels)
    full_scale = _FULL_SCALE.get(columns.dtype.str[1:])
    if full_scale is None:
        return columns.astype(np.float32, copy=False)
    zero = _UNSIGNED_ZERO if columns.dtype == np.uint8 else 0
    return (columns.astype(np.float32) - np.float32(zero)) / np.float32(full_scale)


def _open_nothing(url: str, flags: int, options: dict[str, str]) -> Never:
    """Called where a file names another."""
    raise PermissionError("A file may not name another.")
