"""From utterances to padded batches: decoding, tokenising, bucketing by length. The models see nothing but `Batch`.

Audio and text are prepared by `app`'s own functions, so that serving cannot drift from training.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from app.audio import decode
from app.errors import MaeumError
from app.padding import right_pad
from app.tokenizer import TextTokenizer
from training.features import HOP_LENGTH
from training.utterance import Utterance

POOL = 32  # batches that are sorted by length together: enough to save the padding, few enough to stay random
NO_CLASS = -1


class DataError(Exception):
    """An utterance that cannot be used; the message names it."""


@dataclass(frozen=True)
class Batch:
    """Utterances side by side. A missing modality has length 0; a missing label is NaN, a missing class -1."""

    ids: list[str]
    waveform: Tensor  # f32 [batch, samples], zeros where there is none
    waveform_length: Tensor  # i64 [batch]
    input_ids: Tensor  # i64 [batch, tokens]
    attention_mask: Tensor  # i64 [batch, tokens]
    arousal: Tensor  # f32 [batch]
    valence: Tensor  # f32 [batch]
    emotion: Tensor  # i64 [batch]

    def to(self, device: torch.device) -> "Batch":
        """The same on `device`."""
        tensors = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "ids"}
        return replace(self, **{name: tensor.to(device) for name, tensor in tensors.items()})


@dataclass(frozen=True)
class Example:
    """One utterance, decoded and tokenised."""

    utterance: Utterance
    waveform: NDArray[np.float32]
    input_ids: NDArray[np.int64]


class Examples(Dataset[Example]):
    """Utterances, each decoded and tokenised when it is asked for."""

    def __init__(self, utterances: Sequence[Utterance], tokenizer: TextTokenizer | None, max_frames: int) -> None:
        """Without a tokenizer only the audio is read."""
        self.epoch = 0
        self.utterances = utterances
        self.tokenizer = tokenizer
        self.max_samples = max_frames * HOP_LENGTH - 1

    def __len__(self) -> int:
        return len(self.utterances)

    def __getitem__(self, index: int) -> Example:
        return self._example(self.utterances[index])

    def _example(self, utterance: Utterance) -> Example:
        return Example(utterance, self._waveform(utterance), self._tokens(utterance))

    def _waveform(self, utterance: Utterance) -> NDArray[np.float32]:
        if utterance.audio is None:
            return np.zeros(0, dtype=np.float32)
        try:
            return decode(utterance.audio.read_bytes()).samples[: self.max_samples]
        except (OSError, MaeumError) as error:
            raise DataError(f"{utterance.id}: {utterance.audio}: {error}") from error

    def _tokens(self, utterance: Utterance) -> NDArray[np.int64]:
        if utterance.transcript is None or self.tokenizer is None:
            return np.zeros(0, dtype=np.int64)
        return self.tokenizer.encode(utterance.transcript).ids


class Borrowing(Examples):
    """Examples in which a share of the voices without a transcript borrow the words of another utterance.

    The voice keeps its label: words of the same emotion, neutral ones or any teach the classifier to hear both, and no
    sentence is ever met with the label of the voice that spoke it. The draw follows from `seed`, `epoch` and the index.
    """

    SAME, NEUTRAL = 0.6, 0.3  # shares of the borrowed words; the rest are any

    def __init__(
        self, utterances: Sequence[Utterance], tokenizer: TextTokenizer | None, max_frames: int, share: float, seed: int
    ) -> None:
        super().__init__(utterances, tokenizer, max_frames)
        self.share = share
        self.seed = seed
        self.words: dict[str, list[str]] = defaultdict(list)
        for utterance in utterances:
            if utterance.audio is None and utterance.transcript is not None and utterance.emotion is not None:
                self.words[utterance.emotion].append(utterance.transcript)

    def __getitem__(self, index: int) -> Example:
        utterance = self.utterances[index]
        if utterance.transcript is None and utterance.emotion is not None:
            random = np.random.default_rng((self.seed, self.epoch, index))
            if random.random() < self.share:
                return self._example(
                    utterance.model_copy(update={"transcript": self._borrow(utterance.emotion, random)})
                )
        return self._example(utterance)

    def _borrow(self, emotion: str, random: np.random.Generator) -> str | None:
        draw = random.random()
        reading = emotion if draw < self.SAME else "neutral" if draw < self.SAME + self.NEUTRAL else None
        words = self.words.get(reading or "") or [text for texts in self.words.values() for text in texts]
        return words[random.integers(len(words))] if words else None


class Bucketed(Sampler[list[int]]):
    """Batches of like length: shuffled, sorted within pools of `POOL` batches, and the batches shuffled again.

    The order follows from `seed` and `epoch`, which the training loop sets.
    """

    def __init__(self, utterances: Sequence[Utterance], batch_size: int, seed: int, limit: int | None = None) -> None:
        """`limit` is the most batches an epoch."""
        self.lengths = np.array([approximate_length(utterance) for utterance in utterances])
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0
        self.batches = -(-len(utterances) // batch_size)
        if limit is not None:
            self.batches = min(limit, self.batches)

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[list[int]]:
        random = np.random.default_rng((self.seed, self.epoch))
        order = random.permutation(len(self.lengths))[: self.batches * self.batch_size]
        pool = POOL * self.batch_size
        batches: list[list[int]] = []
        for start in range(0, len(order), pool):
            members = order[start : start + pool]
            members = members[np.argsort(self.lengths[members], kind="stable")]
            batches += [members[k : k + self.batch_size].tolist() for k in range(0, len(members), self.batch_size)]
        for index in random.permutation(len(batches)):
            yield batches[index]


def approximate_length(utterance: Utterance) -> float:
    """What an utterance costs, in seconds of audio and characters of text; good enough to sort by."""
    return 10 * (utterance.duration_s or 0.0) + len(utterance.transcript or "")


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
    )


def loader(examples: Examples, classes: Sequence[str], batches: Iterable[list[int]]) -> DataLoader[Example]:
    """`examples` as `Batch`es, those of each list of indices together."""

    def together(chosen: list[Example]) -> Batch:
        return collate(chosen, classes)

    return DataLoader(examples, batch_sampler=batches, collate_fn=together)


def by_length(utterances: Sequence[Utterance], batch_size: int) -> list[list[int]]:
    """Indices in batches of like length, the shortest first: every utterance once, with little padding."""
    order = sorted(range(len(utterances)), key=lambda index: approximate_length(utterances[index]))
    return [order[k : k + batch_size] for k in range(0, len(order), batch_size)]
