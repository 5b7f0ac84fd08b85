"""Runs the networks over utterances and keeps their predictions with the labels, as numpy arrays."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from ..config import Stage
from ..data.batches import loader
from ..data.examples import Examples
from ..networks.networks import Networks


@dataclass(frozen=True)
class Predictions:
    """In the order of `ids`; NaN for a missing label or modality, -1 for a missing class."""

    ids: NDArray[np.str_]
    arousal: NDArray[np.float64]
    valence: NDArray[np.float64]
    logits: NDArray[np.float64]  # [utterances, classes]
    true_arousal: NDArray[np.float64]
    true_valence: NDArray[np.float64]
    emotion: NDArray[np.int64]
    shares: NDArray[np.float64]  # [utterances, classes]: the label's share of each class, all zero where there is none

    @classmethod
    def joined(cls, parts: Sequence["Predictions"]) -> "Predictions":
        """The `parts` concatenated; some may be empty."""
        return cls(**{f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(cls)})


@torch.no_grad()
def predict(
    networks: Networks, examples: Examples, order: Sequence[list[int]], stage: Stage, device: torch.device
) -> Predictions:
    """The predictions for the examples in `order`. The classifier runs only for the stage `emotion`."""
    networks.eval()
    classes = networks.config.emotion.classes
    nothing, no_class = np.zeros(0), np.zeros((0, len(classes)))
    parts = [Predictions(np.zeros(0, "U1"), nothing, nothing, no_class, nothing, nothing, np.zeros(0, int), no_class)]
    for (batch,) in tqdm(loader(examples, classes, order), desc="validate", mininterval=1.0, leave=False):
        outputs = networks.embed(batch.to(device))
        logits = networks.classify(outputs) if stage == "emotion" else torch.zeros(len(batch.ids), len(classes))
        parts.append(
            Predictions(
                ids=np.array(batch.ids),
                arousal=_doubles(outputs.arousal),
                valence=_doubles(outputs.valence),
                logits=_doubles(logits),
                true_arousal=_doubles(batch.arousal),
                true_valence=_doubles(batch.valence),
                emotion=batch.emotion.numpy(),
                shares=_doubles(batch.votes),
            )
        )
    return Predictions.joined(parts)


def _doubles(values: torch.Tensor) -> NDArray[np.float64]:
    return np.asarray(values.double().cpu().numpy())
