"""Synthetic WAV files and transcripts of given lengths, and the HTTP requests that carry them."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import soundfile

from app.audio.decode import SAMPLE_RATE
from app.text import TextTokenizer

from ..harness.client import predict_request
from .lengths import FIRST_WORD, Length, make

SENTENCES = (
    "오늘 정말 고마워요 덕분에 너무 즐거웠어요",
    "그런데 도대체 왜 아직도 안 오는 거예요",
    "저는 한참을 기다리다가 지쳤어요",
    "어제 친구를 만나서 밥을 먹고 영화를 봤는데 생각보다 재미있더라고요",
    "아 진짜 그렇게 말하면 안 되지",
    "우리 내일 다시 이야기해요",
)


@dataclass(frozen=True)
class Spoken:
    """One utterance as a client has it: `wav` is PCM16, mono, 16 kHz."""

    wav: bytes
    transcript: str

    def request(self) -> bytes:
        """The HTTP request that carries it."""
        return predict_request(self.wav, self.transcript)


def speak(lengths: Sequence[Length], tokenizer: TextTokenizer) -> list[Spoken]:
    """An utterance for each of `lengths`, all different, the same in every run."""
    return [
        Spoken(_wav(length.seconds, seed), transcript(length.tokens, tokenizer, seed))
        for seed, length in enumerate(lengths)
    ]


def transcript(tokens: int, tokenizer: TextTokenizer, seed: int = 0) -> str:
    """Words that make `tokens` tokens, special ones included, or a few more, because words are not cut."""
    words: list[str] = []
    waiting: list[str] = []
    random = np.random.default_rng(seed)
    while not words or len(tokenizer.encode(" ".join(words)).ids) < tokens:
        waiting = waiting or " ".join(random.permutation(SENTENCES)).split()
        words.append(waiting.pop(0))
    return " ".join(words)


def _wav(seconds: float, seed: int) -> bytes:
    waveform = make(seconds, tokens=0, vocabulary=FIRST_WORD + 1, seed=seed).waveform
    file = io.BytesIO()
    soundfile.write(file, waveform, SAMPLE_RATE, format="WAV", subtype="PCM_16")
    return file.getvalue()
