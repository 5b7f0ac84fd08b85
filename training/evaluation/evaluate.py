"""Measures a version of a model on speakers and texts it never met, through the same engine that serves it.

Every figure is over a whole part of the corpus, with its n and a 95 % bootstrap interval, beside an answer that needs
no model. What is asked: `training.evaluation.measure`; how it is computed: `training.evaluation.figures`.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from app.engine.load import Model
from app.store.manifest import Available, Temperatures

from ..data.utterance import Split, Utterance
from ..metrics import fit_temperature
from .figures import Figures, logits_of
from .measure import Measurement, measure


def evaluate(model: Model, utterances: Sequence[Utterance], split: Split = "test") -> dict[str, Figures]:
    """Figures by name, `emotion of PART, HEARD` and the like, of the utterances of `split`.

    `utterances` are all of the corpus: with them each figure tells how many of its speakers other splits have too.
    Raises EvaluationError.
    """
    return figures_of(measure(model, utterances, split), utterances, split)


def figures_of(
    measurements: Iterable[Measurement], utterances: Sequence[Utterance], split: Split = "test"
) -> dict[str, Figures]:
    """The figures of each measurement by its name, with its `speakers` and how many of them are `speakers_met`."""
    met = {(u.corpus, u.speaker) for u in utterances if u.split != split}
    figures = {}
    for measurement in measurements:
        speakers = {(u.corpus, u.speaker) for u in measurement.answered.utterances if u.speaker is not None}
        figures[measurement.name] = measurement.figures() | {
            "speakers": len(speakers),
            "speakers_met": len(speakers & met),
        }
    return figures


def calibrate(model: Model, utterances: Sequence[Utterance]) -> Temperatures:
    """The temperatures that fit the validation utterances best, each heard in every way that it can be.

    The model's own temperatures change nothing. Raises EvaluationError.
    """
    classes = model.manifest.emotion.classes
    held_out = [u for u in utterances if u.split == "validation" and u.emotion in classes]
    return fit_temperatures(measure(model, held_out, "validation"))


def fit_temperatures(measurements: Iterable[Measurement]) -> Temperatures:
    """The temperatures that fit the answers about emotions best; measurements of other subjects count nowhere.

    The answers may be those of several models (of a cross-validation's folds, say), whatever temperatures these have.
    What was never heard takes the temperature of all the answers together, 1 if there are none.
    """
    judged = [measurement for measurement in measurements if measurement.subject == "emotion"]

    def fitted(heard: Available) -> float:
        chosen = [measurement for measurement in judged if measurement.heard == heard] or judged
        if not chosen:
            return 1.0
        logits = [logits_of(m.answered.probabilities(), m.temperature) for m in chosen]
        truths = [m.answered.emotions(m.classes) for m in chosen]
        return fit_temperature(np.concatenate(logits), np.concatenate(truths))

    return Temperatures(audio=fitted("audio"), text=fitted("text"), both=fitted("both"))
