"""The model's life in a service: loaded, ready, exchanged for another, drained. Nothing of HTTP.

`Serving` is one model with its queue, `Service` the model that is served at the time.
"""

import asyncio
import functools
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

_log = logging.getLogger(__name__)

_TICK_S = 1.0  # how often the gauges of what waits are brought up to date
_CHECK_S = 5.0  # how often decoders that failed are tried again


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
        self._preparing = 0
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
        return self._preparing + self._batcher.waiting

    @property
    def oldest_s(self) -> float:
        """Seconds that the utterance which waits longest for the model has waited."""
        return self._batcher.oldest_s

    def check_room(self) -> None:
        """Raises QueueFull where as many wait as may, or where one more would wait too long.

        An utterance that is being prepared counts: it waits next.
        """
        ahead = self.waiting
        if ahead >= self._settings.max_queue or self._batcher.expected_wait_s(ahead) > self._settings.max_wait_s:
            raise QueueFull

    async def predict(self, audio: BinaryIO | None, transcript: str | None, *, channel: int | None = None) -> Answer:
        """Answers one utterance. `audio` is an open file, of which `channel` is used; None mixes them.

        Raises RequestError, NotReady, DecoderUnavailable, InferenceFailed.
        """
        if not self.alive:
            raise NotReady
        self.check_room()
        self._active += 1
        try:
            started = time.perf_counter()
            prepared = await self._prepare(audio, transcript, channel)
            decode_s = time.perf_counter() - started
            manifest = self.model.manifest
            if prepared.given is None:
                timing = Timing.of_seconds(decode=decode_s, queue=0.0, inference=0.0)
                return pipeline.answer(prepared, None, manifest, timing)
            answered = await self._batcher.submit(prepared.given)
            timing = Timing.of_seconds(decode=decode_s, queue=answered.queue_s, inference=answered.run_s)
            return pipeline.answer(prepared, answered.result, manifest, timing)
        finally:
            self._active -= 1
            self._idle.set()

    async def close(self) -> None:
        """Takes nothing more and answers what was taken."""
        self._closing = True
        while self._active:
            self._idle.clear()
            await self._idle.wait()
        await self._batcher.close()
        self._readers.shutdown()

    async def _prepare(self, audio: BinaryIO | None, transcript: str | None, channel: int | None) -> pipeline.Prepared:
        """The transcript first: reading it is cheap, and a wrong one saves the decoder the work."""
        model, most = self.model, self._settings.max_transcript_characters
        self._preparing += 1
        try:
            in_thread = functools.partial(asyncio.get_running_loop().run_in_executor, self._readers)
            read = await in_thread(pipeline.read_transcript, transcript, audio is not None, model.tokenizer, most)
            clip = None if audio is None else await self._decoders.decode(audio.read(), channel)
            return await in_thread(pipeline.prepare, clip, read, model.manifest, model.detector)
        finally:
            self._preparing -= 1


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

    @property
    def model(self) -> Model:
        """The model that answers now. Raises NotReady."""
        return self._ready().model

    @property
    def loading(self) -> bool:
        """Whether a thread loads a model, perhaps from a store that does not answer. It outlives the service."""
        return self._loader is not None and self._loader.is_alive()

    def check_ready(self) -> None:
        """Raises NotReady unless new requests should come here."""
        if self.draining:
            raise NotReady("The service is about to stop; ask another one.")
        self._ready()
        if self._decoders.failure is not None:
            raise NotReady("No audio can be decoded at the moment; the log says more.")

    def check_room(self) -> None:
        """Raises NotReady or QueueFull where a request would be refused anyway."""
        self._ready().check_room()

    def measure(self) -> None:
        """Brings the gauges up to date with what waits."""
        serving = self._serving
        decodes = self._decoders.failure is None
        self.metrics.ready(serving is not None and serving.alive and decodes and not self.draining)
        if serving is not None:
            self.metrics.waiting(serving.waiting, serving.oldest_s, self._decoders.busy)

    async def predict(self, audio: BinaryIO | None, transcript: str | None, *, channel: int | None = None) -> Answer:
        """Answers one utterance. `audio` is an open file, of which `channel`, from 0, is used; None mixes them.

        Raises RequestError, ServiceError.
        """
        answer = await self._ready().predict(audio, transcript, channel=channel)
        self.metrics.answered(answer)
        return answer

    def reload_soon(self) -> None:
        """Begins to exchange the model, as `reload` does, and logs how it ends."""
        self._run(self._reload_logged())

    async def reload(self, model: str | None = None) -> Manifest:
        """Loads `model` (NAME or NAME/VERSION; the settings' where None) and serves it from then on.

        Meanwhile the model before answers, and it still answers every request it has taken: none fails. Both are in
        memory for a while. Raises ReloadFailed, and then the model before is still served.
        """
        if self._reloading.locked():
            raise ReloadFailed(f"Another exchange is under way. {ReloadFailed.sentence}")
        async with self._reloading:
            settings = self._settings if model is None else self._settings.model_copy(update={"model": model})
            try:
                fresh = await self._loaded(settings)
            except MaeumError as error:
                self.metrics.reloaded("failed")
                raise ReloadFailed(f"{error} {ReloadFailed.sentence}") from error
            before, self._failure = self._serving, None
            self._serve(fresh)
            self.metrics.reloaded("exchanged")
            if before is not None:
                await before.close()
            return fresh.manifest

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

    async def _reload_logged(self) -> None:
        try:
            manifest = await self.reload()
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

    def _run(self, work: "asyncio._CoroutineLike[object]") -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
