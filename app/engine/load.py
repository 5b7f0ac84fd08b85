"""Loads the version that the settings name: finds it, checks its files, opens its graphs and warms them up."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import ModelCorrupt, ModelNotFound
from ..settings import Precision, Provider, Settings
from ..store.cache import ModelCache
from ..store.manifest import Manifest
from ..store.remote import RemoteStore, is_address
from ..store.versions import find_version, load_manifest, read_card, verify
from ..text import TextTokenizer
from .detector import SpeechDetector
from .engine import Engine, ModelInput, Prediction
from .session import Device
from .shapes import Buckets

Predict = Callable[[Sequence[ModelInput]], list[Prediction]]


@dataclass(frozen=True)
class Model:
    """A loaded version. Each of its `runners` gives one prediction for each input of a batch; all may run at once.
    `detector` finds speech; None where the version takes a clip as it is.
    """

    manifest: Manifest
    card: str
    tokenizer: TextTokenizer
    runners: Sequence[Predict]
    precision: Precision
    provider: Provider
    detector: SpeechDetector | None

    @property
    def predict(self) -> Predict:
        """The first runner, for callers that need only one."""
        return self.runners[0]


def load_model(settings: Settings) -> Model:
    """Finds, checks, loads and warms the model. Takes seconds. Raises StartError."""
    folder, manifest = _find(settings)
    precision = choose_precision(manifest, settings)
    try:
        tokenizer = TextTokenizer(folder / manifest.text.tokenizer.file, manifest.text.max_tokens)
    except ValueError as error:
        raise ModelCorrupt(f"{manifest.name}/{manifest.version}: {error}.") from error
    threads = settings.threads or physical_cores()
    if settings.provider == "cuda":
        devices = [Device("cuda", threads, number, settings.gpu_memory_bytes) for number in settings.gpu_numbers]
        buckets = Buckets.of_gpu(manifest, settings.max_batch)
    else:
        devices, buckets = [Device("cpu", threads)], None
    engines = [Engine(folder, manifest, precision, device, buckets) for device in devices]
    timeout_s = settings.warm_up_timeout_s
    for engine in engines:
        engine.warm_up(timeout_s)
    card = read_card(folder, manifest)
    runners = [engine.predict for engine in engines for _ in range(engine.concurrency)]
    detection = manifest.audio.speech
    detector = SpeechDetector(folder / detection.detector.file, timeout_s) if detection else None
    return Model(manifest, card, tokenizer, runners, precision, settings.provider, detector)


def _find(settings: Settings) -> tuple[Path, Manifest]:
    """The model's folder, fetched if the store is an address, and its manifest. Every file is checked."""
    if is_address(settings.model_store):
        return ModelCache(settings.model_cache, RemoteStore(settings.model_store)).fetch(settings.model)
    folder = find_version(Path(settings.model_store), settings.model)
    manifest = load_manifest(folder)
    verify(folder, manifest)
    return folder, manifest


def choose_precision(manifest: Manifest, settings: Settings) -> Precision:
    """The precision asked for; for `auto`, the first that the version has of int8, fp32, fp16 on a CPU, and of fp16,
    fp32 on a GPU. Raises ModelNotFound.
    """
    if settings.precision == "auto":
        usable: tuple[Precision, ...] = ("int8", "fp32", "fp16") if settings.provider == "cpu" else ("fp16", "fp32")
        precision = next((name for name in usable if name in manifest.graphs), usable[-1])
    else:
        precision = settings.precision
    if precision not in manifest.graphs:
        has = ", ".join(manifest.graphs)
        raise ModelNotFound(f"{manifest.name}/{manifest.version} has no {precision} graphs; it has {has}.")
    return precision


def physical_cores() -> int:
    """Physical cores that this process may use: two threads of one core share its arithmetic units."""
    try:
        allowed = os.sched_getaffinity(0)
        siblings = Path("/sys/devices/system/cpu")
        return len({(siblings / f"cpu{cpu}/topology/thread_siblings_list").read_text() for cpu in allowed})
    except (AttributeError, OSError):  # not Linux, or its /sys is hidden
        return os.cpu_count() or 1
