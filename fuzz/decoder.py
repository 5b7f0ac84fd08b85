"""Looks for files on which decoding does anything else than answer or refuse. Options are libFuzzer's:

    python fuzz/decoder.py -max_total_time=60

It starts from a small file of every kind, and keeps what it finds in build/fuzz/decoder. Python's side is instrumented;
libsndfile and FFmpeg are not, so there it changes bytes blindly, and a crash of theirs ends it too.
"""

import io
import random
import sys
from collections.abc import Callable
from pathlib import Path

import atheris
import numpy as np
import soundfile

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

with atheris.instrument_imports(include=["app"]):
    from app.audio.decode import (
        MAX_SAMPLE_RATE,
        MIN_SAMPLE_RATE,
        SAMPLE_RATE,
        Limits,
        decode,
    )
    from app.errors import AudioError

from tests.support import encoded  # noqa: E402

FOLDER = ROOT / "build" / "fuzz" / "decoder"
# Small, so that a file takes milliseconds.
LIMITS = Limits(max_duration_s=5, max_channels=4, max_decoded_bytes=4_000_000)
# What containers are told by. Mostly kept, so that the file gets past that.
MAGIC_BYTES = 12


def check(data: bytes) -> None:
    """Raises whatever decoding must not."""
    try:
        clip = decode(data, LIMITS)
    except AudioError:
        return
    assert clip.samples.dtype == np.float32 and len(clip.samples) > 0
    assert np.isfinite(clip.samples).all() and np.abs(clip.samples).max() <= 1
    assert MIN_SAMPLE_RATE <= clip.sample_rate <= MAX_SAMPLE_RATE and 1 <= clip.channels <= LIMITS.max_channels
    assert 0 < clip.duration_s <= LIMITS.max_duration_s
    assert abs(len(clip.samples) - clip.duration_s * SAMPLE_RATE) <= SAMPLE_RATE / MIN_SAMPLE_RATE


def mutator(files: list[bytes]) -> Callable[[bytes, int, int], bytes]:
    """libFuzzer's own change, with the first bytes put back 15 times of 16. Every other time it starts from one of
    `files`: libFuzzer forgets those that lead nowhere new in Python, though they do in C."""

    def change(data: bytes, max_size: int, seed: int) -> bytes:
        chosen = random.Random(seed)
        base = chosen.choice(files) if chosen.randrange(2) else data
        keep = MAGIC_BYTES if chosen.randrange(16) else 0
        return base[:keep] + atheris.Mutate(base, max_size)[keep:]

    return change


def seeds() -> list[bytes]:
    """A tenth of a second of every kind that is decoded, and of some that are refused."""
    files = []
    wavs = [("WAV", name) for name in ("PCM_U8", "PCM_16", "PCM_24", "FLOAT", "DOUBLE", "ALAW", "IMA_ADPCM")]
    others = [("WAVEX", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III")]
    for container, encoding in wavs + others:
        for channels in (1, 2):
            if encoding != "IMA_ADPCM" or channels == 1:
                buffer = io.BytesIO()
                tone = _tone(8000, channels)
                soundfile.write(buffer, tone, 8000, format=container, subtype=encoding)
                files.append(buffer.getvalue())
    files += [encoded.encode(_tone(kind.rate, kind.channels), kind) for kind in encoded.KINDS]
    return [*files, encoded.amr_wb(5), encoded.encode(_tone(48000, 1), encoded.OPUS_WEBM, video=True)]


def _tone(rate: int, channels: int) -> np.ndarray:
    tone = 0.3 * np.sin(np.arange(rate // 10) * (2 * np.pi * 300 / rate))
    return np.repeat(tone[:, None], channels, axis=1).astype(np.float32)


def main() -> None:
    corpus = FOLDER / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    files = seeds()
    for number, data in enumerate(files):
        (corpus / f"seed-{number:02}").write_bytes(data)
    options = ["-max_len=20000", "-timeout=10", f"-artifact_prefix={FOLDER}/"]
    atheris.Setup([sys.argv[0], *options, *sys.argv[1:], str(corpus)], check, custom_mutator=mutator(files))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
