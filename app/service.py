"""The model's life in a service: loaded, ready, exchanged for another, drained. Nothing of HTTP."""

import asyncio
import logging
from collections.abc import Callable
from typing import BinaryIO

from .answer import Answer
from .audio.decode import Limits
from .audio.pool import Decoders
from .engine.load import load_model
from .errors import (
    InternalError,
    MaeumError,
    NotReady,
    QueueFull,
    ReloadFailed,
    traceback_without_values,
)
from .pipeline import Pipeline
from .settings import Settings
from .store.manifest import Manifest
from .telemetry.metrics import Metrics

_log = logging.getLogger(__name__)

_TICK_S = 1.0  # how often the gauges of what waits are brought up to date


class Service:
    """Answers utterances with one model at a time. Used in one event loop.

    `pipeline` is served as it is, in place of the settings' model.
    """

    def __init__(self, settings: Settings, metrics: Metrics, pipeline: Pipeline | None = None) -> None:
        self.metrics = metrics
        self.draining = False
        """Whether the service is about to stop: it answers, but is not ready."""
        self._settings = settings
        self._given = pipeline
        self._pipeline: Pipeline | None = None
        self._failure: MaeumError | None = None
        self._reloading = asyncio.Lock()
        self._tasks: set[asyncio.Task[object]] = set()
        self._decoders = Decoders(
            settings.decoders,
            Limits.of(settings),
            settings.decode_timeout_s,
            settings.decode_memory_bytes,
            metrics.decoder_restarted,
        )

    def start(self, on_loaded: Callable[[Pipeline | MaeumError], None] | None = None) -> None:
        """Begins to load the model. `on_loaded` is told the pipeline, or why there is none."""
        if self._given is None:
            self._decoders.start()
        self._run(self._load(on_loaded))
        self._run(self._watch())

    @property
    def pipeline(self) -> Pipeline:
        """What answers now. Raises NotReady."""
        if self._failure is not None:
            raise NotReady(f"The model cannot be loaded ({self._failure.code}); the log says more.")
        if self._pipeline is None or not self._pipeline.alive:
            raise NotReady
        return self._pipeline

    def check_ready(self) -> None:
        """Raises NotReady unless new requests should come here."""
        if self.draining:
            raise NotReady("The service is about to stop; ask another one.")
        _ = self.pipeline

    def check_room(self) -> None:
        """Raises NotReady or QueueFull where a request would be refused anyway."""
        if self.pipeline.full:
            raise QueueFull

    def measure(self) -> None:
        """Brings the gauges up to date with what waits."""
        pipeline = self._pipeline
        self.metrics.ready(pipeline is not None and pipeline.alive and not self.draining)
        if pipeline is not None:
            self.metrics.waiting(pipeline.waiting, pipeline.oldest_s, self._decoders.busy)

    async def predict(self, audio: BinaryIO | None, transcript: str | None) -> Answer:
        """Answers one utterance. Raises RequestError, ServiceError."""
        answer = await self.pipeline.predict(audio, transcript)
        self.metrics.answered(answer)
        return answer

    def reload_soon(self) -> None:
        """Begins to exchange the model, as `reload` does; how it ends is logged."""
        self._run(self._reload_logged())

    async def reload(self, model: str | None = None) -> Manifest:
        """Loads `model` (NAME or NAME/VERSION; the settings' where None) and serves it from then on.

        Meanwhile the model before answers, and what it was asked it still answers: no request fails. Both are in memory
        for a while. Raises ReloadFailed, and then the model before is still served.
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
            before, self._failure = self._pipeline, None
            self._serve(fresh)
            self.metrics.reloaded("exchanged")
            if before is not None:
                await before.close()
            return fresh.model.manifest

    async def close(self) -> None:
        """Takes nothing more, answers what waits, and ends."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._pipeline is not None:
            await self._pipeline.close()
        await asyncio.to_thread(self._decoders.close)
        self.metrics.close()

    async def _load(self, on_loaded: Callable[[Pipeline | MaeumError], None] | None) -> None:
        outcome: Pipeline | MaeumError
        async with self._reloading:
            try:
                outcome = self._given or await self._loaded(self._settings)
                self._serve(outcome)
            except MaeumError as error:
                outcome = self._failure = error
                _log.error("The model cannot be loaded: %s", error)
        if on_loaded is not None:
            on_loaded(outcome)

    async def _loaded(self, settings: Settings) -> Pipeline:
        """A pipeline with the model of `settings`, loaded in a thread. Raises MaeumError."""
        try:
            model = await asyncio.to_thread(load_model, settings)
            return Pipeline(model, settings, self._decoders, self.metrics.batch)
        except MaeumError:
            raise
        except Exception as error:  # whatever it is, the model before is to be served on
            _log.error("Loading failed.\n%s", traceback_without_values(error))
            raise InternalError(f"Loading failed unexpectedly ({type(error).__name__}).") from error

    def _serve(self, pipeline: Pipeline) -> None:
        pipeline.start()
        self._pipeline = pipeline
        model = pipeline.model
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

    def _run(self, work: "asyncio._CoroutineLike[object]") -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
