"""Looks for files that decoding neither answers nor refuses. Options are libFuzzer's:

    python fuzz/decoder.py -max_total_time=60

It starts from a small file of every kind and keeps its findings in build/fuzz/decoder. Python code is instrumented.
libsndfile and FFmpeg are not: bytes change blindly there, and a crash in them ends the run too.
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
    from app.audio.decode import MAX_SAMPLE_RATE, MIN_SAMPLE_RATE, SAMPLE_RATE, Limits, decode
    from app.errors import AudioError

from tests.support import encoded  # noqa: E402

FOLDER = ROOT / "build" / "fuzz" / "decoder"
# Small, so that a file takes milliseconds.
LIMITS = Limits(max_duration_s=5, max_channels=4, max_decoded_bytes=4_000_000)
# The bytes that identify a container, mostly kept so that the file is recognised.
MAGIC_BYTES = 12


def check(data: bytes) -> None:
    """Decodes `data`. Raises anything but a refusal, and AssertionError for an impossible clip."""
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
    """libFuzzer's own mutation, with the first bytes restored 15 times of 16. Every second time it starts from one of
    `files`, because libFuzzer drops those that reach no new Python code, although they reach new C code.
    """

    def change(data: bytes, max_size: int, seed: int) -> bytes:
        chosen = random.Random(seed)
        base = chosen.choice(files) if chosen.randrange(2) else data
        keep = MAGIC_BYTES if chosen.randrange(16) else 0
        return base[:keep] + atheris.Mutate(base, max_size)[keep:]

    return change


def seeds() -> list[bytes]:
    """A tenth of a second in every format that is decoded, and in some that are refused; tagged, joined and cut."""
    files = []
    wavs = [("WAV", name) for name in ("PCM_U8", "PCM_16", "PCM_24", "FLOAT", "DOUBLE", "ALAW", "MS_ADPCM")]
    wavs += [("WAV", "IMA_ADPCM"), ("WAV", "GSM610"), ("WAV", "G721_32"), ("WAVEX", "PCM_16"), ("RF64", "PCM_16")]
    others = [("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III")]
    for container, encoding in wavs + others:
        for channels in (1, 2):
            if encoding not in ("GSM610", "G721_32") or channels == 1:
                buffer = io.BytesIO()
                tone = _tone(8000, channels)
                soundfile.write(buffer, tone, 8000, format=container, subtype=encoding)
                files.append(buffer.getvalue())
    kinds = [*encoded.KINDS, encoded.OGG_FLAC, encoded.ALAC, encoded.PCM_MKV, encoded.PCM_MOV]
    files += [encoded.encode(_tone(kind.rate, kind.channels), kind) for kind in kinds]
    files += [encoded.amr_wb(5), encoded.encode(_tone(48000, 1), encoded.OPUS_WEBM, video=True)]
    files.append(encoded.encode(_tone(48000, 1), encoded.PCM_MOV, beside=(_tone(48000, 1), "aac")))
    id3, id3v1 = b"ID3\x04\0\0\0\0\0\x20" + b"x" * 32, b"TAG" + b"x" * 125
    joined = [id3 + data + data[len(data) // 2 :] + id3v1 + data for data in files if len(data) < 5000]
    return files + joined


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
