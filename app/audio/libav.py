"""Reads the formats that libsndfile lacks, with FFmpeg's libraries: MP4 (AAC, Opus, AMR), WebM (Opus, Vorbis), ADTS
and AMR.

FFmpeg knows hundreds of formats, some of which open other files and addresses. Here it gets bytes, the one format that
was sniffed, and a handful of codecs. PyAV is imported with the first such file, so that nobody else pays for it.
"""

import io
from collections.abc import Generator
from typing import TYPE_CHECKING, Never

import numpy as np
from numpy.typing import NDArray

from ..errors import AudioEmpty, AudioFormatUnsupported, AudioTooCostly, AudioTooManyChannels, AudioUndecodable
from .sniff import Container

if TYPE_CHECKING:
    from av.container import InputContainer

# Rate in Hz, and float32 [frames, channels].
Block = tuple[int, NDArray[np.float32]]

# FFmpeg's names of the demuxers.
FORMATS: dict[Container, str] = {"mp4": "mp4", "matroska": "matroska", "adts": "aac", "amr": "amr"}
# FFmpeg's own decoders; all give float32.
CODECS = ("aac", "opus", "vorbis", "amrnb", "amrwb")
# PyAV looks for a null pointer after a frame's channels. Eight leave no place for it: PyAV reads past them and crashes.
MAX_CHANNELS = 7

_OPTIONS = {
    # The demuxers decode a little while they open, and would do so with a video's codec too.
    "codec_whitelist": ",".join(CODECS),
    "format_whitelist": ",".join(FORMATS.values()) + ",mov,webm",
    "protocol_whitelist": "none",  # there is no protocol of this name
    # How far to search for values that a header lacks.
    "probesize": "500000",  # bytes
    "analyzeduration": "1000000",  # microseconds
    # PyAV asks for missing time stamps to be generated, which takes quadratic time where all are missing.
    "fflags": "-genpts",
}


def read_blocks(data: bytes, container: Container) -> Generator[Block]:
    """Yields the first audio track, packet by packet.

    Silence that the encoder put first is skipped where the file declares it. A file that ends within its last packet
    counts up to there. Raises AudioFormatUnsupported for another codec, AudioUndecodable, AudioEmpty for
    no audio track, AudioTooManyChannels, AudioTooCostly.
    """
    import av

    try:
        with av.open(
            io.BytesIO(data),
            "r",
            format=FORMATS[container],
            container_options=_OPTIONS,
            metadata_errors="replace",
            io_open=_open_nothing,
        ) as source:
            yield from _decoded(source)
    except av.FFmpegError as error:
        # Often a forged size for which no memory would suffice; it is refused at once, without harm.
        raise AudioTooCostly if isinstance(error, MemoryError) else AudioUndecodable from error


def _decoded(source: "InputContainer") -> Generator[Block]:
    import av

    if not source.streams.audio:
        raise AudioEmpty("The file holds no audio track.")
    stream = source.streams.audio[0]
    if stream.codec_context is None or stream.codec_context.name not in CODECS:
        name = stream.codec_context.name if stream.codec_context else "something unknown"
        raise AudioFormatUnsupported(f"The file's sound is encoded as {name}. {AudioFormatUnsupported.sentence}")
    stream.codec_context.thread_count = 1
    broken: av.FFmpegError | None = None
    has_sound = False
    for packet in source.demux(stream):
        if broken and packet.size:
            break
        try:
            frames = packet.decode()
        except av.FFmpegError as error:
            if isinstance(error, MemoryError):
                raise
            broken = error
            continue
        for frame in frames:
            has_sound = True
            channels = frame.layout.nb_channels
            if channels > MAX_CHANNELS:
                raise AudioTooManyChannels(
                    f"The audio has {channels} channels and may have {MAX_CHANNELS}. {AudioTooManyChannels.sentence}"
                )
            values = frame.to_ndarray().astype(np.float32, copy=False)
            block = values.T if frame.format.is_planar else values.reshape(-1, channels)
            yield frame.sample_rate, block
    else:
        if has_sound or not broken:
            return
    raise AudioUndecodable from broken


def _open_nothing(url: str, flags: int, options: dict[str, str]) -> Never:
    """Called where a file names another."""
    raise PermissionError("A file may not name another.")
