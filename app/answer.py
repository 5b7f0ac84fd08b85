"""The answer to one utterance, as the service and the command line give it, and its warnings."""

import re
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field

Modality = Literal["audio", "text"]
WarningCode = Literal[
    "audio_truncated",
    "audio_silent",
    "audio_too_short",
    "audio_part_missing",
    "transcript_truncated",
    "transcript_empty",
]

# Every sentence by its code, with the values that `Warned.of` takes.
WARNINGS: dict[WarningCode, str] = {
    "audio_truncated": "Only the first {used_s:.1f} s of {duration_s:.1f} s of audio were used.",
    "audio_silent": "The audio is silent, or nearly; do not rely on results that use it.",
    "audio_too_short": "The audio lasts {duration_s:.2f} s, too short to judge; do not rely on results that use it.",
    "audio_part_missing": (
        "Part of the file's sound was not used: it is damaged, cut off, or on another track. "
        "Send the whole file, with one audio track."
    ),
    "transcript_truncated": "Only the first {tokens} tokens of the transcript were used.",
    "transcript_empty": "The transcript holds only transcription tags; the answer uses the audio alone.",
}


def warning_meaning(code: WarningCode) -> str:
    """The sentence of `code` for documentation, where no values are known."""
    return re.sub(r"\{.+?\}", "N", WARNINGS[code])


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class Emotion(_Frozen):
    label: str
    """The class with the highest probability."""
    probabilities: dict[str, float]
    """By class, calibrated on validation data; they sum to 1."""


class AudioInfo(_Frozen):
    """The audio file, before conversion to mono 16 kHz."""

    duration_s: float
    sample_rate: int
    """Hz"""
    channels: int


class ModelName(_Frozen):
    name: str
    version: str


class Warned(_Frozen):
    """A reason to rely on the answer less."""

    code: WarningCode = Field(description="\n".join(f"- {code}: {warning_meaning(code)}" for code in WARNINGS))
    detail: str

    @classmethod
    def of(cls, code: WarningCode, **values: float) -> Self:
        """The warning `code`, with the values that its sentence in WARNINGS takes."""
        return cls(code=code, detail=WARNINGS[code].format(**values))


class Timing(_Frozen):
    """Milliseconds: decoding and tokenising, waiting, and the batch that held the utterance."""

    decode: float
    queue: float
    inference: float

    @classmethod
    def of_seconds(cls, *, decode: float, queue: float, inference: float) -> Self:
        """The same three in seconds, rounded to 10 microseconds."""
        return cls(decode=_milliseconds(decode), queue=_milliseconds(queue), inference=_milliseconds(inference))


class Answer(_Frozen):
    """The answer to one utterance."""

    arousal: float | None
    """From the audio, on the manifest's `scale`: low is calm, high is excited. Null without audio."""
    valence: float | None
    """From the transcript, on the manifest's `scale`: low is negative, high is positive. Null without a transcript."""
    emotion: Emotion
    modalities: list[Modality]
    """The modalities that the emotion was judged from."""
    audio: AudioInfo | None
    model: ModelName
    warnings: list[Warned]
    timing_ms: Timing


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 2)
