"""Batches: examples padded to the longest of the batch, and the order of an epoch."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from app.engine.shapes import right_pad

from .augment import Band
from .examples import Example, Examples
from .utterance import Utterance

POOL = 32  # batches that are sorted by length together: enough to save padding, few enough to stay random
NO_CLASS = -1


@dataclass(frozen=True)
class Batch:
    """A batch of utterances. A missing modality has length 0; a missing label is NaN, a missing class -1."""

    ids: list[str]
    waveform: Tensor  # f32 [batch, samples], zeros where there is none
    waveform_length: Tensor  # i64 [batch]
    input_ids: Tensor  # i64 [batch, tokens]
    attention_mask: Tensor  # i64 [batch, tokens]
    arousal: Tensor  # f32 [batch]
    valence: Tensor  # f32 [batch]
    emotion: Tensor  # i64 [batch]
    votes: Tensor  # f32 [batch, classes]: the share of each class in the label, all zero without a label
    tags: list[tuple[str, ...]]  # empty where there are none
    bands: list[Band | None]

    def to(self, device: torch.device) -> "Batch":
        """The same on `device`."""
        moved: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        moved.update({name: value.to(device) for name, value in moved.items() if isinstance(value, Tensor)})
        return Batch(**moved)


def collate(examples: Sequence[Example], classes: Sequence[str]) -> Batch:
    """Pads to the longest of the batch, no further."""
    waveform, waveform_length = map(torch.from_numpy, right_pad([example.waveform for example in examples]))
    input_ids, tokens = map(torch.from_numpy, right_pad([example.input_ids for example in examples]))
    utterances = [example.utterance for example in examples]
    nan = float("nan")
    return Batch(
        ids=[utterance.id for utterance in utterances],
        waveform=waveform,
        waveform_length=waveform_length,
        input_ids=input_ids,
        attention_mask=(torch.arange(input_ids.shape[1])[None, :] < tokens[:, None]).long(),
        arousal=torch.tensor([nan if u.arousal is None else u.arousal for u in utterances]),
        valence=torch.tensor([nan if u.valence is None else u.valence for u in utterances]),
        emotion=torch.tensor([classes.index(u.emotion) if u.emotion in classes else NO_CLASS for u in utterances]),
        votes=torch.tensor([label_shares(u, classes) for u in utterances]),
        tags=[utterance.tags or () for utterance in utterances],
        bands=[example.band for example in examples],
    )


def label_shares(utterance: Utterance, classes: Sequence[str]) -> list[float]:
    """The target of the classifier, a share per class: 1 for the emotion, or the votes where a tie left none."""
    if utterance.emotion is not None:
        return [float(name == utterance.emotion) for name in classes]
    votes = [(utterance.votes or {}).get(name, 0.0) for name in classes]
    total = sum(votes)
    return [vote / total for vote in votes] if total > 0 else votes


class Bucketed(Sampler[list[int]]):
    """Batches of similar length: drawn, sorted within pools of `POOL` batches, and the batches shuffled again.

    The order follows from `seed` and `epoch`. The training loop sets `epoch` and `start`, the number of batches of the
    epoch that are done. With several processes each takes its own batches, and all take the same number.
    """

    def __init__(
        self,
        utterances: Sequence[Utterance],
        batch_size: int,
        seed: int,
        limit: int | None = None,
        balanced: Sequence[str] = (),
        process: int = 0,
        processes: int = 1,
    ) -> None:
        """`limit`: most batches per epoch and process. `balanced`: the classes to draw equally often; a tie counts for
        each of its classes by its share. Small data makes smaller batches, so that every process has one.

        Raises ValueError for fewer utterances than processes.
        """
        if len(utterances) < processes:
            raise ValueError(f"{len(utterances)} utterances are too few for {processes} processes")
        self.lengths = np.array([approximate_length(utterance) for utterance in utterances])
        self.batch_size = min(batch_size, len(utterances) // processes)
        self.seed = seed
        self.process, self.processes = process, processes
        self.epoch = self.start = 0
        self.steps = -(-len(utterances) // self.batch_size) // processes
        if limit is not None:
            self.steps = min(limit, self.steps)
        self.weights = None
        if balanced:
            shares = np.array([label_shares(utterance, balanced) for utterance in utterances])
            counts = shares.sum(axis=0)
            weights = shares @ np.divide(1, counts, out=np.zeros_like(counts), where=counts > 0)
            self.weights = weights / weights.sum()

    def __len__(self) -> int:
        return self.steps - self.start

    def __iter__(self) -> Iterator[list[int]]:
        random = np.random.default_rng((self.seed, self.epoch))
        wanted = self.steps * self.processes * self.batch_size
        if self.weights is None:
            order = random.permutation(len(self.lengths))[:wanted]
        else:
            order = random.choice(len(self.lengths), size=min(wanted, len(self.lengths)), p=self.weights)
        pool = POOL * self.batch_size
        batches: list[list[int]] = []
        for begin in range(0, len(order), pool):
            members = order[begin : begin + pool]
            members = members[np.argsort(self.lengths[members], kind="stable")]
            batches += [members[k : k + self.batch_size].tolist() for k in range(0, len(members), self.batch_size)]
        shuffled = [batches[index] for index in random.permutation(len(batches))]
        own = shuffled[self.process :: self.processes][: self.steps]
        yield from own[self.start :]


def by_length(utterances: Sequence[Utterance], batch_size: int) -> list[list[int]]:
    """Indices in batches of similar length, the shortest first: every utterance once, with little padding."""
    order = sorted(range(len(utterances)), key=lambda index: approximate_length(utterances[index]))
    return [order[k : k + batch_size] for k in range(0, len(order), batch_size)]


def approximate_length(utterance: Utterance) -> float:
    """A measure of length to sort by: tenths of a second of audio plus characters of text."""
    return 10 * (utterance.duration_s or 0.0) + len(utterance.transcript or "")


def loader(
    examples: Examples, classes: Sequence[str], order: Iterable[list[int]], parts: int = 1, workers: int = 0
) -> DataLoader[Example]:
    """For each list of indices in `order`, its examples as a list of at most `parts` batches of similar size."""

    def together(chosen: list[Example]) -> list[Batch]:
        size = -(-len(chosen) // parts)
        return [collate(chosen[k : k + size], classes) for k in range(0, len(chosen), size)]

    return DataLoader(examples, batch_sampler=order, collate_fn=together, num_workers=workers)
