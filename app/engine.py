"""The three graphs of a version on onnxruntime: a batch of utterances in, a prediction for each out.

    audio_arousal   waveform f32 [batch, samples], waveform_length i64 [batch]
                    -> arousal f32 [batch], audio_embedding f32 [batch, frames, width], audio_mask bool [batch, frames]
    text_valence    input_ids, attention_mask i64 [batch, tokens]
                    -> valence f32 [batch], text_embedding f32 [batch, tokens, width]
    emotion         audio_embedding, audio_mask, text_embedding, text_mask bool [batch, tokens]
                    -> logits f32 [batch, classes]

This file pads, runs and spreads what the graphs exchange. It decodes no audio, knows no text and queues nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from app.errors import InferenceFailed, ModelCorrupt, ProviderUnavailable, RuntimeConflict
from app.manifest import GRAPH_NAMES, GraphName, Heard, Manifest, Precision
from app.padding import right_pad

Provider = Literal["cpu", "cuda"]

_SIGNATURES: dict[GraphName, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "audio_arousal": (("waveform", "waveform_length"), ("arousal", "audio_embedding", "audio_mask")),
    "text_valence": (("input_ids", "attention_mask"), ("valence", "text_embedding")),
    "emotion": (("audio_embedding", "audio_mask", "text_embedding", "text_mask"), ("logits",)),
}
_ERRORS_ONLY = 3  # onnxruntime's log severity: its warnings are about graphs, which a user cannot change


@dataclass(frozen=True)
class Utterance:
    """`waveform`: float32 [samples], mono 16 kHz, -1..1. `input_ids`: int64 [tokens]. At least one is given."""

    waveform: NDArray[np.float32] | None
    input_ids: NDArray[np.int64] | None

    @property
    def heard(self) -> Heard:
        """Which of the two are given."""
        if self.waveform is None:
            return "text"
        return "audio" if self.input_ids is None else "both"


@dataclass(frozen=True)
class Prediction:
    """`arousal` and `valence` on the manifest's scale, None without their modality; `probabilities` by class, sum 1."""

    arousal: float | None
    valence: float | None
    probabilities: tuple[float, ...]


class Engine:
    """One replica of a version on one device. `predict` may be called from one thread at a time."""

    def __init__(
        self, folder: Path, manifest: Manifest, precision: Precision, provider: Provider = "cpu", threads: int = 1
    ) -> None:
        """Loads the three graphs of `precision` with `threads` threads inside an operator.

        Raises ModelCorrupt, ProviderUnavailable, RuntimeConflict.
        """
        check_runtime()
        self._manifest = manifest
        sessions = {
            name: _session(folder / manifest.graphs[precision][name].file, name, provider, threads)
            for name in GRAPH_NAMES
        }
        self._audio_session = sessions["audio_arousal"]
        self._text_session = sessions["text_valence"]
        self._emotion_session = sessions["emotion"]

    def warm_up(self) -> None:
        """Runs audio alone, text alone and both, the longest first so that the memory arena grows once.

        Raises InferenceFailed, or ModelCorrupt where the classifier has other classes than the manifest.
        """
        longest = np.zeros(self._manifest.audio.max_samples, dtype=np.float32)
        second = longest[: self._manifest.audio.sample_rate]
        ids = np.zeros(self._manifest.text.max_tokens, dtype=np.int64)
        for utterance in (Utterance(longest, ids), Utterance(second, None), Utterance(None, ids[:8])):
            (prediction,) = self.predict([utterance])
            if len(prediction.probabilities) != len(self._manifest.emotion.classes):
                raise ModelCorrupt("The emotion graph has another number of classes than its manifest.")

    def predict(self, batch: Sequence[Utterance]) -> list[Prediction]:
        """One prediction for each utterance, independent of its neighbours. Raises InferenceFailed."""
        try:
            return self._forward(batch) if batch else []
        except Exception as error:  # onnxruntime's exceptions have no base of their own
            raise InferenceFailed from error

    def _forward(self, batch: Sequence[Utterance]) -> list[Prediction]:
        arousal, audio_embedding, audio_mask = self._run_audio(batch)
        valence, text_embedding, text_mask = self._run_text(batch)
        (logits,) = self._emotion_session.run(
            ["logits"],
            {
                "audio_embedding": audio_embedding,
                "audio_mask": audio_mask,
                "text_embedding": text_embedding,
                "text_mask": text_mask,
            },
        )
        temperatures = np.array([self._manifest.emotion.temperature.of(item.heard) for item in batch])
        probabilities = _softmax(logits.astype(np.float64) / temperatures[:, None])
        if not np.isfinite(probabilities).all():
            raise ArithmeticError("the classifier's logits are not finite")
        return [
            Prediction(arousal.get(row), valence.get(row), tuple(probabilities[row].tolist()))
            for row in range(len(batch))
        ]

    def _run_audio(self, batch: Sequence[Utterance]) -> tuple[dict[int, float], NDArray[Any], NDArray[np.bool_]]:
        """Arousal by row, embedding [batch, frames, width] and mask; a row without audio has none, zeros and False."""
        waveforms = {row: item.waveform for row, item in enumerate(batch) if item.waveform is not None}
        if not waveforms:
            return {}, *self._absent(len(batch))
        waveform, length = right_pad(list(waveforms.values()))
        arousal, embedding, mask = self._audio_session.run(
            ["arousal", "audio_embedding", "audio_mask"], {"waveform": waveform, "waveform_length": length}
        )
        rows = list(waveforms)
        return self._scores(rows, arousal), _spread(rows, embedding, len(batch)), _spread(rows, mask, len(batch))

    def _run_text(self, batch: Sequence[Utterance]) -> tuple[dict[int, float], NDArray[Any], NDArray[np.bool_]]:
        """Valence by row, embedding [batch, tokens, width] and mask; a row without text has none, zeros and False."""
        ids = {row: item.input_ids for row, item in enumerate(batch) if item.input_ids is not None}
        if not ids:
            return {}, *self._absent(len(batch))
        input_ids, length = right_pad(list(ids.values()))
        mask = np.arange(input_ids.shape[1]) < length[:, None]
        valence, embedding = self._text_session.run(
            ["valence", "text_embedding"], {"input_ids": input_ids, "attention_mask": mask.astype(np.int64)}
        )
        rows = list(ids)
        return self._scores(rows, valence), _spread(rows, embedding, len(batch)), _spread(rows, mask, len(batch))

    def _absent(self, rows: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Embedding and mask of a modality that no row has: one position, masked."""
        return np.zeros((rows, 1, self._manifest.width), dtype=np.float32), np.zeros((rows, 1), dtype=np.bool_)

    def _scores(self, rows: list[int], scores: NDArray[np.float32]) -> dict[int, float]:
        """Scores by row, clipped to the manifest's scale: a regressor may pass its ends by a little."""
        if not np.isfinite(scores).all():
            raise ArithmeticError("a regressor's score is not finite")
        return dict(zip(rows, np.clip(scores.astype(np.float64), *self._manifest.scale).tolist(), strict=True))


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


def _session(path: Path, name: GraphName, provider: Provider, threads: int) -> Any:
    """An onnxruntime session on `provider`, with the graph's inputs and outputs checked against the contract."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = _ERRORS_ONLY
    # Threads that spin while they wait take the cores from decoding and from other processes.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    providers: list[Any] = ["CPUExecutionProvider"]
    if provider == "cuda":
        if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
            raise ProviderUnavailable
        onnxruntime.preload_dlls()
        # The default, EXHAUSTIVE, tunes again for every new shape.
        providers.insert(0, ("CUDAExecutionProvider", {"cudnn_conv_algo_search": "HEURISTIC"}))
    try:
        session = onnxruntime.InferenceSession(path, options, providers=providers)
    except Exception as error:  # onnxruntime's exceptions have no base of their own
        raise ModelCorrupt(f"{path} cannot be loaded by onnxruntime {onnxruntime.__version__}: {error}") from error
    # That the runtime was built for CUDA does not mean that there is a GPU: it falls back to the CPU in silence.
    if provider == "cuda" and "CUDAExecutionProvider" not in session.get_providers():
        raise ProviderUnavailable
    inputs, outputs = _SIGNATURES[name]
    has_inputs = {value.name for value in session.get_inputs()} == set(inputs)
    has_outputs = {value.name for value in session.get_outputs()} >= set(outputs)
    if not (has_inputs and has_outputs):
        raise ModelCorrupt(f"{path} is no {name} graph, which takes {inputs} and gives {outputs}.")
    return session


def _spread(rows: list[int], values: NDArray[Any], size: int) -> NDArray[Any]:
    """`values` at their `rows` of a batch of `size`; zeros, or False, elsewhere."""
    if len(rows) == size:
        return values
    spread = np.zeros((size, *values.shape[1:]), dtype=values.dtype)
    spread[rows] = values
    return spread


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Along the last axis."""
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    normalised: NDArray[np.float64] = exponentials / exponentials.sum(axis=-1, keepdims=True)
    return normalised
