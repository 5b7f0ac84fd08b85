"""The three graphs of a version on one device: a batch of utterances in, a prediction for each out.

    audio_arousal   waveform f32 [batch, samples], waveform_length i64 [batch]
                    -> arousal f32 [batch], audio_embedding f32 [batch, frames, width], audio_mask bool [batch, frames]
    text_valence    input_ids, attention_mask i64 [batch, tokens]
                    -> valence f32 [batch], text_embedding f32 [batch, tokens, width]
    emotion         audio_embedding, audio_mask, text_embedding, text_mask bool [batch, tokens]
                    -> logits f32 [batch, classes]

Voice and words run side by side, and what they give the classifier never leaves the device. An utterance without one of
them costs nothing for it. On a CPU every utterance is run by itself, several at a time: a batch would pad them, and
computes nothing sooner. This file decodes no audio, knows no text and queues nothing.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InferenceFailed, ModelCorrupt
from ..settings import Precision
from ..store.manifest import (
    HEARD,
    GraphName,
    Heard,
    Manifest,
)
from .session import (
    SIGNATURES,
    Device,
    check_runtime,
    open_session,
)
from .shapes import Buckets, right_pad

CPU = Device()
EMBEDDINGS = ("audio_embedding", "audio_mask", "text_embedding")  # outputs that only another graph reads


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

    def positions(self, manifest: Manifest) -> int:
        """Frames and tokens: what it costs in a batch of the model of `manifest`, padding aside."""
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

        With `buckets` a batch goes through the graphs as one, its shape rounded up to them; without, utterance by
        utterance.

        Raises ModelCorrupt, ProviderUnavailable, RuntimeConflict.
        """
        check_runtime()
        self._manifest = manifest
        self._device = (device.provider, device.number)
        # Words are less work than a voice, and run beside it.
        fewer = replace(device, threads=max(1, device.threads // 2))
        self._sessions = {
            name: open_session(folder / stored.file, name, fewer if name == "text_valence" else device)
            for name, stored in manifest.graphs[precision].items()
        }
        self._buckets = buckets or Buckets.none(manifest)
        self.concurrency = device.threads if buckets is None else 1
        self._lanes = ThreadPoolExecutor(self.concurrency, "utterance") if buckets is None else None
        self._beside = ThreadPoolExecutor(self.concurrency, "words") if device != CPU else None

    def warm_up(self) -> None:
        """Runs every bucket there is, the longest first so that the memory arena grows once, and each modality alone.

        Raises InferenceFailed, or ModelCorrupt where the classifier has other classes than the manifest.
        """
        shapes = [
            (rows, *given)
            for rows, samples, tokens in self._buckets.shapes()
            for given in ((samples, tokens), (samples, None), (None, tokens))
        ]
        for rows, samples, tokens in dict.fromkeys(shapes):  # each once, in this order
            waveform = None if samples is None else np.zeros(samples, dtype=np.float32)
            input_ids = None if tokens is None else np.zeros(tokens, dtype=np.int64)
            for prediction in self.predict([Utterance(waveform, input_ids)] * rows):
                if len(prediction.probabilities) != len(self._manifest.emotion.classes):
                    raise ModelCorrupt("The emotion graph has another number of classes than its manifest.")

    def predict(self, batch: Sequence[Utterance]) -> list[Prediction]:
        """One prediction for each utterance, independent of its neighbours. Raises InferenceFailed."""
        try:
            if self._lanes is None:
                return self._by_kind(batch)
            if len(batch) == 1:
                return self._forward([batch[0]], batch[0].heard)
            alone = self._lanes.map(lambda utterance: self._forward([utterance], utterance.heard), batch)
            return [prediction for (prediction,) in alone]
        except Exception as error:  # onnxruntime's exceptions have no base of their own
            raise InferenceFailed from error

    def _by_kind(self, batch: Sequence[Utterance]) -> list[Prediction]:
        """A batch for each of what can be heard, so that none is computed for those without it."""
        predictions: dict[int, Prediction] = {}
        for heard in HEARD:
            rows = [row for row, utterance in enumerate(batch) if utterance.heard == heard]
            if rows:
                predictions |= zip(rows, self._forward([batch[row] for row in rows], heard), strict=True)
        return [predictions[row] for row in range(len(batch))]

    def _forward(self, batch: list[Utterance], heard: Heard) -> list[Prediction]:
        """Predictions for a batch of which all is `heard`."""
        voices = [utterance.waveform for utterance in batch if utterance.waveform is not None]
        words = [utterance.input_ids for utterance in batch if utterance.input_ids is not None]
        if voices and words and self._beside is not None:
            reading = self._beside.submit(self._read, words)
            try:
                audio = self._hear(voices)
            finally:
                reading.exception()  # waited for, so that nothing of this batch runs on beside the next
            text = reading.result()
        else:
            audio = self._hear(voices) if voices else {}
            text = self._read(words) if words else {}
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
        temperature = self._manifest.emotion.temperature.of(heard)
        probabilities = _softmax(logits[: len(batch)].astype(np.float64) / temperature)
        if not np.isfinite(probabilities).all():
            raise ArithmeticError("the classifier's logits are not finite")
        return [Prediction(*row) for row in zip(arousal, valence, map(tuple, probabilities.tolist()), strict=True)]

    def _hear(self, waveforms: list[NDArray[np.float32]]) -> dict[str, Any]:
        """Every output of the audio graph."""
        longest = self._buckets.samples(max(map(len, waveforms)))
        waveform, length = right_pad(waveforms, longest, self._buckets.rows(len(waveforms)))
        return self._run("audio_arousal", {"waveform": waveform, "waveform_length": length})

    def _read(self, ids: list[NDArray[np.int64]]) -> dict[str, Any]:
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
        for key in SIGNATURES[name].outputs:
            device, number = self._device if key in EMBEDDINGS else ("cpu", 0)
            binding.bind_output(key, device, number)
        session.run_with_iobinding(binding)
        return dict(zip(SIGNATURES[name].outputs, binding.get_outputs(), strict=True))

    def _scores(self, given: Any, rows: int) -> list[float | None]:
        """A regressor's scores, clipped to the manifest's scale, of which it may pass the ends by a little."""
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
