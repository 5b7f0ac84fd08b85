"""Clip and transcript to model input, prediction to answer. Pure: nothing waits here, and nothing is shared.

The service calls the steps one by one, each where it may take its time; `predict` runs them all at once, for the
command line and for training. Probabilities come from the engine, which applies the softmax temperature.
"""

import time
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from .answer import Answer, AudioInfo, Emotion, Modality, ModelName, Timing, Warned
from .audio.decode import SAMPLE_RATE, Clip, Limits, decode
from .engine.engine import ModelInput, Prediction
from .engine.load import Model
from .errors import NothingGiven, TranscriptTooLong
from .settings import Settings
from .store.manifest import Manifest
from .text import TextTokenizer, clean_transcript

# Half the distance between the highest and the lowest sample, so that an offset is no sound. -60 dB of full scale: the
# quietest speech of a usable recording peaks some 20 dB above, the noise of an open microphone lies below.
SILENT_PEAK = 0.001
# Korean is spoken at five to six syllables a second: a shorter clip does not hold two.
SHORT_S = 0.3
# A fifth digit of a score means nothing, and would show the last bits, in which batches of different sizes differ.
DECIMALS = 4


@dataclass(frozen=True)
class ReadTranscript:
    """A transcript's token ids, int64 [tokens], None where there is no transcript; and its warnings."""

    input_ids: NDArray[np.int64] | None
    warnings: list[Warned]


@dataclass(frozen=True)
class Prepared:
    """The model input, and the parts of the answer that are known before the prediction."""

    given: ModelInput
    audio: AudioInfo | None
    warnings: list[Warned]


def predict(model: Model, settings: Settings, audio: BinaryIO | None, transcript: str | None) -> Answer:
    """Answers one utterance in this thread and process, without a queue. `audio` is an open file.

    Raises RequestError, InferenceFailed.
    """
    started = time.perf_counter()
    read = read_transcript(transcript, audio is not None, model.tokenizer, settings.max_transcript_characters)
    clip = None if audio is None else decode(audio.read(), Limits.of(settings))
    prepared = prepare(clip, read, model.manifest)
    decoded = time.perf_counter()
    (prediction,) = model.predict([prepared.given])
    timing = Timing.of_seconds(decode=decoded - started, queue=0.0, inference=time.perf_counter() - decoded)
    return answer(prepared, prediction, model.manifest, timing)


def read_transcript(
    transcript: str | None, has_audio: bool, tokenizer: TextTokenizer, max_characters: int
) -> ReadTranscript:
    """Cleans and encodes a transcript. One that is blank after cleaning counts as not given.

    Raises TranscriptTooLong, and NothingGiven where there is no audio either.
    """
    if transcript is not None and len(transcript) > max_characters:
        found = f"The transcript has {len(transcript)} characters and may have {max_characters}."
        raise TranscriptTooLong(f"{found} {TranscriptTooLong.sentence}")
    text = clean_transcript(transcript or "")
    if text.strip():
        tokens = tokenizer.encode(text)
        warnings = [Warned.of("transcript_truncated", tokens=len(tokens.ids))] if tokens.truncated else []
        return ReadTranscript(tokens.ids, warnings)
    if not has_audio:
        raise NothingGiven
    return ReadTranscript(None, [Warned.of("transcript_empty")] if transcript and transcript.strip() else [])


def prepare(clip: Clip | None, read: ReadTranscript, manifest: Manifest) -> Prepared:
    """Joins a clip, None where there is no audio, and a transcript that was read."""
    if clip is None:
        return Prepared(ModelInput(None, read.input_ids), None, read.warnings)
    # A copy, so that a long clip is not kept in memory while the part that the model takes waits.
    waveform = clip.samples[: manifest.audio.taken_samples].copy()
    audio = AudioInfo(duration_s=round(clip.duration_s, DECIMALS), sample_rate=clip.sample_rate, channels=clip.channels)
    warnings = [*_audio_warnings(clip, manifest), *read.warnings]
    return Prepared(ModelInput(waveform, read.input_ids), audio, warnings)


def answer(prepared: Prepared, prediction: Prediction, manifest: Manifest, timing: Timing) -> Answer:
    """The answer to `prepared`, for which the model of `manifest` gave `prediction`."""
    classes = manifest.emotion.classes
    rounded = [round(probability, DECIMALS) for probability in prediction.probabilities]
    modalities: list[Modality] = ["audio"] if prepared.audio is not None else []
    if prepared.given.input_ids is not None:
        modalities.append("text")
    return Answer(
        arousal=None if prediction.arousal is None else round(prediction.arousal, DECIMALS),
        valence=None if prediction.valence is None else round(prediction.valence, DECIMALS),
        emotion=Emotion(
            label=classes[int(np.argmax(prediction.probabilities))],
            probabilities=dict(zip(classes, rounded, strict=True)),
        ),
        modalities=modalities,
        audio=prepared.audio,
        model=ModelName(name=manifest.name, version=manifest.version),
        warnings=prepared.warnings,
        timing_ms=timing,
    )


def _audio_warnings(clip: Clip, manifest: Manifest) -> list[Warned]:
    warnings = []
    max_samples = manifest.audio.max_samples
    if len(clip.samples) > max_samples:
        used_s = max_samples / SAMPLE_RATE
        warnings.append(Warned.of("audio_truncated", used_s=used_s, duration_s=clip.duration_s))
    if np.ptp(clip.samples[:max_samples]) / 2 < SILENT_PEAK:
        warnings.append(Warned.of("audio_silent"))
    if clip.duration_s < SHORT_S:
        warnings.append(Warned.of("audio_too_short", duration_s=clip.duration_s))
    if clip.part_missing:
        warnings.append(Warned.of("audio_part_missing"))
    return warnings
