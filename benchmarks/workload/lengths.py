"""Lengths drawn from KEMDy20's published histogram, and noise and tokens of such lengths. Needs none of its recordings.

Three of its points are published, in frames of 512 samples at 16 kHz: 45 % of the utterances have under 129 frames,
74 % under 237, 99.8 % under 777. The rest is assumed:

- no utterance has under 16 frames (half a second) or over 1,024 (33 s);
- between two points the share grows with the logarithm of the length, as there are more short utterances than long;
- tokens grow with the audio: 6.25 per second, 20 for 3.2 s, special tokens included, and 3 to 64 in all.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.audio.decode import SAMPLE_RATE
from app.engine.engine import ModelInput

FRAME_SAMPLES = 512  # of the published histogram
MAX_FRAMES = 512  # serving cuts longer audio here
MIN_TOKENS, MAX_TOKENS = 3, 64
TOKENS_A_SECOND = 6.25

FRAMES = (16, 129, 237, 777, 1024)
SHARE_UNDER = (0.0, 0.45, 0.74, 0.998, 1.0)
FIRST_WORD = 5  # lower token ids are special tokens


@dataclass(frozen=True)
class Length:
    """Seconds of audio and tokens of text, special ones included."""

    seconds: float
    tokens: int

    @property
    def frames(self) -> int:
        """Frames of the audio."""
        return 1 + round(self.seconds * SAMPLE_RATE) // FRAME_SAMPLES


def draw_frames(count: int, seed: int = 0) -> NDArray[np.int64]:
    """Lengths in frames, before serving cuts them: one from each of `count` equal shares of the histogram, shuffled, so
    that even a few represent it well.
    """
    random = np.random.default_rng(seed)
    shares = random.permutation((np.arange(count) + random.random(count)) / count)
    frames: NDArray[np.int64] = np.exp(np.interp(shares, SHARE_UNDER, np.log(FRAMES))).astype(np.int64)
    return frames


def draw_lengths(count: int, seed: int = 0) -> list[Length]:
    """Lengths as the models get them, at most 512 frames."""
    return [of_frames(frames) for frames in np.minimum(draw_frames(count, seed), MAX_FRAMES).tolist()]


def of_frames(frames: int) -> Length:
    """The longest audio of `frames` frames, and its tokens."""
    seconds = (frames * FRAME_SAMPLES - 1) / SAMPLE_RATE
    return Length(seconds, int(np.clip(round(TOKENS_A_SECOND * seconds), MIN_TOKENS, MAX_TOKENS)))


def make(seconds: float, tokens: int, vocabulary: int, seed: int = 0) -> ModelInput:
    """Noise that swells and fades three times per second, as syllables do, and random token ids below `vocabulary`."""
    random = np.random.default_rng(seed)
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    envelope = 0.15 * (1.05 + np.sin(2 * np.pi * 3 * time + seed))
    waveform = np.clip(envelope * random.standard_normal(len(time)), -1, 1).astype(np.float32)
    return ModelInput(waveform, random.integers(FIRST_WORD, vocabulary, size=tokens))
