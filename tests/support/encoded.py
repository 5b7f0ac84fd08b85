"""Makes the files that phones and browsers record, with FFmpeg's encoders."""

import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from numpy.typing import NDArray


class Kind(NamedTuple):
    """A muxer, an encoder, a rate in Hz and a number of channels that both take, and the MP4 muxer's flags."""

    muxer: str
    codec: str
    rate: int
    channels: int = 1
    flags: str = ""


M4A = Kind("ipod", "aac", 44100)
# As browsers' MediaRecorder writes: no index at the end, a piece every so often.
FRAGMENTED = Kind("mp4", "aac", 48000, flags="frag_keyframe+delay_moov")
FASTSTART = Kind("ipod", "aac", 44100, flags="faststart")
OPUS_MP4 = Kind("mp4", "libopus", 48000)
OPUS_WEBM = Kind("webm", "libopus", 48000)
VORBIS_WEBM = Kind("webm", "vorbis", 48000, channels=2)  # its encoder takes nothing else
ADTS = Kind("adts", "aac", 16000)
AMR = Kind("amr", "libopencore_amrnb", 8000)
AMR_3GP = Kind("3gp", "libopencore_amrnb", 8000)
OGG_FLAC = Kind("ogg", "flac", 48000)
ALAC = Kind("ipod", "alac", 44100)
PCM_MKV = Kind("matroska", "pcm_s16le", 48000)
PCM_MOV = Kind("mov", "pcm_s16be", 48000)
KINDS = (M4A, FRAGMENTED, FASTSTART, OPUS_MP4, OPUS_WEBM, VORBIS_WEBM, ADTS, AMR, AMR_3GP)


def encode(
    samples: NDArray[np.float32] | None,
    kind: Kind,
    video: bool = False,
    beside: tuple[NDArray[np.float32], str] | None = None,
    options: dict[str, str] | None = None,
    bit_rate: int | None = None,
) -> bytes:
    """`samples` [samples] or [samples, channels] as a file, after a track of one black picture where asked, and before
    a second audio track `beside`: its samples, at the same rate, and its encoder. `options` are the muxer's.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "file")
        options = dict(options or {}) | ({"movflags": kind.flags} if kind.flags else {})
        if "frag" in kind.flags:
            options["frag_duration"] = "200000"  # microseconds
        with av.open(str(path), "w", format=kind.muxer, options=options) as sink:
            streams: list[tuple[Any, Any]] = []
            if video:
                picture = sink.add_stream("libvpx", rate=10, width=32, height=32, pix_fmt="yuv420p")
                black = av.VideoFrame.from_ndarray(np.zeros((48, 32), np.uint8), format="yuv420p")
                streams.append((picture, black))
            sounds = [] if samples is None else [(samples, kind.codec), *filter(None, [beside])]
            for values, codec in sounds:
                columns = values.reshape(len(values), -1)
                layout = {1: "mono", 2: "stereo", 6: "5.1"}[columns.shape[1]]
                sound: Any = sink.add_stream(codec, rate=kind.rate, layout=layout, options={"strict": "experimental"})
                if bit_rate:
                    sound.bit_rate = bit_rate
                streams.append((sound, _frame(columns, sound.codec_context.format.name, layout, kind.rate)))
            for stream, frame in streams:
                sink.mux(stream.encode(frame))
                sink.mux(stream.encode(None))
        return path.read_bytes()


def _frame(columns: NDArray[np.float32], sample_format: str, layout: str, rate: int) -> av.AudioFrame:
    values = columns.T if sample_format.endswith("p") else columns.reshape(1, -1)
    if sample_format == "u8":
        values = np.round(values * 127 + 128).astype(np.uint8)
    elif sample_format[0] == "s":
        bits = int(sample_format[1:3])
        values = (values * (2 ** (bits - 1) - 1)).astype(f"int{bits}")
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(values), format=sample_format, layout=layout)
    frame.sample_rate, frame.pts = rate, 0
    return frame


def amr_wb(frames: int) -> bytes:
    """AMR-WB of silence, `frames` of 20 ms. There is no encoder, so each frame is marked as not transmitted."""
    return b"#!AMR-WB\n" + b"\x7c" * frames
