"""The three graphs of a version on one device: a batch of model inputs in, a prediction for each out.

`app.engine.session` lists what each graph takes and gives. The audio graph and the text graph run side by side; the
embeddings that they give the classifier stay on the device. A modality that is not given is not computed. On a CPU
every input runs alone, several at a time: a batch would add padding, and is no faster. This file decodes no audio,
tokenises no text and queues nothing.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from ..errors import InferenceFailed, ModelCorrupt
from ..settings import Precision
from ..store.manifest import AVAILABLE, Available, GraphName, Manifest
from .session import SIGNATURES, Device, check_runtime, open_session, warming_up
from .shapes import Buckets, right_pad

CPU = Device()
EMBEDDINGS = ("audio_embedding", "audio_mask", "text_embedding")  # outputs that only another graph reads


@dataclass(frozen=True)
class ModelInput:
    """`waveform`: float32 [samples], mono 16 kHz, -1..1. `input_ids`: int64 [tokens]. At least one is given."""

    waveform: NDArray[np.float32] | None
    input_ids: NDArray[np.int64] | None

    @property
    def available(self) -> Available:
        """Which modalities are given."""
        if self.waveform is None:
            return "text"
        return "audio" if self.input_ids is None else "both"

    def positions(self, manifest: Manifest) -> int:
        """Frames and tokens: the cost in a batch of the model of `manifest`, padding aside."""
        frames = 0 if self.waveform is None else 1 + len(self.waveform) // manifest.audio.hop_length
        tokens = 0 if self.input_ids is None else len(self.input_ids)
        if manifest.semantics == "original":  # its graphs pad everything to the maximum
            return max(frames, manifest.audio.max_frames) + manifest.text.max_tokens
        return frames + tokens


@dataclass(frozen=True)
class Prediction:
    """`arousal` and `valence` on the manifest's scale, None without their modality; `probabilities` by class, sum 1."""

    arousal: float | None
    valence: float | None
    probabilities: tuple[float, ...]


class Engine:
    """One replica of a version on one device.

    `predict` may be called from several threads; more than `concurrency` at once make nothing faster.
    """

    def __init__(
        self,
        folder: Path,
        manifest: Manifest,
        precision: Precision,
        device: Device = CPU,
        buckets: Buckets | None = None,
        open_session: Callable[[Path, GraphName, Device], Any] = open_session,
    ) -> None:
        """Loads the three graphs of `precision` on `device`.

        With `buckets` a batch goes through the graphs as one, its shape rounded up to them; without, input by input.

        Raises ModelCorrupt, ProviderUnavailable, RuntimeConflict.
        """
        check_runtime()
        self._manifest = manifest
        self._device = (device.provider, device.number)
        # The text graph has less work than the audio graph, and runs at the same time.
        fewer = replace(device, threads=max(1, device.threads // 2))
        self._sessions = {
            name: open_session(folder / stored.file, name, fewer if name == "text_valence" else device)
            for name, stored in manifest.graphs[precision].items()
        }
        self._options = onnxruntime.RunOptions()
        self._buckets = buckets or Buckets.none(manifest)
        self.concurrency = device.threads if buckets is None else 1
        self._lanes = ThreadPoolExecutor(self.concurrency, "input") if buckets is None else None
        self._text_threads = ThreadPoolExecutor(self.concurrency, "text") if device != CPU else None

    def warm_up(self, timeout_s: float) -> None:
        """Runs every bucket, the longest first so that the memory arena grows once, and each modality alone.

        Raises ModelCorrupt where a graph fails or takes longer, or where the classifier has other classes than the
        manifest. The engine is of no use then.
        """
        with warming_up(self._options, timeout_s):
            self._run_buckets()

    def _run_buckets(self) -> None:
        shapes = [
            (rows, *given)
            for rows, samples, tokens in self._buckets.shapes()
            for given in ((samples, tokens), (samples, None), (None, tokens))
        ]
        for rows, samples, tokens in dict.fromkeys(shapes):  # each once, in this order
            waveform = None if samples is None else np.zeros(samples, dtype=np.float32)
            input_ids = None if tokens is None else np.zeros(tokens, dtype=np.int64)
            for prediction in self.predict([ModelInput(waveform, input_ids)] * rows):
                if len(prediction.probabilities) != len(self._manifest.emotion.classes):
                    raise ModelCorrupt("The emotion graph has another number of classes than its manifest.")

    def predict(self, batch: Sequence[ModelInput]) -> list[Prediction]:
        """One prediction for each input, independent of its neighbours. Raises InferenceFailed."""
        try:
            if self._lanes is None:
                return self._by_modalities(batch)
            if len(batch) == 1:
                return self._forward([batch[0]], batch[0].available)
            alone = self._lanes.map(lambda given: self._forward([given], given.available), batch)
            return [prediction for (prediction,) in alone]
        except Exception as error:  # onnxruntime's exceptions have no base of their own
            raise InferenceFailed from error

    def _by_modalities(self, batch: Sequence[ModelInput]) -> list[Prediction]:
        """A batch of its own for each set of available modalities, so that a missing one is not computed."""
        predictions: dict[int, Prediction] = {}
        for available in AVAILABLE:
            rows = [row for row, given in enumerate(batch) if given.available == available]
            if rows:
                predictions |= zip(rows, self._forward([batch[row] for row in rows], available), strict=True)
        return [predictions[row] for row in range(len(batch))]

    def _forward(self, batch: list[ModelInput], available: Available) -> list[Prediction]:
        """Predictions for inputs that all have the `available` modalities."""
        waveforms = [given.waveform for given in batch if given.waveform is not None]
        ids = [given.input_ids for given in batch if given.input_ids is not None]
        if waveforms and ids and self._text_threads is not None:
            reading = self._text_threads.submit(self._run_text, ids)
            try:
                audio = self._run_audio(waveforms)
            finally:
                reading.exception()  # waited for, so that nothing of this batch still runs with the next
            text = reading.result()
        else:
            audio = self._run_audio(waveforms) if waveforms else {}
            text = self._run_text(ids) if ids else {}
        rows = self._buckets.rows(len(batch))
        width = self._manifest.width
        absent = {
            f"{part}_{value}": np.zeros((rows, 1, *size), dtype)
            for part, given in (("audio", audio), ("text", text))
            if not given
            for value, size, dtype in (("embedding", (width,), np.float32), ("mask", (), np.bool_))
        }
        both = {**absent, **audio, **text}
        logits = self._run("emotion", {name: both[name] for name in SIGNATURES["emotion"].inputs})["logits"].numpy()

        arousal = self._scores(audio.get("arousal"), len(batch))
        valence = self._scores(text.get("valence"), len(batch))
        temperature = self._manifest.emotion.temperature.of(available)
        probabilities = _softmax(logits[: len(batch)].astype(np.float64) / temperature)
        if not np.isfinite(probabilities).all():
            raise ArithmeticError("the classifier's logits are not finite")
        return [Prediction(*row) for row in zip(arousal, valence, map(tuple, probabilities.tolist()), strict=True)]

    def _run_audio(self, waveforms: list[NDArray[np.float32]]) -> dict[str, Any]:
        """Every output of the audio graph."""
        longest = self._buckets.samples(max(map(len, waveforms)))
        waveform, length = right_pad(waveforms, longest, self._buckets.rows(len(waveforms)))
        return self._run("audio_arousal", {"waveform": waveform, "waveform_length": length})

    def _run_text(self, ids: list[NDArray[np.int64]]) -> dict[str, Any]:
        """Every output of the text graph, and `text_mask`."""
        longest = self._buckets.tokens(max(map(len, ids)))
        input_ids, length = right_pad(ids, longest, self._buckets.rows(len(ids)))
        mask = np.arange(input_ids.shape[1]) < length[:, None]
        given = {"input_ids": input_ids, "attention_mask": mask.astype(np.int64)}
        return {**self._run("text_valence", given), "text_mask": mask}

    def _run(self, name: GraphName, given: dict[str, Any]) -> dict[str, Any]:
        """The outputs of a graph as OrtValues: embeddings on the device, the rest in the host's memory."""
        session = self._sessions[name]
        binding = session.io_binding()
        for key, value in given.items():
            if isinstance(value, np.ndarray):
                binding.bind_cpu_input(key, value)
            else:
                binding.bind_ortvalue_input(key, value)
        outputs = SIGNATURES[name].outputs
        for key in outputs:
            device, number = self._device if key in EMBEDDINGS else ("cpu", 0)
            binding.bind_output(key, device, number)
        session.run_with_iobinding(binding, self._options)
        return dict(zip(outputs, binding.get_outputs(), strict=True))

    def _scores(self, given: Any, rows: int) -> list[float | None]:
        """A regressor's scores, clipped to the manifest's scale, which they may exceed a little."""
        if given is None:
            return [None] * rows
        scores = given.numpy()[:rows].astype(np.float64)
        if not np.isfinite(scores).all():
            raise ArithmeticError("a regressor's score is not finite")
        clipped: list[float | None] = np.clip(scores, *self._manifest.scale).tolist()
        return clipped


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Along the last axis."""
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    normalised: NDArray[np.float64] = exponentials / exponentials.sum(axis=-1, keepdims=True)
    return normalised
