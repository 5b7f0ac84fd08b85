"""From utterances to examples: decoded, tokenised, and augmented for training. `batches` puts them together.

`app`'s own functions prepare audio and text, so that serving cannot drift from training.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from app.audio.decode import SAMPLE_RATE, decode
from app.engine.detector import SpeechDetector
from app.errors import MaeumError
from app.hearing import hear
from app.store.manifest import AudioInput
from app.text import TextTokenizer

from ..config import Augmentation
from ..errors import TrainingError
from ..features import HOP_LENGTH
from .augment import KINDS, Band, Kind, delete_tokens, draw_band, respelled, swap_tokens
from .utterance import Utterance

Waveform = NDArray[np.float32]


class DataError(TrainingError):
    """An utterance that cannot be used; the message names it."""


@dataclass(frozen=True)
class Example:
    """One utterance, decoded and tokenised. A missing modality has length 0."""

    utterance: Utterance
    waveform: NDArray[np.float32]  # [samples]
    input_ids: NDArray[np.int64]  # [tokens]
    band: Band | None = None


class Examples(Dataset[Example]):
    """Utterances, each decoded and tokenised on access."""

    def __init__(
        self,
        utterances: Sequence[Utterance],
        tokenizer: TextTokenizer | None,
        max_frames: int,
        detector: SpeechDetector | None = None,
    ) -> None:
        """Without a `tokenizer` only the audio is read. `max_frames` is where audio is cut, to its speech if there is a
        `detector`.
        """
        self.utterances = utterances
        self.tokenizer = tokenizer
        self.audio = AudioInput(sample_rate=SAMPLE_RATE, hop_length=HOP_LENGTH, max_frames=max_frames)
        self.detector = detector

    def __len__(self) -> int:
        return len(self.utterances)

    def __getitem__(self, index: int) -> Example:
        return self.read(self.utterances[index])

    def read(self, utterance: Utterance) -> Example:
        """Raises DataError, naming the utterance."""
        samples = self.decoded(utterance)
        waveform = heard(samples, self.audio, self.detector) if len(samples) else samples
        return Example(utterance, waveform, self._tokens(utterance))

    def decoded(self, utterance: Utterance) -> Waveform:
        """The samples of the whole clip; none where the utterance has no audio. Raises DataError."""
        if utterance.audio is None:
            return np.zeros(0, dtype=np.float32)
        try:
            return decode(utterance.audio.read_bytes()).samples
        except (OSError, MaeumError) as error:
            raise DataError(f"{utterance.id}: {utterance.audio}: {error}") from error

    def _tokens(self, utterance: Utterance) -> NDArray[np.int64]:
        if utterance.transcript is None or self.tokenizer is None:
            return np.zeros(0, dtype=np.int64)
        return self.tokenizer.encode(utterance.transcript).ids


def heard(samples: Waveform, audio: AudioInput, detector: SpeechDetector | None) -> Waveform:
    """What the network gets of a decoded clip [samples]. One without speech is taken as it is, so that none is lost."""
    waveform = hear(samples, audio, detector).waveform
    return samples[: audio.taken_samples] if waveform is None else waveform


class TrainingExamples(Examples):
    """Augmented examples, for training.

    Fixed copies follow the originals, and are drawn from `seed` and their index; everything else is drawn from `seed`,
    `epoch` (set by the training loop) and the index.
    """

    def __init__(
        self,
        utterances: Sequence[Utterance],
        tokenizer: TextTokenizer | None,
        max_frames: int,
        augmentation: Augmentation,
        seed: int,
        detector: SpeechDetector | None = None,
    ) -> None:
        self.augmentation = augmentation
        self.kinds: list[Kind | None] = [None] * len(utterances)
        if augmentation.mode == "copies":
            rare = [utterance for utterance in utterances if self._augmented(utterance)]
            self.kinds += [kind for kind in KINDS for _ in rare]
            utterances = [*utterances, *(utterance for _ in KINDS for utterance in rare)]
        super().__init__(utterances, tokenizer, max_frames, detector)
        self.epoch = 0
        self.seed = seed

    def __getitem__(self, index: int) -> Example:
        utterance, kind = self.utterances[index], self.kinds[index]
        random = np.random.default_rng((self.seed, index) if kind else (self.seed, index, self.epoch))
        on_the_fly = self.augmentation.mode == "on_the_fly" and self._augmented(utterance)
        if on_the_fly and random.random() < self.augmentation.share:
            kind = KINDS[random.integers(len(KINDS))]
        if utterance.transcript is not None and self.augmentation.respell:
            own = np.random.default_rng((self.seed, index, self.epoch, 1))
            if own.random() < self.augmentation.respell:
                utterance = utterance.model_copy(update={"transcript": respelled(utterance.transcript, own)})
        return augmented(self.read(utterance), kind, random)

    def _augmented(self, utterance: Utterance) -> bool:
        return not self.augmentation.classes or utterance.emotion in self.augmentation.classes


def augmented(example: Example, kind: Kind | None, random: np.random.Generator) -> Example:
    """The example augmented by `kind`, as far as it has the modality that `kind` changes."""
    ids, band = example.input_ids, None
    if kind == "swap" and len(ids):
        ids = swap_tokens(ids, random)
    if kind == "mask_delete" and len(ids):
        ids = delete_tokens(ids, random)
    if kind in ("mask", "mask_delete") and len(example.waveform):
        band = draw_band(len(example.waveform), random)
    return replace(example, input_ids=ids, band=band)
