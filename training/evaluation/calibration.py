"""Fits the softmax temperatures of a model: one for each set of modalities that an utterance may have."""

from collections.abc import Iterable, Sequence

import numpy as np

from app.engine.load import Model
from app.store.manifest import Available, Temperatures

from ..data.utterance import Utterance
from ..metrics import fit_temperature
from .figures import logits_of
from .measure import Measurement, measure


def calibrate(model: Model, utterances: Sequence[Utterance]) -> Temperatures:
    """The temperatures that fit the validation utterances best, each asked with every set of modalities it allows.

    The model's own temperatures do not matter. Raises EvaluationError.
    """
    classes = model.manifest.emotion.classes
    held_out = [u for u in utterances if u.split == "validation" and u.emotion in classes]
    return fit_temperatures(measure(model, held_out, "validation"))


def fit_temperatures(measurements: Iterable[Measurement]) -> Temperatures:
    """The temperatures that fit the answers about emotions best. Measurements of other subjects do not count.

    The answers may come from several models (the folds of a cross-validation, say) with temperatures of their own.
    Modalities without an answer take the temperature of all answers together, 1 if there are none.
    """
    judged = [measurement for measurement in measurements if measurement.subject == "emotion"]

    def fitted(available: Available) -> float:
        chosen = [measurement for measurement in judged if measurement.available == available] or judged
        if not chosen:
            return 1.0
        logits = [logits_of(m.answered.probabilities(), m.temperature) for m in chosen]
        truths = [m.answered.emotions(m.classes) for m in chosen]
        return fit_temperature(np.concatenate(logits), np.concatenate(truths))

    return Temperatures(audio=fitted("audio"), text=fitted("text"), both=fitted("both"))
