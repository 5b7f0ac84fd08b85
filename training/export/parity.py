"""The parity gate: exported graphs compute the same as the torch networks, or the export fails. Also measures drift.

Compares every output on noise, a tone, silence, a click, one sample, the longest utterance and a longer one, alone and
in a batch of unequal lengths, with both modalities and with one.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray

from app.audio.decode import SAMPLE_RATE
from app.engine.load import physical_cores
from app.engine.session import SIGNATURES, Device, open_session
from app.engine.shapes import right_pad
from app.settings import Precision
from app.store.manifest import GraphName

from ..errors import TrainingError
from ..features import HOP_LENGTH
from ..networks.networks import Networks
from .fp16 import rounded_values

TOLERANCE = 1e-4  # absolute, relative where the value is over 1
# Absolute.
BOUNDS: dict[Precision, dict[str, float]] = {
    # A tenth of a scale's four points would show in a conversation's course. A logit off by 1 changes the odds of its
    # class by a factor of e, which turns answers that were clear.
    "int8": {"arousal": 0.4, "valence": 0.4, "logits": 1.0, "audio_mask": 0.0},
    # float16 has eleven bits: a score of 5 is spaced by 0.004, a logit of 10 by 0.008.
    "fp16": {"arousal": 0.02, "valence": 0.02, "logits": 0.05, "audio_mask": 0.0},
}
FLOAT16_MAX = 65_504.0
HEADROOM = 4.0  # for audio and text that are not among the cases

Arrays = dict[str, NDArray[Any]]
Distance = Callable[[NDArray[Any], NDArray[Any]], float]
Sessions = dict[GraphName, onnxruntime.InferenceSession]


class ParityError(TrainingError):
    """An exported graph that differs from its network; the message says in which output and by how much."""


@dataclass(frozen=True)
class Case:
    """A batch: waveforms and token ids of unequal lengths."""

    name: str
    waveforms: list[NDArray[np.float32]]
    tokens: list[NDArray[np.int64]]


def cases(networks: Networks, seed: int = 0) -> Iterator[Case]:
    """The inputs to compare on: each kind alone, then all of them in one batch."""
    random = np.random.default_rng(seed)
    longest = networks.config.audio.max_frames * HOP_LENGTH - 1
    most = networks.config.text.max_tokens
    second = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    click = np.zeros(5000)
    click[2500] = 1.0
    waveforms: dict[str, NDArray[np.float64]] = {
        "noise": random.standard_normal(3 * SAMPLE_RATE) * 0.1,
        "tone": np.sin(2 * np.pi * 220 * second) * np.hanning(SAMPLE_RATE),
        "silence": np.zeros(20_000),
        "click": click,
        "shortest": np.array([0.5]),
        "longest": random.standard_normal(longest) * random.random(longest),
        "too long": random.standard_normal(longest + 9000) * 0.3,
    }
    lengths = (12, 3, 1, 20, 2, most, most // 2)
    vocabulary = int(networks.text.encoder.config.vocab_size)
    tokens = [random.integers(vocabulary, size=min(length, most)) for length in lengths]
    clips = [waveform.astype(np.float32) for waveform in waveforms.values()]
    for name, clip, ids in zip(waveforms, clips, tokens, strict=True):
        yield Case(name, [clip], [ids])
    yield Case("batch", clips, tokens)


class Reference:
    """The cases, and the outputs of the networks in torch on them."""

    def __init__(self, networks: Networks) -> None:
        self.cases = list(cases(networks))
        self.truth = [_in_torch(networks, case) for case in self.cases]

    def check_fp32(self, graphs: dict[GraphName, Path]) -> dict[str, float]:
        """The largest difference of each output. Raises ParityError where one is over 1e-4, or where an answer changes
        by more than that with the batch around it.
        """
        answers = self._answers(graphs)
        found = self._drift(answers)
        for output, difference in {**found, "answer in a batch": _neighbour_effect(answers)}.items():
            if not difference <= TOLERANCE:  # also where it is NaN
                raise ParityError(f"The exported graphs' {output} is off by {difference:.1e}; {TOLERANCE} is allowed.")
        return found

    def check(self, graphs: dict[GraphName, Path], precision: Precision) -> dict[str, float]:
        """The `drift` of graphs of another precision. Raises ParityError where an output is off by more than BOUNDS."""
        answers = self._answers(graphs)
        off = self._drift(answers, _absolute)
        for output, bound in BOUNDS[precision].items():
            if off[output] > bound:
                raise ParityError(
                    f"The {precision} graphs' {output} is off by {off[output]:.2g} where {bound:g} is allowed; export "
                    f"without {precision}, or look for weights or activations that are far larger than others."
                )
        return self._drift(answers)

    def drift(self, graphs: dict[GraphName, Path]) -> dict[str, float]:
        """By output, the largest difference between the networks and `graphs` over all cases, relative where over 1.

        Raises ParityError if an output is not finite.
        """
        return self._drift(self._answers(graphs))

    def beyond_float16(self, fp32: dict[GraphName, Path]) -> dict[GraphName, set[str]]:
        """The values of each float32 graph that come near float16's range or pass it, over all cases.

        Measured in float32: the CPU computes float16 graphs in float32 too, and would not show an overflow.
        """
        watched = {name: _Watched(path) for name, path in fp32.items()}
        for case in self.cases:
            _in_graphs(watched, case)
        limit = FLOAT16_MAX / HEADROOM
        return {
            name: {value for value, largest in graph.largest.items() if largest > limit}
            for name, graph in watched.items()
        }

    def neighbour_effect(self, graphs: dict[GraphName, Path]) -> float:
        """The largest change of arousal, valence or a logit between an utterance alone and the same in the batch."""
        return _neighbour_effect(self._answers(graphs))

    def _answers(self, graphs: dict[GraphName, Path]) -> list[list[Arrays]]:
        sessions = _sessions(graphs)
        return [_in_graphs(sessions, case) for case in self.cases]

    def _drift(self, answers: list[list[Arrays]], distance: Distance | None = None) -> dict[str, float]:
        distance = distance or _distance
        largest: dict[str, float] = {}
        for truth, found in zip(self.truth, answers, strict=True):
            for expected, answer in zip(truth, found, strict=True):
                for output, values in expected.items():
                    for source, numbers in (("networks'", values), ("graphs'", answer[output])):
                        if not np.isfinite(numbers).all():
                            raise ParityError(f"The {source} {output} is not finite; the run's weights are broken.")
                    largest[output] = max(largest.get(output, 0.0), distance(values, answer[output]))
        return largest


def _neighbour_effect(answers: list[list[Arrays]]) -> float:
    *alone, together = answers
    return max(
        _distance(whole[output], np.concatenate([part[output] for part in parts]))
        for whole, *parts in zip(together, *alone, strict=True)
        for output in ("arousal", "valence", "logits")
        if output in whole
    )


def _distance(one: NDArray[Any], other: NDArray[Any]) -> float:
    """The largest difference, relative where a value is over 1; NaN if either holds NaN."""
    first, second = one.astype(np.float64), other.astype(np.float64)
    return float((np.abs(first - second) / np.maximum(1.0, np.abs(first))).max())


def _absolute(one: NDArray[Any], other: NDArray[Any]) -> float:
    """The largest difference."""
    return float(np.abs(one.astype(np.float64) - other.astype(np.float64)).max())


def _sessions(graphs: dict[GraphName, Path]) -> Sessions:
    """Opened as the service opens them, so that the served computation is compared."""
    device = Device("cpu", physical_cores())
    return {name: open_session(path, name, device) for name, path in graphs.items()}


class _Watched:
    """A float32 graph as a session, which keeps the largest magnitude of each value that float16 graphs round."""

    def __init__(self, path: Path) -> None:
        model = onnx.load(path)
        self._watched = rounded_values(model)
        present = {value.name for value in model.graph.output}
        model.graph.output.extend(
            onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
            for name in self._watched
            if name not in present
        )
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        self._session = onnxruntime.InferenceSession(model.SerializeToString(), options)
        self.largest: dict[str, float] = dict.fromkeys(self._watched, 0.0)

    def run(self, outputs: list[str], given: Arrays) -> list[NDArray[Any]]:
        found: list[NDArray[Any]] = self._session.run([*outputs, *self._watched], given)
        for name, values in zip(self._watched, found[len(outputs) :], strict=True):
            self.largest[name] = max(self.largest[name], float(np.abs(values).max(initial=0.0)))
        return found[: len(outputs)]


def _in_graphs(sessions: Mapping[GraphName, Any], case: Case) -> list[Arrays]:
    """The outputs with both modalities, then the classifier's with each alone."""

    def run(name: GraphName, given: Arrays) -> Arrays:
        outputs = list(SIGNATURES[name].outputs)
        return dict(zip(outputs, sessions[name].run(outputs, given), strict=True))

    waveform, length = right_pad(case.waveforms)
    ids, tokens = right_pad(case.tokens)
    text_mask = np.arange(ids.shape[1]) < tokens[:, None]
    audio = run("audio_arousal", {"waveform": waveform, "waveform_length": length})
    text = run("text_valence", {"input_ids": ids, "attention_mask": text_mask.astype(np.int64)})
    both: Arrays = {
        "audio_embedding": audio["audio_embedding"],
        "audio_mask": audio["audio_mask"],
        "text_embedding": text["text_embedding"],
        "text_mask": text_mask,
    }
    audio_only = {**both, "text_mask": np.zeros_like(text_mask)}
    text_only = {**both, "audio_mask": np.zeros_like(audio["audio_mask"])}
    return [
        {**audio, **text, **run("emotion", both)},
        run("emotion", audio_only),
        run("emotion", text_only),
    ]


@torch.no_grad()
def _in_torch(networks: Networks, case: Case) -> list[Arrays]:
    """The same outputs from the networks in torch."""
    waveform, length = (torch.from_numpy(array) for array in right_pad(case.waveforms))
    ids, tokens = (torch.from_numpy(array) for array in right_pad(case.tokens))
    text_mask = torch.arange(ids.shape[1]) < tokens[:, None]
    arousal, audio_embedding, audio_mask = networks.audio(waveform, length)
    valence, text_embedding = networks.text(ids, text_mask.long())
    no_audio, no_text = torch.zeros_like(audio_mask), torch.zeros_like(text_mask)
    return [
        {
            "arousal": arousal.numpy(),
            "audio_embedding": audio_embedding.numpy(),
            "audio_mask": audio_mask.numpy(),
            "valence": valence.numpy(),
            "text_embedding": text_embedding.numpy(),
            "logits": networks.emotion(audio_embedding, audio_mask, text_embedding, text_mask).numpy(),
        },
        {"logits": networks.emotion(audio_embedding, audio_mask, text_embedding, no_text).numpy()},
        {"logits": networks.emotion(audio_embedding, no_audio, text_embedding, text_mask).numpy()},
    ]
