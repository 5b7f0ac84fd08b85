"""Asks a model about utterances, as serving would, and keeps what it said beside what is true."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from app.audio.decode import decode
from app.engine.engine import ModelInput, Prediction
from app.engine.load import Model
from app.errors import MaeumError
from app.store.manifest import Available

from ..data.microphone import Waveform
from ..data.utterance import Utterance
from ..errors import TrainingError

Score = Literal["arousal", "valence"]
Unit = Literal["speakers", "sessions", "utterances"]

BATCH_SIZE = 16
ENOUGH_GROUPS = 5  # fewer cannot tell how far one group differs from the next


class EvaluationError(TrainingError):
    """A version that cannot be measured on this data; the message says why."""


@dataclass(frozen=True)
class Answered:
    """Utterances and what the model said of each."""

    utterances: list[Utterance]
    predictions: list[Prediction]

    def select(self, chosen: Callable[[Utterance], bool]) -> "Answered":
        """The utterances that are `chosen`."""
        kept = [(u, p) for u, p in zip(self.utterances, self.predictions, strict=True) if chosen(u)]
        return Answered([u for u, _ in kept], [p for _, p in kept])

    def probabilities(self) -> NDArray[np.float64]:
        """[utterances, classes], rows sum to 1."""
        return np.array([p.probabilities for p in self.predictions])

    def emotions(self, classes: Sequence[str]) -> NDArray[np.int64]:
        """The true class [utterances] as an index into `classes`. Raises ValueError where one is none of them."""
        return np.array([classes.index(u.emotion or "") for u in self.utterances], dtype=np.int64)

    def truths(self, score: Score) -> NDArray[np.float64]:
        """True arousal or valence [utterances], 1..5; NaN where it is not labelled."""
        return np.array([getattr(u, score) for u in self.utterances], dtype=np.float64)

    def scores(self, score: Score) -> NDArray[np.float64]:
        """Said arousal or valence [utterances], 1..5; NaN where its modality was not heard."""
        return np.array([getattr(p, score) for p in self.predictions], dtype=np.float64)

    def groups(self) -> tuple[Unit, list[str]]:
        """The unit over which an interval is drawn, and each utterance's own.

        Speakers; where not all are known or they are fewer than five, sessions (films, say); where that holds of them
        too, utterances. Then the interval says nothing about other speakers.
        """
        speakers = [u.speaker for u in self.utterances if u.speaker is not None]
        if len(speakers) == len(self.utterances) and len(set(speakers)) >= ENOUGH_GROUPS:
            return "speakers", speakers
        sessions = [u.session for u in self.utterances if u.session is not None]
        if len(sessions) == len(self.utterances) and len(set(sessions)) >= ENOUGH_GROUPS:
            return "sessions", sessions
        return "utterances", [u.id for u in self.utterances]


def can(utterance: Utterance, heard: Available) -> bool:
    """Whether the utterance has what is to be heard."""
    return (heard == "text" or utterance.audio is not None) and (heard == "audio" or utterance.transcript is not None)


def answer(
    model: Model,
    utterances: Sequence[Utterance],
    heard: Available,
    title: str,
    change: Callable[[Waveform], Waveform] | None = None,
) -> Answered:
    """What the model says of each, given what `heard` names of what it has, the voice after a `change`.

    Raises EvaluationError.
    """
    ordered = sorted(utterances, key=lambda u: (u.duration_s or 0.0, len(u.transcript or "")))
    batches = [ordered[k : k + BATCH_SIZE] for k in range(0, len(ordered), BATCH_SIZE)]
    predictions = [
        prediction
        for batch in tqdm(batches, desc=title, mininterval=1.0, leave=False)
        for prediction in model.predict([model_input(model, u, heard, change) for u in batch])
    ]
    return Answered(ordered, predictions)


def model_input(
    model: Model, utterance: Utterance, heard: Available, change: Callable[[Waveform], Waveform] | None = None
) -> ModelInput:
    """Decoded and tokenised as in serving, the voice after a `change`.

    Raises EvaluationError, naming the file that cannot be heard.
    """
    waveform = ids = None
    if heard != "text" and utterance.audio is not None:
        try:
            waveform = decode(utterance.audio.read_bytes()).samples
            waveform = (change(waveform) if change else waveform)[: model.manifest.audio.taken_samples]
        except (OSError, MaeumError) as error:
            raise EvaluationError(f"{utterance.audio} of utterance {utterance.id} cannot be heard: {error}") from error
    if heard != "audio" and utterance.transcript is not None:
        ids = model.tokenizer.encode(utterance.transcript).ids
    return ModelInput(waveform, ids)
