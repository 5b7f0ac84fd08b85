"""From an audio file and a transcript to an answer: tokenise, decode, wait, infer. Nothing of HTTP.

Tokenising happens in threads and decoding in processes of their own, both before the queue, so that a bad clip fails
alone.
"""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from .answer import (
    Answer,
    AudioInfo,
    Emotion,
    Modality,
    ModelName,
    Timing,
    Warned,
)
from .audio.decode import SAMPLE_RATE, Clip, Limits, decode
from .audio.pool import Decoders
from .engine.batcher import Answered, Batcher
from .engine.engine import Prediction, Utterance
from .engine.load import Model
from .errors import (
    NothingGiven,
    NotReady,
    QueueFull,
    TranscriptTooLong,
)
from .settings import Settings
from .store.manifest import Manifest
from .text import clean_transcript

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
    """Answers utterances with one model. `predict` serves many at once; `predict_sync` is for the command line.

    Without `decoders`, clips are decoded in this process, which is for those who know their files. `on_batch` is told
    the size of each batch.
    """

    def __init__(
        self,
        model: Model,
        settings: Settings,
        decoders: Decoders | None = None,
        on_batch: Callable[[int], None] = lambda size: None,
    ) -> None:
        self.model = model
        self._settings = settings
        self._limits = Limits.of(settings)
        self._decoders = decoders
        self._on_batch = on_batch
        self._preparing = 0
        self._active = 0
        self._idle = asyncio.Event()
        self._closing = False
        self._workers = ThreadPoolExecutor(settings.decoders, thread_name_prefix="prepare")
        self._batcher: Batcher[Utterance, Prediction] | None = None

    @property
    def alive(self) -> bool:
        """Whether `predict` will answer."""
        return self._batcher is not None and self._batcher.alive and not self._closing

    @property
    def waiting(self) -> int:
        """Utterances that are being decoded or wait for the model."""
        return self._preparing + (self._batcher.waiting if self._batcher is not None else 0)

    @property
    def full(self) -> bool:
        """Whether as many wait as may, or as long. Whoever is being decoded will wait next, and counts."""
        waiting = self.waiting
        if waiting >= self._settings.max_queue:
            return True
        return self._batcher is not None and self._batcher.expected_wait_s(waiting) > self._settings.max_wait_s

    @property
    def oldest_s(self) -> float:
        """Seconds that the utterance which waits longest for the model has waited."""
        return self._batcher.oldest_s if self._batcher is not None else 0.0

    def start(self) -> None:
        """Begins to serve. Called inside the event loop."""
        self._batcher = Batcher(
            self.model.runners,
            partial(positions, self.model.manifest),  # without self, which would keep the model until a collection
            max_batch=self._settings.max_batch if self.model.provider == "cuda" else 1,
            max_cost=self._settings.max_batch_positions,
            max_queue=self._settings.max_queue,
            on_batch=self._on_batch,
        )
        self._batcher.start()

    async def close(self) -> None:
        """Takes nothing more and answers what was taken."""
        self._closing = True
        while self._active:
            self._idle.clear()
            await self._idle.wait()
        if self._batcher is not None:
            await self._batcher.close()
        self._workers.shutdown()

    async def predict(self, audio: BinaryIO | None, transcript: str | None) -> Answer:
        """Answers one utterance. `audio` is an open file.

        Raises RequestError, NotReady, DecoderUnavailable, InferenceFailed.
        """
        if self._batcher is None or not self.alive:
            raise NotReady
        if self.full:
            raise QueueFull
        self._active += 1
        try:
            prepared = await self._prepare(audio, transcript)
            return self._answer(prepared, await self._batcher.submit(prepared.utterance))
        finally:
            self._active -= 1
            self._idle.set()

    def predict_sync(self, audio: BinaryIO | None, transcript: str | None) -> Answer:
        """As `predict`, here and now, without a queue. Raises RequestError, InferenceFailed."""
        started = time.perf_counter()
        read = self._read(transcript, audio is not None)
        clip = None if audio is None else decode(audio.read(), self._limits)
        prepared = self._join(clip, *read, time.perf_counter() - started)
        started = time.perf_counter()
        (prediction,) = self.model.predict([prepared.utterance])
        return self._answer(prepared, Answered(prediction, 0.0, time.perf_counter() - started))

    async def _prepare(self, audio: BinaryIO | None, transcript: str | None) -> _Prepared:
        """Tokenises and decodes, the words first: they are cheap, and a wrong one saves the decoder the work."""
        started = time.perf_counter()
        loop = asyncio.get_running_loop()
        self._preparing += 1
        try:
            read = await loop.run_in_executor(self._workers, self._read, transcript, audio is not None)
            clip = None
            if audio is not None:
                if self._decoders is not None:
                    clip = await self._decoders.decode(audio.read())
                else:
                    clip = await loop.run_in_executor(self._workers, decode, audio.read(), self._limits)
        finally:
            self._preparing -= 1
        return self._join(clip, *read, time.perf_counter() - started)

    def _read(self, transcript: str | None, has_audio: bool) -> tuple[NDArray[np.int64] | None, list[Warned]]:
        """The transcript's tokens. One that is blank after cleaning counts as not given."""
        limit = self._settings.max_transcript_characters
        if transcript is not None and len(transcript) > limit:
            raise TranscriptTooLong(f"The transcript has {len(transcript)} characters and may have {limit}.")
        text = clean_transcript(transcript or "")
        if text.strip():
            tokens = self.model.tokenizer.encode(text)
            if not tokens.truncated:
                return tokens.ids, []
            detail = f"The model read the first {len(tokens.ids)} tokens of the transcript; the rest was left out."
            return tokens.ids, [Warned(code="transcript_truncated", detail=detail)]
        if not has_audio:
            raise NothingGiven
        if transcript and transcript.strip():
            detail = "The transcript holds only transcription tags; the answer is judged by the voice alone."
            return None, [Warned(code="transcript_empty", detail=detail)]
        return None, []

    def _join(
        self, clip: Clip | None, input_ids: NDArray[np.int64] | None, warnings: list[Warned], decode_s: float
    ) -> _Prepared:
        if clip is None:
            return _Prepared(Utterance(None, input_ids), None, warnings, decode_s)
        # Copied, so that a long clip is not kept in memory while the part that is heard waits.
        waveform = clip.samples[: self.model.manifest.audio.taken_samples].copy()
        duration_s = round(clip.duration_s, DECIMALS)
        info = AudioInfo(duration_s=duration_s, sample_rate=clip.sample_rate, channels=clip.channels)
        return _Prepared(Utterance(waveform, input_ids), info, self._audio_warnings(clip) + warnings, decode_s)

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
