"""What is known of one utterance: the answer that the service and the command line give, and its warnings."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field

Modality = Literal["audio", "text"]
WarningCode = Literal["audio_truncated", "audio_silent", "audio_too_short", "transcript_truncated", "transcript_empty"]

WARNINGS: dict[WarningCode, str] = {
    "audio_truncated": "The clip is longer than the model hears; the rest was left out.",
    "audio_silent": "The clip is silent, or nearly; arousal and emotion mean little.",
    "audio_too_short": "The clip is too short to judge; arousal and emotion mean little.",
    "transcript_truncated": "The transcript is longer than the model reads; the rest was left out.",
    "transcript_empty": "The transcript holds only transcription tags; the answer is judged by the voice alone.",
}


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class Emotion(_Frozen):
    label: str
    """The class with the highest probability."""
    probabilities: dict[str, float]
    """By class, calibrated on validation data; they sum to 1."""


class AudioInfo(_Frozen):
    """The audio as it came, before it was made mono 16 kHz."""

    duration_s: float
    sample_rate: int
    """Hz"""
    channels: int


class ModelName(_Frozen):
    name: str
    version: str


class Warned(_Frozen):
    """Something that makes the answer worth less, though there is one."""

    code: WarningCode = Field(description="\n".join(f"- {code}: {meaning}" for code, meaning in WARNINGS.items()))
    detail: str


class Timing(_Frozen):
    """Milliseconds: decoding and tokenising, waiting, and the batch that the utterance was in."""

    decode: float
    queue: float
    inference: float

    @classmethod
    def of_seconds(cls, *, decode: float, queue: float, inference: float) -> Self:
        """The three in seconds, as milliseconds."""
        return cls(decode=_milliseconds(decode), queue=_milliseconds(queue), inference=_milliseconds(inference))


class Answer(_Frozen):
    """What is known of one utterance."""

    arousal: float | None
    """1 (calm) to 5 (excited), heard in the voice; null without audio."""
    valence: float | None
    """1 (negative) to 5 (positive), read in the words; null without a transcript."""
    emotion: Emotion
    modalities: list[Modality]
    """What the emotion was judged by."""
    audio: AudioInfo | None
    model: ModelName
    warnings: list[Warned]
    timing_ms: Timing


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 2)
