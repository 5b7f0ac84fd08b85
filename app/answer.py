"""The answer to one utterance, as the service and the command line give it, and its warnings."""

import re
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field

Modality = Literal["audio", "text"]
WarningCode = Literal[
    "audio_truncated",
    "audio_no_speech",
    "audio_little_speech",
    "audio_channels_differ",
    "audio_part_missing",
    "transcript_truncated",
    "transcript_empty",
    "transcript_not_korean",
    "answer_uncertain",
]

# Every sentence by its code, with the values that `Warned.of` takes.
WARNINGS: dict[WarningCode, str] = {
    "audio_truncated": "The audio after {end_s:.1f} s was not used; send one utterance of the {duration_s:.1f} s.",
    "audio_no_speech": "The audio holds no speech and was not judged; check the microphone, the level and the channel.",
    "audio_little_speech": "The audio holds {speech_s:.2f} s of speech, too little to judge; do not rely on results "
    "that use it.",
    "audio_channels_differ": "The audio's channels hold different sound, such as one speaker each, and were mixed; "
    "send the field `channel` with a number from 0 to judge one.",
    "audio_part_missing": "Part of the file's sound was not used: it is damaged, cut off, or on another track. "
    "Send the whole file, with one audio track.",
    "transcript_truncated": "Only the first {tokens} tokens of the transcript were used.",
    "transcript_empty": "The transcript holds only tags or invisible characters; the answer uses the audio alone.",
    "transcript_not_korean": "The transcript has hardly any Hangul, and the model reads Korean; do not rely on results "
    "that use it. Send the Korean words, or leave the transcript out.",
    "answer_uncertain": "The emotion is uncertain: answers with so low a highest probability as {confidence:.2f} were "
    "wrong at least as often as right.",
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
    """By class, calibrated on validation data; as decimals they sum to exactly 1."""


class Span(_Frozen):
    """A part of the audio, in seconds from its first sample."""

    start_s: float
    end_s: float


class AudioInfo(_Frozen):
    """The audio file, before conversion to mono 16 kHz, and what was used of it."""

    duration_s: float
    sample_rate: int
    """Hz"""
    channels: int
    channel: int | Literal["mix"] = "mix"
    """The channel that was judged, from 0, or the mix of all. A mix takes one where the channels cancel, or where no
    other holds sound."""
    speech: list[Span] | None = None
    """Where speech was found, up to the end of what was used; null where the model has no speech detector and takes the
    clip as it is."""
    speech_s: float | None = None
    """Seconds of speech; null where `speech` is."""
    used: Span | None = None
    """From the first to the last sample that the model judged; null without speech."""


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
    """Milliseconds of each stage; 0 for one that the utterance did not need."""

    decoder_queue: float
    """Waiting for a decoder."""
    decode: float
    """Tokenising the transcript, decoding the audio and searching it for speech."""
    queue: float
    """Waiting for the model."""
    inference: float
    """The batch that held the utterance."""

    @classmethod
    def of_seconds(
        cls, *, decode: float, decoder_queue: float = 0.0, queue: float = 0.0, inference: float = 0.0
    ) -> Self:
        """The same in seconds, rounded to 10 microseconds."""
        given = {"decoder_queue": decoder_queue, "decode": decode, "queue": queue, "inference": inference}
        return cls(**{stage: round(seconds * 1000, 2) for stage, seconds in given.items()})


class Answer(_Frozen):
    """The answer to one utterance."""

    arousal: float | None
    """From the audio, on the manifest's `scale`: low is calm, high is excited. Null without audio."""
    valence: float | None
    """From the transcript, on the manifest's `scale`: low is negative, high is positive. Null without a transcript."""
    emotion: Emotion | None
    """Null where there is nothing to judge: audio without speech, and no transcript."""
    modalities: list[Modality]
    """The modalities that the emotion was judged from."""
    audio: AudioInfo | None
    model: ModelName
    warnings: list[Warned]
    timing_ms: Timing
