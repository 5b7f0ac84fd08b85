"""One graph on onnxruntime: what it takes and gives, opened on a device and checked. Nothing is run here."""

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, NamedTuple

import onnxruntime

from ..errors import InferenceFailed, ModelCorrupt, ProviderUnavailable, RuntimeConflict
from ..settings import Provider
from ..store.manifest import GraphName

Axes = dict[str, tuple[str, ...]]


class Signature(NamedTuple):
    """The inputs and the outputs of a graph by name, in order, each with its axes."""

    inputs: Axes
    outputs: Axes


_AUDIO: Axes = {"audio_embedding": ("batch", "frames", "width"), "audio_mask": ("batch", "frames")}
_TEXT: Axes = {"text_embedding": ("batch", "tokens", "width")}

# `waveform`, the scores, the embeddings and the logits are float32; lengths, ids and `attention_mask` int64; the other
# two masks bool.
SIGNATURES: dict[GraphName, Signature] = {
    "audio_arousal": Signature(
        {"waveform": ("batch", "samples"), "waveform_length": ("batch",)}, {"arousal": ("batch",), **_AUDIO}
    ),
    "text_valence": Signature(
        {"input_ids": ("batch", "tokens"), "attention_mask": ("batch", "tokens")}, {"valence": ("batch",), **_TEXT}
    ),
    "emotion": Signature({**_AUDIO, **_TEXT, "text_mask": ("batch", "tokens")}, {"logits": ("batch", "classes")}),
}
FIXED_AXES = ("width", "classes")  # of one size in a version; every other differs from call to call
# onnxruntime's log severities. Its warnings are about graphs, which users cannot change.
_ERRORS_ONLY, _FATAL_ONLY = 3, 4


@dataclass(frozen=True)
class Device:
    """Where graphs run: a CPU, with `threads` threads inside an operator, or the GPU `number`, where the three graphs
    together may take `memory_bytes`; 0 sets no limit.
    """

    provider: Provider = "cpu"
    threads: int = 1
    number: int = 0
    memory_bytes: int = 0

    def providers(self) -> list[Any]:
        """As onnxruntime takes them. An operator without a CUDA kernel runs on the CPU."""
        if self.provider == "cpu":
            return ["CPUExecutionProvider"]
        options = {
            "device_id": str(self.number),
            "cudnn_conv_algo_search": "HEURISTIC",  # the default, EXHAUSTIVE, tunes again for every new shape
            "arena_extend_strategy": "kSameAsRequested",  # the default doubles what it asks for
            "use_tf32": "0",  # float32 is float32: answers agree with the CPU's to 1e-4
        }
        if self.memory_bytes:
            options["gpu_mem_limit"] = str(self.memory_bytes // len(SIGNATURES))
        return [("CUDAExecutionProvider", options), "CPUExecutionProvider"]


def open_session(path: Path, name: GraphName, device: Device) -> Any:
    """An `onnxruntime.InferenceSession` of the graph `name`. Raises ModelCorrupt, ProviderUnavailable."""
    options = session_options(device.threads)
    # On a CPU the fused operator takes six times as long as an addition and a normalisation.
    slow = ["SkipLayerNormFusion"] if device.provider == "cpu" else []
    if device.provider == "cuda":
        onnxruntime.set_default_logger_severity(_FATAL_ONLY)  # its errors of loading go to stderr, past every log
        if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
            raise ProviderUnavailable
        onnxruntime.preload_dlls()
    file = f"{'/'.join(path.parts[-3:-1])}: {path.name}"
    try:
        # It refuses weights outside the graph's folder, also behind links.
        session = onnxruntime.InferenceSession(path, options, providers=device.providers(), disabled_optimizers=slow)
    except Exception as error:  # onnxruntime's exceptions have no base of their own, and their messages hold paths
        kind = type(error).__name__
        raise ModelCorrupt(f"{file} cannot be loaded by onnxruntime {onnxruntime.__version__} ({kind}).") from error
    # A runtime built for CUDA falls back to the CPU in silence where there is no GPU.
    if device.provider == "cuda" and "CUDAExecutionProvider" not in session.get_providers():
        raise ProviderUnavailable
    inputs, outputs = (set(axes) for axes in SIGNATURES[name])
    has_inputs = {value.name for value in session.get_inputs()} == inputs
    has_outputs = {value.name for value in session.get_outputs()} >= outputs
    if not (has_inputs and has_outputs):
        needed = f"it must take {', '.join(SIGNATURES[name].inputs)} and give {', '.join(SIGNATURES[name].outputs)}"
        raise ModelCorrupt(f"{file} is not the {name} graph: {needed}.")
    return session


def session_options(threads: int) -> onnxruntime.SessionOptions:
    """The options of every session; they keep integer products exact."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = _ERRORS_ONLY
    # Threads that spin while they wait take the cores from decoding and from other processes.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if not has_vnni():
        # There products of uint8 by int8 overflow in silence. With weights read as uint8 they do not, but are slower.
        options.add_session_config_entry("session.x64quantprecision", "1")
    return options


@contextmanager
def warming_up(options: onnxruntime.RunOptions, timeout_s: float) -> Iterator[None]:
    """Around the first runs with `options`, which end after `timeout_s`: a graph may hold a loop without end.

    The runtime looks between two operators, and between two turns of a loop. Raises ModelCorrupt where a run fails.
    """
    timer = threading.Timer(timeout_s, setattr, (options, "terminate", True))
    timer.daemon = True
    timer.start()
    try:
        yield
    except InferenceFailed as error:
        if options.terminate:
            late = f"The warm-up did not end within {timeout_s:g} s. If the model needs longer, raise"
            raise ModelCorrupt(f"{late} MAEUM_WARM_UP_TIMEOUT_S.") from error
        reason = "the graphs do not fit the manifest, or memory is short"
        raise ModelCorrupt(f"The model failed in the warm-up: {reason} ({type(error.__cause__).__name__}).") from error
    finally:
        timer.cancel()


def has_vnni(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the processor multiplies 8-bit integers into 32 bits at once; False if unknown."""
    try:
        return re.search(r"\bavx(512)?_vnni\b", cpuinfo.read_text()) is not None
    except OSError:
        return False


def _is_installed(name: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True


def check_runtime(installed: Callable[[str], bool] = _is_installed) -> None:
    """Raises RuntimeConflict unless one onnxruntime distribution is installed: two overwrite each other's files."""
    names = [name for name in ("onnxruntime", "onnxruntime-gpu") if installed(name)]
    if len(names) != 1:
        found = " and ".join(names) or "neither"
        raise RuntimeConflict(f"{RuntimeConflict.sentence} Found: {found}. Make a new environment with one extra.")
