"""From an audio file and a transcript to an answer: decode, tokenise, wait, infer. Nothing of HTTP.

Decoding and tokenising happen in worker threads before the queue, so that a bad clip fails alone.
"""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from app.audio import SAMPLE_RATE, Clip, decode
from app.batcher import Answered, Batcher
from app.engine import Prediction, Utterance
from app.errors import NothingGiven, NotReady, QueueFull, TranscriptTooLong
from app.manifest import Manifest
from app.model import Model
from app.schemas import Answer, AudioInfo, Emotion, Modality, ModelName, Timing, Warned
from app.settings import Settings
from app.transcript import clean_transcript

# Half the distance between the highest and the lowest sample, so that an offset is no sound. -60 dB of full scale: the
# quietest speech of a usable recording peaks some 20 dB above, the noise of an open microphone lies below.
SILENT_PEAK = 0.001
# Korean is spoken at five to six syllables a second: less than this is not even two.
SHORT_S = 0.3
# A fifth digit of a score means nothing, and hides the last bits in which batches of different sizes differ.
DECIMALS = 4


@dataclass(frozen=True)
class _Prepared:
    utterance: Utterance
    audio: AudioInfo | None
    warnings: list[Warned]
    decode_s: float


class Pipeline:
    """Answers utterances with one model. `predict` serves many at once; `predict_sync` is for the command line."""

    def __init__(self, model: Model, settings: Settings) -> None:
        self.model = model
        self._settings = settings
        self._preparing = 0
        self._workers = ThreadPoolExecutor(settings.decoders, thread_name_prefix="decode")
        self._batcher: Batcher[Utterance, Prediction] | None = None

    @property
    def alive(self) -> bool:
        """Whether `predict` will answer."""
        return self._batcher is not None and self._batcher.alive

    def start(self) -> None:
        """Begins to serve. Called inside the event loop."""
        self._batcher = Batcher(
            self.model.runners,
            lambda utterance: positions(self.model.manifest, utterance),
            max_batch=self._settings.max_batch if self.model.provider == "cuda" else 1,
            max_cost=self._settings.max_batch_positions,
            max_queue=self._settings.max_queue,
        )
        self._batcher.start()

    async def close(self) -> None:
        """Takes nothing more and answers what waits."""
        if self._batcher is not None:
            await self._batcher.close()
        self._workers.shutdown()

    async def predict(self, audio: BinaryIO | None, transcript: str | None) -> Answer:
        """Answers one utterance. `audio` is an open file, read in a worker thread.

        Raises RequestError, NotReady, InferenceFailed.
        """
        if self._batcher is None:
            raise NotReady
        # Whoever is being decoded will wait next, and counts: the bound must hold for uploads in memory too.
        if self._preparing + self._batcher.waiting >= self._settings.max_queue:
            raise QueueFull
        self._preparing += 1
        try:
            loop = asyncio.get_running_loop()
            prepared = await loop.run_in_executor(self._workers, self._prepare, audio, transcript)
        finally:
            self._preparing -= 1
        return self._answer(prepared, await self._batcher.submit(prepared.utterance))

    def predict_sync(self, audio: BinaryIO | None, transcript: str | None) -> Answer:
        """As `predict`, here and now, without a queue. Raises RequestError, InferenceFailed."""
        prepared = self._prepare(audio, transcript)
        started = time.perf_counter()
        (prediction,) = self.model.predict([prepared.utterance])
        return self._answer(prepared, Answered(prediction, 0.0, time.perf_counter() - started))

    def _prepare(self, audio: BinaryIO | None, transcript: str | None) -> _Prepared:
        """Decodes and tokenises. A transcript that is blank after cleaning counts as not given."""
        started = time.perf_counter()
        limit = self._settings.max_transcript_characters
        if transcript is not None and len(transcript) > limit:
            raise TranscriptTooLong(f"The transcript has {len(transcript)} characters and may have {limit}.")
        text = clean_transcript(transcript or "")
        warnings: list[Warned] = []
        info = waveform = input_ids = None
        if audio is not None:
            clip = decode(audio.read())
            warnings += self._audio_warnings(clip)
            # Copied, so that a long clip is not kept in memory while the part that is heard waits.
            waveform = clip.samples[: self.model.manifest.audio.taken_samples].copy()
            duration_s = round(clip.duration_s, DECIMALS)
            info = AudioInfo(duration_s=duration_s, sample_rate=clip.sample_rate, channels=clip.channels)
        if text.strip():
            tokens = self.model.tokenizer.encode(text)
            input_ids = tokens.ids
            if tokens.truncated:
                detail = f"The model read the first {len(input_ids)} tokens of the transcript; the rest was left out."
                warnings.append(Warned(code="transcript_truncated", detail=detail))
        elif waveform is None:
            raise NothingGiven
        elif transcript and transcript.strip():
            detail = "The transcript holds only transcription tags; the answer is judged by the voice alone."
            warnings.append(Warned(code="transcript_empty", detail=detail))
        return _Prepared(Utterance(waveform, input_ids), info, warnings, time.perf_counter() - started)

    def _audio_warnings(self, clip: Clip) -> list[Warned]:
        warnings = []
        max_samples = self.model.manifest.audio.max_samples
        if len(clip.samples) > max_samples:
            detail = f"The model heard the first {max_samples / SAMPLE_RATE:.1f} s of {clip.duration_s:.1f} s."
            warnings.append(Warned(code="audio_truncated", detail=detail))
        if np.ptp(clip.samples[:max_samples]) / 2 < SILENT_PEAK:
            detail = "The audio is silent, or nearly; arousal and emotion mean little."
            warnings.append(Warned(code="audio_silent", detail=detail))
        if clip.duration_s < SHORT_S:
            detail = f"The audio lasts {clip.duration_s:.2f} s, too short to judge; arousal and emotion mean little."
            warnings.append(Warned(code="audio_too_short", detail=detail))
        return warnings

    def _answer(self, prepared: _Prepared, answered: Answered[Prediction]) -> Answer:
        manifest, prediction = self.model.manifest, answered.result
        rounded = [round(probability, DECIMALS) for probability in prediction.probabilities]
        modalities: list[Modality] = ["audio"] if prepared.audio is not None else []
        if prepared.utterance.input_ids is not None:
            modalities.append("text")
        return Answer(
            arousal=None if prediction.arousal is None else round(prediction.arousal, DECIMALS),
            valence=None if prediction.valence is None else round(prediction.valence, DECIMALS),
            emotion=Emotion(
                label=manifest.emotion.classes[int(np.argmax(prediction.probabilities))],
                probabilities=dict(zip(manifest.emotion.classes, rounded, strict=True)),
            ),
            modalities=modalities,
            audio=prepared.audio,
            model=ModelName(name=manifest.name, version=manifest.version),
            warnings=prepared.warnings,
            timing_ms=Timing(
                decode=_milliseconds(prepared.decode_s),
                queue=_milliseconds(answered.queue_s),
                inference=_milliseconds(answered.run_s),
            ),
        )


def positions(manifest: Manifest, utterance: Utterance) -> int:
    """Frames and tokens of an utterance: what it costs, padding to its neighbours aside."""
    waveform, input_ids = utterance.waveform, utterance.input_ids
    frames = 0 if waveform is None else 1 + len(waveform) // manifest.audio.hop_length
    tokens = 0 if input_ids is None else len(input_ids)
    if manifest.semantics == "original":  # its graphs pad everything to the maximum
        return max(frames, manifest.audio.max_frames) + manifest.text.max_tokens
    return frames + tokens


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 2)
