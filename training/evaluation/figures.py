"""The figures of a model's answers: each over all utterances at once, with its interval and its baseline."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..metrics import (
    accuracy,
    auc,
    ccc,
    confusion,
    ece,
    intervals,
    macro_f1,
    pearson,
    recall_by_class,
    rmse,
    softmax,
    uar,
    weighted_f1,
)
from .answers import Answered, Score

Figures = dict[str, Any]
"""By name: numbers, `NAME_95` = [low, high], and by class or gender a dict of the same. Ready for JSON."""
Statistics = Callable[[NDArray[np.int64]], dict[str, float]]

SEED = 1
AROUSED = ("angry", "happy")
CALM = ("sad", "neutral")
PUBLISHED_BASELINE = "neutral"
_DETAIL = ("confusion", "recall", "recall_95", "support")
_BY_CLASS = {"accuracy": accuracy, "weighted_f1": weighted_f1, "macro_f1": macro_f1, "uar": uar}


def emotion_figures(answered: Answered, classes: Sequence[str], temperature: float) -> Figures:
    """Accuracy, F1, UAR, recall and confusion [truth, answer] by class, calibration, and a baseline.

    The baseline always answers the commonest class of these very utterances: no other constant is more accurate. In
    KEMDy20 that is neutral, as published. `temperature` is already in the probabilities of the answers;
    `ece_uncalibrated` is without it.
    """
    truth, probabilities = answered.emotions(classes), answered.probabilities()
    predicted = probabilities.argmax(axis=1)
    matrix = confusion(truth, predicted, len(classes))
    support = matrix.sum(axis=1)
    occurring = [k for k in range(len(classes)) if support[k] > 0]

    def statistics(rows: NDArray[np.int64]) -> dict[str, float]:
        drawn = confusion(truth[rows], predicted[rows], len(classes))
        recalls = recall_by_class(drawn)
        return {name: metric(drawn) for name, metric in _BY_CLASS.items()} | {
            f"recall {classes[k]}": float(recalls[k]) for k in occurring
        }

    found = _with_intervals(answered, statistics)
    recall = {classes[k]: (found.pop(f"recall {classes[k]}"), found.pop(f"recall {classes[k]}_95")) for k in occurring}
    always = _commonest(support, classes)
    baseline = confusion(truth, np.full_like(truth, always), len(classes))
    return found | {
        "chance_uar": round(1 / len(occurring), 4),
        "baseline": {"always": classes[always]}
        | {name: round(metric(baseline), 4) for name, metric in _BY_CLASS.items()},
        "ece": round(ece(probabilities, truth), 4),
        "ece_uncalibrated": round(ece(softmax(logits_of(probabilities, temperature)), truth), 4),
        "mean_confidence": round(float(probabilities.max(axis=1).mean()), 4),
        "temperature": temperature,
        "support": {classes[k]: int(support[k]) for k in occurring},
        "recall": {name: value for name, (value, _) in recall.items()},
        "recall_95": {name: interval for name, (_, interval) in recall.items()},
        "confusion": matrix.tolist(),
    }


def score_figures(answered: Answered, score: Score) -> Figures:
    """CCC, Pearson and RMSE of arousal or valence. The baseline is the mean of the truth, the best constant answer."""
    truth, predicted = answered.truths(score), answered.scores(score)
    found = _with_intervals(
        answered,
        lambda rows: {
            "ccc": ccc(truth[rows], predicted[rows]),
            "pearson": pearson(truth[rows], predicted[rows]),
            "rmse": rmse(truth[rows], predicted[rows]),
        },
    )
    return found | {
        "baseline": {
            "always": round(float(truth.mean()), 4),
            "ccc": 0.0,
            "pearson": 0.0,
            "rmse": round(float(truth.std()), 4),
        },
        "lowest_highest": _lowest_highest(predicted),
    }


def order_figures(answered: Answered) -> Figures:
    """How well arousal separates angry and happy from sad and neutral: the AUC, chance 0.5.

    For clips without ratings: the first two emotions are known to be more aroused, but not by how much.
    """
    aroused = np.array([u.emotion in AROUSED for u in answered.utterances])
    predicted = answered.scores("arousal")
    return _with_intervals(answered, lambda rows: {"auc": auc(aroused[rows], predicted[rows])}) | {
        "baseline": {"auc": 0.5},
        "lowest_highest": _lowest_highest(predicted),
    }


def by_gender(answered: Answered, figures_of: Callable[[Answered], Figures]) -> dict[str, Figures]:
    """The same figures by gender, without detail by class; empty unless both genders occur."""
    women, men = answered.select(lambda u: u.gender == "female"), answered.select(lambda u: u.gender == "male")
    if not women.utterances or not men.utterances:
        return {}
    return {
        gender: {name: value for name, value in figures_of(part).items() if name not in _DETAIL}
        for gender, part in (("female", women), ("male", men))
    }


def logits_of(probabilities: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    """The classifier's logits [utterances, classes], up to a constant per row, from its calibrated probabilities."""
    return np.log(np.maximum(probabilities, np.finfo(np.float64).tiny)) * temperature


def _lowest_highest(predicted: NDArray[np.float64]) -> list[float]:
    return [round(float(predicted.min()), 3), round(float(predicted.max()), 3)]


def _with_intervals(answered: Answered, statistics: Statistics) -> Figures:
    unit, groups = answered.groups()
    figures: Figures = {"n": len(groups), "resampled": unit, "units": len(set(groups))}
    values = statistics(np.arange(len(groups)))
    ranges = intervals(statistics, groups, SEED)
    for name, value in values.items():
        if not np.isnan(value):  # as the AUC of a draw with angry clips alone is
            figures |= {name: round(value, 4), f"{name}_95": ranges[name]}
    return figures


def _commonest(support: NDArray[np.int64], classes: Sequence[str]) -> int:
    """The commonest class; neutral where several are equally common, as published."""
    most = [k for k in range(len(classes)) if support[k] == support.max()]
    return next((k for k in most if classes[k] == PUBLISHED_BASELINE), most[0])
