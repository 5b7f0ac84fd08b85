"""The model's life in a service: loaded, ready, exchanged for another, drained. Nothing of HTTP.

`Serving` is one model with its queue, `Service` the model that is served at the time.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import BinaryIO

from . import pipeline
from .answer import Answer, Timing
from .audio.decode import Limits
from .audio.pool import Decoders
from .engine.batcher import Batcher
from .engine.engine import ModelInput, Prediction
from .engine.load import Model, load_model
from .errors import (
    DecoderUnavailable,
    InternalError,
    MaeumError,
    NotReady,
    QueueFull,
    ReloadFailed,
    traceback_without_values,
)
from .settings import Settings
from .store.manifest import Manifest
from .telemetry.metrics import Metrics
from .telemetry.stopwatch import Stopwatch

_log = logging.getLogger(__name__)

_TICK_S = 1.0  # how often the gauges of what waits are brought up to date
_CHECK_S = 5.0  # how often decoders that failed are tried again
_LOOP_TICK_S = 0.1  # how often the event loop's delay is measured
# Of the longest wait, where all have been busy for that long: that is no burst, which would pass.
_STANDING = 0.5


class Serving:
    """One model that is served, with its queue. Made and used in one event loop.

    Transcripts are read in threads and clips decoded by `decoders`, both before the queue, so that a bad clip fails
    alone. `on_batch` gets the size of each batch.
    """

    def __init__(
        self, model: Model, settings: Settings, decoders: Decoders, on_batch: Callable[[int], None] = lambda size: None
    ) -> None:
        self.model = model
        self._settings = settings
        self._decoders = decoders
        self._reading = self._clips = 0  # transcripts that are read, clips that are decoded or wait for that
        self._idle_at = time.perf_counter()  # when there was last seen to be less work than could be done
        self._active = 0
        self._idle = asyncio.Event()
        self._closing = False
        self._readers = ThreadPoolExecutor(settings.decoders, thread_name_prefix="read")
        manifest = model.manifest  # for the cost: with self in it, the model would stay in memory until a collection
        self._batcher = Batcher[ModelInput, Prediction](
            model.runners,
            lambda given: given.positions(manifest),
            max_batch=settings.max_batch if model.provider == "cuda" else 1,
            max_cost=settings.max_batch_positions,
            on_batch=on_batch,
        )
        self._batcher.start()

    @property
    def alive(self) -> bool:
        """Whether `predict` will answer."""
        return self._batcher.alive and not self._closing

    @property
    def waiting(self) -> int:
        """Utterances that are being prepared or wait for the model."""
        return self._reading + self._clips + self._batcher.waiting

    @property
    def oldest_s(self) -> float:
        """Seconds that the utterance which waits longest, for a decoder or for the model, has waited."""
        return max(self._decoders.oldest_s, self._batcher.oldest_s)

    def check_room(self, has_audio: bool, arriving: int = 0) -> None:
        """Raises QueueFull where as many wait as may, or where one more would wait too long, behind `arriving` others
        of which it is not known yet what they are.

        A clip waits for a decoder and then for the model, behind all that are here already; the slower of the two
        decides. A transcript passes the clips that are not decoded yet.
        """
        ahead = self._reading + self._batcher.waiting + (self._clips if has_audio else 0)
        wait_s = self._batcher.expected_wait_s(ahead + arriving)
        if has_audio:
            wait_s = max(wait_s, self._decoders.expected_wait_s())
        if ahead >= self._settings.max_queue or wait_s > self._longest_wait_s():
            raise QueueFull

    def _longest_wait_s(self) -> float:
        """The longest wait for which an utterance is accepted now.

        A burst finds a service that has time left and may fill its queue, since it passes. Under a lasting overload a
        long queue answers nobody sooner, so it is kept short ("controlled delay").
        """
        most = self._settings.max_wait_s
        now = time.perf_counter()
        if self._batcher.idle and self._decoders.idle:
            self._idle_at = now
        return most if now - self._idle_at <= most else _STANDING * most

    async def predict(
        self, audio: BinaryIO | None, transcript: str | None, stopwatch: Stopwatch, *, channel: int | None = None
    ) -> Answer:
        """Answers one utterance. `audio` is an open file, of which `channel` is used; None mixes them.

        Raises RequestError, NotReady, DecoderUnavailable, InferenceFailed.
        """
        if not self.alive:
            raise NotReady
        self.check_room(audio is not None)
        self._active += 1
        try:
            prepared = await self._prepare(audio, transcript, channel, stopwatch)
            prediction = None
            if prepared.given is not None:
                stopwatch.begin("queue")
                prediction = await self._batcher.submit(prepared.given, lambda: stopwatch.begin("inference"))
            stopwatch.stop()
            timing = Timing.of_seconds(**stopwatch.seconds())
            return pipeline.answer(prepared, prediction, self.model.manifest, timing)
        finally:
            stopwatch.stop()
            self._active -= 1
            self._idle.set()

    async def close(self) -> None:
        """Takes nothing more and answers what was taken."""
        self._closing = True
        while self._active:
            self._idle.clear()
            await self._idle.wait()
        await self._batcher.close()
        self._readers.shutdown(wait=False)  # nothing runs in it any more

    async def _prepare(
        self, audio: BinaryIO | None, transcript: str | None, channel: int | None, stopwatch: Stopwatch
    ) -> pipeline.Prepared:
        """The transcript first: reading it is cheap, and a wrong one saves the decoder the work."""
        model, most = self.model, self._settings.max_transcript_characters
        self._reading += 1
        try:
            stopwatch.begin("decode")
            read = await asyncio.get_running_loop().run_in_executor(
                self._readers, pipeline.read_transcript, transcript, audio is not None, model.tokenizer, most
            )
        finally:
            self._reading -= 1
        if audio is None:
            return pipeline.prepare(None, read, model.manifest, None)
        self._clips += 1
        try:
            stopwatch.begin("decoder_queue")
            return await self._decoders.decode_and(
                lambda clip: pipeline.prepare(clip, read, model.manifest, model.detector),
                audio.read(),
                channel,
                begins=lambda: stopwatch.begin("decode"),
            )
        finally:
            self._clips -= 1


class Service:
    """Answers utterances with one model at a time. Used in one event loop.

    `model` is served in place of the settings' model.
    """

    def __init__(self, settings: Settings, metrics: Metrics, model: Model | None = None) -> None:
        self.metrics = metrics
        self.draining = False
        """Whether the service is about to stop: it answers, but is not ready."""
        self._settings = settings
        self._given = model
        self._serving: Serving | None = None
        self._failure: MaeumError | None = None
        self._loader: threading.Thread | None = None
        self._reloading = asyncio.Lock()
        self._reload_waits = False
        self._tasks: set[asyncio.Task[object]] = set()
        self._decoders = Decoders(
            settings.decoders,
            Limits.of(settings),
            settings.decode_timeout_s,
            settings.decode_memory_bytes,
            metrics.decoder_restarted,
        )

    def start(self, on_loaded: Callable[[Model | MaeumError], None] | None = None) -> None:
        """Begins to load the model. `on_loaded` gets the model, or why there is none."""
        if self._given is None:  # else there is no loading, during which they could start: the first clip starts them
            self._decoders.start()
        self._run(self._load(on_loaded))
        self._run(self._watch())
        self._run(self._watch_decoders())
        self._run(self._watch_loop())

    @property
    def model(self) -> Model:
        """The model that answers now. Raises NotReady."""
        return self._ready().model

    @property
    def loading(self) -> bool:
        """Whether a thread loads a model, perhaps from a store that does not answer. It outlives the service."""
        return self._loader is not None and self._loader.is_alive()

    @property
    def ready(self) -> bool:
        """Whether a model answers now."""
        return self._failure is None and self._serving is not None and self._serving.alive

    def check_ready(self) -> None:
        """Raises NotReady unless new requests should come here."""
        if self.draining:
            raise NotReady("The service is about to stop; ask another one.")
        self._ready()
        if self._decoders.failure is not None:
            raise NotReady("No audio can be decoded at the moment; the log says more.")

    def check_room(self, has_audio: bool, arriving: int = 0) -> None:
        """Raises NotReady or QueueFull where a request would be refused anyway; `has_audio`: whether it surely has.

        `arriving`: the requests that are let in and whose bodies are not here yet.
        """
        self._ready().check_room(has_audio, arriving)

    def measure(self) -> None:
        """Brings the gauges up to date with what waits."""
        serving = self._serving
        self.metrics.ready(self.ready and self._decoders.failure is None and not self.draining)
        if serving is not None:
            for_decoder = self._decoders.waiting
            self.metrics.waiting(
                serving.waiting, serving.oldest_s, self._decoders.busy - for_decoder, for_decoder=for_decoder
            )

    async def predict(
        self,
        audio: BinaryIO | None,
        transcript: str | None,
        stopwatch: Stopwatch | None = None,
        *,
        channel: int | None = None,
    ) -> Answer:
        """Answers one utterance. `audio` is an open file, of which `channel`, from 0, is used; None mixes them.

        `stopwatch` has the stages also where it fails or is cancelled. Raises RequestError, ServiceError.
        """
        answer = await self._ready().predict(audio, transcript, stopwatch or Stopwatch(), channel=channel)
        self.metrics.answered(answer)
        return answer

    def reload_soon(self) -> None:
        """Exchanges the model, as `reload` does, once a loading that is under way has ended, and logs how it ends."""
        if not self._reload_waits:  # one that has not begun serves several calls
            self._reload_waits = True
            self._run(self._reload_logged())

    async def reload(self, model: str | None = None) -> Manifest:
        """Loads `model` (NAME or NAME/VERSION; the settings' where None) and serves it from then on.

        Meanwhile the model before answers, and it still answers every request it has taken: none fails. Both are in
        memory for a while. Raises ReloadFailed, and then the model before is still served.
        """
        if self._reloading.locked():
            raise ReloadFailed(f"Another exchange is under way. {ReloadFailed.sentence}")
        async with self._reloading:
            return await self._exchange(model)

    async def close(self) -> None:
        """Takes nothing more, answers what waits, and ends."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._serving is not None:
            await self._serving.close()
        await asyncio.to_thread(self._decoders.close)
        self.metrics.close()

    def _ready(self) -> Serving:
        """The model and queue that answer now. Raises NotReady."""
        if self._failure is not None:
            raise NotReady(f"The model cannot be loaded ({self._failure.code}); the log says more.")
        if self._serving is None or not self._serving.alive:
            raise NotReady
        return self._serving

    async def _load(self, on_loaded: Callable[[Model | MaeumError], None] | None) -> None:
        outcome: Model | MaeumError
        async with self._reloading:
            try:
                outcome = self._given or await self._loaded(self._settings)
                failure = None if self._given else await self._check_decoders()
                self._serve(outcome)
                outcome = failure or outcome
            except MaeumError as error:
                outcome = self._failure = error
                _log.error("The model cannot be loaded: %s", error)
        if on_loaded is not None:
            on_loaded(outcome)

    async def _loaded(self, settings: Settings) -> Model:
        """The model of `settings`. Raises MaeumError.

        The thread that loads it is not waited for at the end of the process, as that of a pool would be: a store that
        does not answer may hold it for minutes.
        """
        outcome: Future[Model] = Future()

        def load() -> None:
            try:
                model = load_model(settings)
            except BaseException as error:  # noqa: BLE001 # handed on to the one who waits
                outcome.set_exception(error)
            else:
                outcome.set_result(model)

        outcome.set_running_or_notify_cancel()
        self._loader = threading.Thread(target=load, name="load", daemon=True)
        self._loader.start()
        try:
            return await asyncio.wrap_future(outcome)
        except MaeumError:
            raise
        except Exception as error:  # whatever it is, the model before is to be served on
            _log.error("Loading failed.\n%s", traceback_without_values(error))
            raise InternalError(f"Loading failed unexpectedly ({type(error).__name__}).") from error

    async def _check_decoders(self) -> DecoderUnavailable | None:
        """Why no clip can be decoded, if so."""
        try:
            await self._decoders.check()
        except DecoderUnavailable:
            return DecoderUnavailable(f"No audio can be decoded: {self._decoders.failure}.")
        return None

    def _serve(self, model: Model) -> None:
        self._serving = Serving(model, self._settings, self._decoders, self.metrics.batch)
        self.metrics.model(model.manifest.name, model.manifest.version, model.precision, model.provider)

    async def _exchange(self, model: str | None) -> Manifest:
        settings = self._settings if model is None else self._settings.model_copy(update={"model": model})
        try:
            fresh = await self._loaded(settings)
        except MaeumError as error:
            self.metrics.reloaded("failed")
            raise ReloadFailed(f"{error} {ReloadFailed.sentence}") from error
        before, self._failure = [self._serving], None
        self._serve(fresh)
        self.metrics.reloaded("exchanged")
        for serving in filter(None, before):
            await serving.close()
            del serving
        await asyncio.to_thread(before.clear)  # to free a model takes milliseconds
        return fresh.manifest

    async def _reload_logged(self) -> None:
        async with self._reloading:
            self._reload_waits = False
            try:
                manifest = await self._exchange(None)
                _log.info("%s/%s is served now.", manifest.name, manifest.version)
            except ReloadFailed as error:
                _log.error("%s", error)

    async def _watch(self) -> None:
        while True:
            self.measure()
            await asyncio.sleep(_TICK_S)

    async def _watch_decoders(self) -> None:
        """Tries those that failed again: while it is not ready, the service may get no clip that would."""
        while True:
            await asyncio.sleep(_CHECK_S)
            if self._decoders.failure is not None:
                with suppress(DecoderUnavailable):
                    await self._decoders.check()

    async def _watch_loop(self) -> None:
        while True:
            due = time.perf_counter() + _LOOP_TICK_S
            await asyncio.sleep(_LOOP_TICK_S)
            self.metrics.loop_delayed(time.perf_counter() - due)

    def _run(self, work: "asyncio._CoroutineLike[object]") -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
