"""Asks a model about utterances as serving would, and keeps its answers with the labels."""

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

from ..data.examples import heard
from ..data.microphone import Waveform
from ..data.utterance import Utterance
from ..errors import TrainingError

Score = Literal["arousal", "valence"]
Unit = Literal["speakers", "sessions", "utterances"]

BATCH_SIZE = 16
ENOUGH_GROUPS = 5  # fewer say too little about the spread between groups


class EvaluationError(TrainingError):
    """A version that cannot be measured on these data; the message says why."""


@dataclass(frozen=True)
class Answered:
    """Utterances and the model's prediction for each."""

    utterances: list[Utterance]
    predictions: list[Prediction]

    def select(self, chosen: Callable[[Utterance], bool]) -> "Answered":
        """The utterances that are `chosen`, with their predictions."""
        kept = [(u, p) for u, p in zip(self.utterances, self.predictions, strict=True) if chosen(u)]
        return Answered([u for u, _ in kept], [p for _, p in kept])

    def probabilities(self) -> NDArray[np.float64]:
        """[utterances, classes], rows sum to 1."""
        return np.array([p.probabilities for p in self.predictions])

    def emotions(self, classes: Sequence[str]) -> NDArray[np.int64]:
        """The true class [utterances] as an index into `classes`. Raises ValueError where it is not one of them."""
        return np.array([classes.index(u.emotion or "") for u in self.utterances], dtype=np.int64)

    def truths(self, score: Score) -> NDArray[np.float64]:
        """True arousal or valence [utterances], 1..5; NaN without a label."""
        return np.array([getattr(u, score) for u in self.utterances], dtype=np.float64)

    def scores(self, score: Score) -> NDArray[np.float64]:
        """Predicted arousal or valence [utterances], 1..5; NaN where its modality was not available."""
        return np.array([getattr(p, score) for p in self.predictions], dtype=np.float64)

    def groups(self) -> tuple[Unit, list[str]]:
        """The unit that intervals are resampled over, and each utterance's group.

        Speakers; sessions (films, say) where a speaker is unknown or there are fewer than five; utterances where the
        same holds for the sessions. In the last two cases the interval says nothing about other speakers.
        """
        speakers = [u.speaker for u in self.utterances if u.speaker is not None]
        if len(speakers) == len(self.utterances) and len(set(speakers)) >= ENOUGH_GROUPS:
            return "speakers", speakers
        sessions = [u.session for u in self.utterances if u.session is not None]
        if len(sessions) == len(self.utterances) and len(set(sessions)) >= ENOUGH_GROUPS:
            return "sessions", sessions
        return "utterances", [u.id for u in self.utterances]


def can(utterance: Utterance, available: Available) -> bool:
    """Whether the utterance has the modalities that are to be `available`."""
    return (available == "text" or utterance.audio is not None) and (
        available == "audio" or utterance.transcript is not None
    )


def answer(
    model: Model,
    utterances: Sequence[Utterance],
    available: Available,
    title: str,
    change: Callable[[Waveform], Waveform] | None = None,
) -> Answered:
    """The model's predictions from the `available` modalities of each utterance, with a `change` applied to the audio.

    Raises EvaluationError.
    """
    ordered = sorted(utterances, key=lambda u: (u.duration_s or 0.0, len(u.transcript or "")))
    batches = [ordered[k : k + BATCH_SIZE] for k in range(0, len(ordered), BATCH_SIZE)]
    predictions = [
        prediction
        for batch in tqdm(batches, desc=title, mininterval=1.0, leave=False)
        for prediction in model.predict([model_input(model, u, available, change) for u in batch])
    ]
    return Answered(ordered, predictions)


def model_input(
    model: Model, utterance: Utterance, available: Available, change: Callable[[Waveform], Waveform] | None = None
) -> ModelInput:
    """The utterance decoded and tokenised as in serving, with a `change` applied to the audio.

    Raises EvaluationError, naming the file that cannot be decoded.
    """
    waveform = ids = None
    if available != "text" and utterance.audio is not None:
        try:
            waveform = decode(utterance.audio.read_bytes()).samples
            waveform = heard(change(waveform) if change else waveform, model.manifest.audio, model.detector)
        except (OSError, MaeumError) as error:
            raise EvaluationError(
                f"{utterance.audio} of utterance {utterance.id} cannot be decoded: {error}"
            ) from error
    if available != "audio" and utterance.transcript is not None:
        ids = model.tokenizer.encode(utterance.transcript).ids
    return ModelInput(waveform, ids)
