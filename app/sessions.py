"""One graph on onnxruntime: opened on a provider, and checked to be what the contract says. Nothing is run here."""

from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, Literal

import onnxruntime

from app.errors import ModelCorrupt, ProviderUnavailable, RuntimeConflict
from app.manifest import GraphName

Provider = Literal["cpu", "cuda"]

SIGNATURES: dict[GraphName, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "audio_arousal": (("waveform", "waveform_length"), ("arousal", "audio_embedding", "audio_mask")),
    "text_valence": (("input_ids", "attention_mask"), ("valence", "text_embedding")),
    "emotion": (("audio_embedding", "audio_mask", "text_embedding", "text_mask"), ("logits",)),
}
_CUDA = {
    "cudnn_conv_algo_search": "HEURISTIC",  # the default, EXHAUSTIVE, tunes again for every new shape
    "arena_extend_strategy": "kSameAsRequested",  # the default doubles what it asks for
    "use_tf32": "0",  # float32 is float32: answers agree with the CPU's to 1e-4
}
_ERRORS_ONLY = 3  # onnxruntime's log severity: its warnings are about graphs, which a user cannot change


def open_session(path: Path, name: GraphName, provider: Provider, threads: int, device: int) -> Any:
    """An `onnxruntime.InferenceSession` of the graph `name`, with `threads` threads inside an operator; on CUDA, on the
    GPU number `device`.

    Raises ModelCorrupt, ProviderUnavailable.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = _ERRORS_ONLY
    # Threads that spin while they wait take the cores from decoding and from other processes.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    providers: list[Any] = ["CPUExecutionProvider"]
    slow: list[str] = []
    if provider == "cuda":
        if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
            raise ProviderUnavailable
        onnxruntime.preload_dlls()
        providers.insert(0, ("CUDAExecutionProvider", {**_CUDA, "device_id": str(device)}))
    else:
        # On a CPU the fused operator takes six times as long as an addition and a normalisation.
        slow.append("SkipLayerNormFusion")
    try:
        session = onnxruntime.InferenceSession(path, options, providers=providers, disabled_optimizers=slow)
    except Exception as error:  # onnxruntime's exceptions have no base of their own
        raise ModelCorrupt(f"{path} cannot be loaded by onnxruntime {onnxruntime.__version__}: {error}") from error
    # That the runtime was built for CUDA does not mean that there is a GPU: it falls back to the CPU in silence.
    if provider == "cuda" and "CUDAExecutionProvider" not in session.get_providers():
        raise ProviderUnavailable
    inputs, outputs = SIGNATURES[name]
    has_inputs = {value.name for value in session.get_inputs()} == set(inputs)
    has_outputs = {value.name for value in session.get_outputs()} >= set(outputs)
    if not (has_inputs and has_outputs):
        raise ModelCorrupt(f"{path} is no {name} graph, which takes {inputs} and gives {outputs}.")
    return session


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
