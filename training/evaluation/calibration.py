"""Fits how sure a model may be: softmax temperatures and the bound of an uncertain answer, by available modalities.

Answers of several parts (corpora, scripts, crossed pairs) count by part: each part weighs the same, however many
utterances it has, so that thousands of comments do not decide how sure a sentence of everyday talk is.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.engine.load import Model
from app.store.manifest import AVAILABLE, Available, Bounds, Temperatures

from ..data.utterance import Utterance
from ..metrics import ece, fit_temperature, risk_at, softmax, uncertain_below
from .figures import Figures, logits_of
from .measure import Measurement, measure

COVERAGES = (1.0, 0.9, 0.8, 0.7, 0.5)
"""Shares of the answers, the surest first, whose risk is reported."""


@dataclass(frozen=True)
class _Judged:
    """Answers about emotions: `logits` [answers, classes], `truth` and `weights` [answers]."""

    logits: NDArray[np.float64]
    truth: NDArray[np.int64]
    weights: NDArray[np.float64]

    @classmethod
    def of(cls, measurements: Sequence[Measurement]) -> "_Judged":
        sizes: dict[str, int] = {}
        for m in measurements:
            sizes[m.part] = sizes.get(m.part, 0) + len(m.answered.utterances)
        return cls(
            np.concatenate([logits_of(m.answered.probabilities(), m.temperature) for m in measurements]),
            np.concatenate([m.answered.emotions(m.classes) for m in measurements]),
            np.concatenate([np.full(len(m.answered.utterances), 1 / sizes[m.part]) for m in measurements]),
        )


@dataclass(frozen=True)
class Calibration:
    """`temperatures`, and `uncertain_below`: the highest probability below which at most half of the answers are right;
    None where nothing was judged.
    """

    temperatures: Temperatures
    uncertain_below: Bounds | None


def calibrate(model: Model, utterances: Sequence[Utterance]) -> Calibration:
    """The calibration that fits the validation utterances best, each asked with every set of modalities it allows.

    The model's own temperatures do not matter. Raises EvaluationError.
    """
    classes = model.manifest.emotion.classes
    held_out = [u for u in utterances if u.split == "validation" and u.emotion in classes]
    return fit_calibration(measure(model, held_out, "validation"))


def fit_calibration(measurements: Iterable[Measurement]) -> Calibration:
    """The calibration that fits the answers about emotions best. Measurements of other subjects do not count.

    The answers may come from several models (the folds of a cross-validation, say) with temperatures of their own.
    Modalities without an answer are fitted on all answers together; without any, temperatures are 1.
    """
    judged = [measurement for measurement in measurements if measurement.subject == "emotion"]
    if not judged:
        return Calibration(Temperatures(audio=1.0, text=1.0, both=1.0), None)

    def fitted(available: Available) -> tuple[float, float]:
        answers = _Judged.of([m for m in judged if m.available == available] or judged)
        temperature = fit_temperature(answers.logits, answers.truth, answers.weights)
        probabilities = softmax(answers.logits, temperature)
        right = probabilities.argmax(axis=1) == answers.truth
        return temperature, uncertain_below(probabilities.max(axis=1), right, answers.weights)

    found = {available: fitted(available) for available in AVAILABLE}
    lowest = 1 / len(judged[0].classes)  # no answer is less sure than this
    return Calibration(
        Temperatures.model_validate({name: temperature for name, (temperature, _) in found.items()}),
        Bounds.model_validate({name: round(max(bound, lowest), 4) for name, (_, bound) in found.items()}),
    )


def certainty(measurements: Sequence[Measurement], bound_of: Callable[[Available], float]) -> dict[str, Figures]:
    """By available modalities: how far confidence can be believed, over all parts of calibrated answers together.

    `ece`, `n`, the risk (share of wrong answers) among the surest answers at each of `COVERAGES`; the answers below the
    bound of an uncertain one, as `share_uncertain`, and the `risk_uncertain` among them.
    """
    found: dict[str, Figures] = {}
    for available in AVAILABLE:
        chosen = [m for m in measurements if m.subject == "emotion" and m.available == available]
        if not chosen:
            continue
        answers = _Judged.of(chosen)
        probabilities = np.concatenate([m.answered.probabilities() for m in chosen])
        confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == answers.truth
        doubted = confidence < bound_of(available)
        found[available] = {
            "n": len(right),
            "parts": [m.part for m in chosen],
            "ece": round(ece(probabilities, answers.truth, weights=answers.weights), 4),
            "risk_at_coverage": {
                str(coverage): round(risk_at(coverage, confidence, right, answers.weights), 4) for coverage in COVERAGES
            },
            "uncertain_below": bound_of(available),
            "share_uncertain": round(float(np.average(doubted, weights=answers.weights)), 4),
            "risk_uncertain": round(float(np.average(~right[doubted], weights=answers.weights[doubted])), 4)
            if doubted.any()
            else None,
        }
    return found
