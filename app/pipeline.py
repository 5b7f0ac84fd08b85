"""Clip and transcript to model input, prediction to answer. Pure: nothing waits here, and nothing is shared.

The service calls the steps one by one, each where it may take its time; `predict` runs them all at once, for the
command line and for training. Probabilities come from the engine, which applies the softmax temperature.
"""

import time
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from .answer import Answer, AudioInfo, Emotion, Modality, ModelName, Span, Timing, Warned
from .audio.decode import SAMPLE_RATE, Clip, Limits, decode
from .audio.speech import Segment
from .engine.detector import SpeechDetector
from .engine.engine import ModelInput, Prediction
from .engine.load import Model
from .errors import NothingGiven, TranscriptTooLong
from .hearing import Heard, hear
from .settings import Settings
from .store.manifest import Manifest
from .text import TextTokenizer, clean_transcript, is_korean

# Of a clip, for a version without a detector. Korean is spoken at five to six syllables a second: it holds two.
SHORT_S = 0.3
# Code points of a decomposed character, at most. A text that is longer by more need not be composed to be refused.
_MAX_PARTS = 4
# A fifth digit of a score means nothing, and would show the last bits, in which batches of different sizes differ.
DECIMALS = 4


@dataclass(frozen=True)
class ReadTranscript:
    """A transcript's token ids, int64 [tokens], None where there is no transcript; and its warnings."""

    input_ids: NDArray[np.int64] | None
    warnings: list[Warned]


@dataclass(frozen=True)
class Prepared:
    """The model input, and the parts of the answer that are known before the prediction.

    `given` is None where there is nothing to judge: a clip without speech, and no transcript.
    """

    given: ModelInput | None
    audio: AudioInfo | None
    warnings: list[Warned]


def predict(
    model: Model, settings: Settings, audio: BinaryIO | None, transcript: str | None, *, channel: int | None = None
) -> Answer:
    """Answers one utterance in this thread and process, without a queue. `audio` is an open file, of which `channel`,
    from 0, is used; None mixes them.

    Raises RequestError, InferenceFailed.
    """
    started = time.perf_counter()
    read = read_transcript(transcript, audio is not None, model.tokenizer, settings.max_transcript_characters)
    clip = None if audio is None else decode(audio.read(), Limits.of(settings), channel)
    prepared = prepare(clip, read, model.manifest, model.detector)
    decoded = time.perf_counter()
    prediction = None if prepared.given is None else model.predict([prepared.given])[0]
    timing = Timing.of_seconds(decode=decoded - started, inference=time.perf_counter() - decoded)
    return answer(prepared, prediction, model.manifest, timing)


def read_transcript(
    transcript: str | None, has_audio: bool, tokenizer: TextTokenizer, max_characters: int
) -> ReadTranscript:
    """Cleans and encodes a transcript. One that is empty after cleaning counts as not given. `max_characters` are those
    of the text as it was sent, but for a syllable of Hangul, which is one however it is composed.

    Raises TranscriptTooLong, and NothingGiven where there is no audio either.
    """
    characters = len(transcript or "")
    if max_characters < characters <= _MAX_PARTS * max_characters:
        characters = len(unicodedata.normalize("NFC", transcript or ""))
    if characters > max_characters:
        found = f"The transcript has {characters} characters and may have {max_characters}."
        raise TranscriptTooLong(f"{found} {TranscriptTooLong.sentence}")
    text = clean_transcript(transcript or "")
    if text:
        tokens = tokenizer.encode(text)
        warnings = [Warned.of("transcript_truncated", tokens=tokens.of_text)] if tokens.truncated else []
        if not is_korean(text):
            warnings.append(Warned.of("transcript_not_korean"))
        return ReadTranscript(tokens.ids, warnings)
    if not has_audio:
        raise NothingGiven
    return ReadTranscript(None, [Warned.of("transcript_empty")] if transcript and transcript.strip() else [])


def prepare(clip: Clip | None, read: ReadTranscript, manifest: Manifest, detector: SpeechDetector | None) -> Prepared:
    """Joins a clip, None where there is no audio, and a transcript that was read, for a version with this `detector`.

    Raises InferenceFailed.
    """
    if clip is None:
        return Prepared(ModelInput(None, read.input_ids), None, read.warnings)
    heard = hear(clip.samples, manifest.audio, detector)
    audio = AudioInfo(
        duration_s=round(clip.duration_s, DECIMALS),
        sample_rate=clip.sample_rate,
        channels=clip.channels,
        channel="mix" if clip.channel is None else clip.channel,
        speech=None if heard.speech is None else [_span(segment) for segment in heard.speech],
        speech_s=None if heard.speech_s is None else round(heard.speech_s, DECIMALS),
        used=_span(heard.used) if heard.waveform is not None else None,
    )
    warnings = [*_audio_warnings(clip, heard, manifest), *read.warnings]
    nothing = heard.waveform is None and read.input_ids is None
    return Prepared(None if nothing else ModelInput(heard.waveform, read.input_ids), audio, warnings)


def answer(prepared: Prepared, prediction: Prediction | None, manifest: Manifest, timing: Timing) -> Answer:
    """The answer to `prepared`, for which the model of `manifest` gave `prediction`; None where nothing was given."""
    given = prepared.given
    modalities: list[Modality] = []
    if given is not None and given.waveform is not None:
        modalities.append("audio")
    if given is not None and given.input_ids is not None:
        modalities.append("text")
    return Answer(
        arousal=_rounded(prediction.arousal) if prediction else None,
        valence=_rounded(prediction.valence) if prediction else None,
        emotion=_emotion(prediction, manifest) if prediction else None,
        modalities=modalities,
        audio=prepared.audio,
        model=ModelName(name=manifest.name, version=manifest.version),
        warnings=[*prepared.warnings, *_doubts(given, prediction, manifest)],
        timing_ms=timing,
    )


def _emotion(prediction: Prediction, manifest: Manifest) -> Emotion:
    classes = manifest.emotion.classes
    label = classes[int(np.argmax(prediction.probabilities))]
    return Emotion(label=label, probabilities=dict(zip(classes, _shares(prediction.probabilities), strict=True)))


def _shares(probabilities: Sequence[float]) -> list[float]:
    """`probabilities`, which sum to 1, rounded so that the decimals sum to 1 too, by the largest remainder."""
    whole = 10**DECIMALS
    parts = [divmod(whole * probability, 1) for probability in probabilities]
    missing = whole - round(sum(part for part, _ in parts))
    nearest = sorted(range(len(parts)), key=lambda at: parts[at][1], reverse=True)[:missing]
    return [(part + (at in nearest)) / whole for at, (part, _) in enumerate(parts)]


def _doubts(given: ModelInput | None, prediction: Prediction | None, manifest: Manifest) -> list[Warned]:
    bounds = manifest.emotion.uncertain_below
    if given is None or prediction is None or bounds is None:
        return []
    confidence = max(prediction.probabilities)
    return [Warned.of("answer_uncertain", confidence=confidence)] if confidence < bounds.of(given.available) else []


def _rounded(score: float | None) -> float | None:
    return None if score is None else round(score, DECIMALS)


def _span(segment: Segment) -> Span:
    start, end = segment
    return Span(start_s=round(start / SAMPLE_RATE, DECIMALS), end_s=round(end / SAMPLE_RATE, DECIMALS))


def _audio_warnings(clip: Clip, heard: Heard, manifest: Manifest) -> list[Warned]:
    warnings = []
    speech = manifest.audio.speech
    speech_s, least_s = (clip.duration_s, SHORT_S) if speech is None else (heard.speech_s or 0.0, speech.least_s)
    if heard.waveform is None:
        warnings.append(Warned.of("audio_no_speech"))
    elif speech_s < least_s:
        warnings.append(Warned.of("audio_little_speech", speech_s=speech_s))
    if heard.truncated:
        end_s = heard.used.end / SAMPLE_RATE
        warnings.append(Warned.of("audio_truncated", end_s=end_s, duration_s=clip.duration_s))
    if clip.channels_differ:
        warnings.append(Warned.of("audio_channels_differ"))
    if clip.part_missing:
        warnings.append(Warned.of("audio_part_missing"))
    return warnings
