"""Reads with libsndfile: raw samples, Vorbis and Opus in Ogg, FLAC."""

import io
from collections.abc import Generator
from typing import Any

import soundfile

from ..errors import AudioUndecodable
from .reading import Block

# Large enough that a block costs more than the call, small enough to stay in the cache.
_BLOCK_VALUES = 1 << 18


def read_blocks(data: bytes, **raw: Any) -> Generator[Block]:
    """Yields the samples of `data`. `raw`: how to read samples without a header, as keywords of soundfile.SoundFile.

    Raises AudioUndecodable.
    """
    try:
        with soundfile.SoundFile(io.BytesIO(data), **raw) as file:
            frames = max(1, _BLOCK_VALUES // file.channels)
            while len(block := file.read(frames, dtype="float32", always_2d=True)):
                yield file.samplerate, block
    except (soundfile.LibsndfileError, ValueError, TypeError) as error:
        raise AudioUndecodable from error
