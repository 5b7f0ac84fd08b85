"""Runs the networks over a corpus and keeps what they said beside what is true, as numpy arrays."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from training.config import Stage
from training.data import Examples, by_length, loader
from training.networks import Networks

BATCH_SIZE = 32


@dataclass(frozen=True)
class Predictions:
    """In the order of `ids`; NaN where a label or a modality is missing, -1 where a class is."""

    ids: list[str]
    arousal: NDArray[np.float64]
    valence: NDArray[np.float64]
    logits: NDArray[np.float64]  # [utterances, classes]
    true_arousal: NDArray[np.float64]
    true_valence: NDArray[np.float64]
    emotion: NDArray[np.int64]


@torch.inference_mode()
def predict(networks: Networks, examples: Examples, stage: Stage, device: torch.device) -> Predictions:
    """What the networks say of every utterance, as far as `stage`: the classifier runs only for `emotion`."""
    networks.eval()
    classes = networks.config.emotion.classes
    batches = loader(examples, classes, by_length(examples.utterances, BATCH_SIZE))
    ids: list[str] = []
    columns: list[list[torch.Tensor]] = [[] for _ in range(6)]
    for batch in tqdm(batches, desc="predict", mininterval=1.0, leave=False):
        outputs = networks.embed(batch.to(device))
        logits = networks.classify(outputs) if stage == "emotion" else torch.zeros(len(batch.ids), len(classes))
        ids += batch.ids
        said = (outputs.arousal, outputs.valence, logits, batch.arousal, batch.valence, batch.emotion)
        for column, values in zip(columns, said, strict=True):
            column.append(values.cpu())
    joined = [torch.cat(column).double().numpy() for column in columns]
    return Predictions(
        ids=ids,
        arousal=joined[0],
        valence=joined[1],
        logits=joined[2],
        true_arousal=joined[3],
        true_valence=joined[4],
        emotion=joined[5].astype(np.int64),
    )
