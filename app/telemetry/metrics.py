"""Metrics in Prometheus' format. Knows nothing of HTTP; no label holds a name, text or path from a client.

With several worker processes, PROMETHEUS_MULTIPROC_DIR names an empty folder in which each keeps its numbers, and any
of them answers for all. It must be set before Python starts, as prometheus_client reads it when imported.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, get_args

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

from ..answer import Answer, WarningCode
from ..errors import MaeumError, StartError
from ..store.manifest import AVAILABLE
from .stopwatch import STAGES, Stage

# A stage takes a tenth of a millisecond to seconds, a call of the engine 9 ms and more, the longest deadline is 60 s.
SECONDS = (0.001, 0.0025, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
ROWS = (1, 2, 4, 8, 16, 32, 64)

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
OTHER_METHOD = "OTHER"
RESTARTS = ("died", "timeout", "memory")
RELOADS = ("exchanged", "failed")


class Metrics:
    """The metrics of one app, in a registry of its own. Every method may be called from any thread."""

    def __init__(self, max_queue: int) -> None:
        """Series that alerts use begin at 0: a counter that appears with its first event shows no increase.

        `max_queue` is the bound of the queue, exported next to its depth.
        """
        self._shared = "PROMETHEUS_MULTIPROC_DIR" in os.environ
        self._registry = registry = CollectorRegistry()
        self._requests = Counter(
            "maeum_requests", "Requests, by route, method and status.", ["route", "method", "status"], registry=registry
        )
        self._seconds = Histogram(
            "maeum_request_seconds",
            "Seconds from the first header to the end of the answer.",
            ["route"],
            buckets=SECONDS,
            registry=registry,
        )
        self._rejected = Counter(
            "maeum_rejected", "Requests that ended in a problem, by its code.", ["reason"], registry=registry
        )
        self._stages = Histogram(
            "maeum_stage_seconds",
            "Seconds of a request by stage, answered or not. The queues: waiting for a decoder, for the model.",
            ["stage"],
            buckets=SECONDS,
            registry=registry,
        )
        self._audio = Counter("maeum_audio_seconds", "Seconds of audio in answered requests.", registry=registry)
        self._utterances = Counter(
            "maeum_utterances",
            "Utterances answered, by available modality; none: audio without speech.",
            ["available"],
            registry=registry,
        )
        self._warnings = Counter("maeum_warnings", "Warnings in answers, by code.", ["code"], registry=registry)
        self._rows = Histogram("maeum_batch_size", "Utterances in a batch.", buckets=ROWS, registry=registry)
        self._loop = Histogram(
            "maeum_loop_delay_seconds",
            "Seconds that the event loop was late for a timer, ten times a second.",
            buckets=SECONDS,
            registry=registry,
        )
        self._restarts = Counter(
            "maeum_decoder_restarts", "Decoder processes replaced, by reason.", ["reason"], registry=registry
        )
        self._reloads = Counter("maeum_reloads", "Exchanges of the model, by outcome.", ["outcome"], registry=registry)
        self._depth = _gauge(
            registry,
            "maeum_queue_depth",
            "Utterances waiting or being decoded.",
            "livesum",
        )
        self._limit = _gauge(registry, "maeum_queue_limit", "Most utterances that may wait.", "livesum")
        self._age = _gauge(
            registry,
            "maeum_queue_age_seconds",
            "Seconds that the oldest utterance has waited, for a decoder or for the model.",
            "livemax",
        )
        self._for_decoder = _gauge(registry, "maeum_decoder_queue_depth", "Clips waiting for a decoder.", "livesum")
        self._decoding = _gauge(registry, "maeum_decoding", "Clips being decoded.", "livesum")
        self._uploading = _gauge(registry, "maeum_uploading_bytes", "Bytes of requests held in memory.", "livesum")
        self._ready = _gauge(registry, "maeum_ready", "1 when every worker takes requests.", "livemin")
        self._model = Gauge(
            "maeum_model_info",
            "1 for the served model.",
            ["name", "version", "precision", "provider"],
            registry=registry,
            multiprocess_mode="livemax",
        )
        if not self._shared:  # meaningless for one process of several
            ProcessCollector(registry=registry)
            PlatformCollector(registry=registry)
        self._begin(max_queue)

    def _begin(self, max_queue: int) -> None:
        answerable = [error for error in _leaves(MaeumError) if not issubclass(error, StartError)]
        for status in sorted({200, *(error.status for error in answerable)}):
            self._requests.labels("/predict", "POST", str(status))
        self._seconds.labels("/predict")
        for error in answerable:
            self._rejected.labels(error.code)
        for metric, values in (
            (self._stages, STAGES),
            (self._utterances, AVAILABLE),
            (self._warnings, get_args(WarningCode)),
            (self._restarts, RESTARTS),
            (self._reloads, RELOADS),
        ):
            for value in values:
                metric.labels(value)
        self._limit.set(max_queue)
        self._served: tuple[str, ...] | None = None

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        """One request has ended. `route` is the route's template, never a path as sent."""
        self._requests.labels(route, method if method in METHODS else OTHER_METHOD, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def rejected(self, code: str) -> None:
        """A request was answered with the problem `code`."""
        self._rejected.labels(code).inc()

    def stages(self, seconds: Mapping[Stage, float]) -> None:
        """Seconds of each stage that a request has come through or to, answered or not."""
        for stage, spent in seconds.items():
            self._stages.labels(stage).observe(spent)

    def answered(self, answer: Answer) -> None:
        """An utterance was answered."""
        available = {0: "none", 2: "both"}.get(len(answer.modalities)) or answer.modalities[0]
        self._utterances.labels(available).inc()
        if answer.audio is not None:
            self._audio.inc(answer.audio.duration_s)
        for warned in answer.warnings:
            self._warnings.labels(warned.code).inc()

    def batch(self, size: int) -> None:
        """A batch of `size` utterances has left the queue."""
        self._rows.observe(size)

    def loop_delayed(self, seconds: float) -> None:
        """The event loop came to a timer this late."""
        self._loop.observe(max(0.0, seconds))

    def waiting(self, depth: int, age_s: float, decoding: int, for_decoder: int = 0) -> None:
        """The queues of this process now: utterances waiting, age of the oldest in seconds, clips being decoded, and
        clips waiting for that.
        """
        self._for_decoder.set(for_decoder)
        self._depth.set(depth)
        self._age.set(age_s)
        self._decoding.set(decoding)

    def uploading(self, held_bytes: int) -> None:
        """Bytes in the bodies of all requests under way."""
        self._uploading.set(held_bytes)

    def model(self, name: str, version: str, precision: str, provider: str) -> None:
        """This model is served from now on, in place of the previous one."""
        served = (name, version, precision, provider)
        if self._served not in (None, served):
            self._model.labels(*self._served).set(0)
        self._model.labels(*served).set(1)
        self._served = served

    def decoder_restarted(self, reason: str) -> None:
        """A decoder process was replaced; `reason` is one of RESTARTS."""
        self._restarts.labels(reason).inc()

    def reloaded(self, outcome: str) -> None:
        """A model exchange has ended; `outcome` is one of RELOADS."""
        self._reloads.labels(outcome).inc()

    def ready(self, flag: bool) -> None:
        """Whether this process takes requests."""
        self._ready.set(int(flag))

    def render(self) -> tuple[bytes, str]:
        """The body and content type for a scrape. Takes milliseconds."""
        if self._shared:
            _forget_the_dead(Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]))
        source = MultiProcessCollector(None) if self._shared else self._registry  # type: ignore[no-untyped-call]
        return generate_latest(_Shown(source)), CONTENT_TYPE_LATEST

    def close(self) -> None:
        """Removes this process's gauges from the shared folder; its counts stay."""
        if self._shared:
            mark_process_dead(os.getpid())  # type: ignore[no-untyped-call]


class _Shown(Collector):
    """The metrics of `source`, without creation times and without models that are no longer served.

    Prometheus does not read creation times in this format, and shared series can be set to 0 but not removed.
    """

    def __init__(self, source: Collector) -> None:
        self._source = source

    def collect(self) -> Iterator[Metric]:
        for metric in self._source.collect():
            metric.samples = [
                sample
                for sample in metric.samples
                if not sample.name.endswith("_created") and (sample.value or sample.name != "maeum_model_info")
            ]
            yield metric


def _forget_the_dead(folder: Path) -> None:
    """Removes the gauges of processes that were killed before they could do so themselves."""
    for pid in {int(path.stem.rpartition("_")[2]) for path in folder.glob("gauge_live*_*.db")}:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            mark_process_dead(pid)  # type: ignore[no-untyped-call]
        except PermissionError:  # alive, but another user's
            pass


def _gauge(registry: CollectorRegistry, name: str, says: str, mode: Literal["livesum", "livemax", "livemin"]) -> Gauge:
    return Gauge(name, says, registry=registry, multiprocess_mode=mode)


def _leaves(kind: type[MaeumError]) -> list[type[MaeumError]]:
    return [leaf for child in kind.__subclasses__() for leaf in _leaves(child)] or [kind]
