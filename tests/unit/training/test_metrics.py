"""Each metric against a value worked out by hand or by scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import f1_score, recall_score

from training.metrics import (
    ccc,
    confusion,
    ece,
    fit_temperature,
    intervals,
    macro_f1,
    pearson,
    recall_by_class,
    rmse,
    softmax,
    uar,
)


def test_scores() -> None:
    truth = np.array([1.0, 2.0, 3.0, 4.0])
    assert ccc(truth, truth) == pytest.approx(1)
    assert ccc(truth, -truth) < 0
    assert pearson(truth, truth * 2 + 1) == pytest.approx(1)
    # Twice the truth: covariance 2.5, variances 1.25 and 5, means 2.5 apart.
    assert ccc(truth, 2 * truth) == pytest.approx(2 * 2.5 / (1.25 + 5 + 2.5**2))
    assert rmse(truth, truth + 0.5) == pytest.approx(0.5)
    assert ccc(truth, np.full(4, 2.5)) == pearson(truth, np.full(4, 2.5)) == 0


def test_classes_agree_with_scikit_learn() -> None:
    random = np.random.default_rng(0)
    truth, predicted = random.integers(4, size=300), random.integers(4, size=300)
    matrix = confusion(truth, predicted, 5)  # the fifth class never occurs
    assert uar(matrix) == pytest.approx(recall_score(truth, predicted, average="macro"))
    assert macro_f1(matrix) == pytest.approx(f1_score(truth, predicted, average="macro"))
    assert np.isnan(recall_by_class(matrix)[4])
    assert matrix.sum() == 300


def test_calibration() -> None:
    sure = np.array([[0.9, 0.1]] * 10)
    assert ece(sure, np.array([0] * 9 + [1])) == pytest.approx(0.0, abs=1e-9)
    assert ece(sure, np.array([0] * 5 + [1] * 5)) == pytest.approx(0.4)


def test_temperature_cools_a_model_that_is_too_sure() -> None:
    random = np.random.default_rng(1)
    logits = random.standard_normal((4000, 3))
    truth = np.array([random.choice(3, p=p) for p in softmax(logits)])
    assert fit_temperature(logits, truth) == pytest.approx(1, rel=0.1)
    assert fit_temperature(logits * 3, truth) == pytest.approx(3, rel=0.1)


def test_bootstrap_draws_whole_speakers() -> None:
    values = np.array([0.0] * 50 + [1.0] * 50)

    def mean(groups: list[str]) -> list[float]:
        return intervals(lambda rows: {"mean": float(values[rows].mean())}, groups, seed=1)["mean"]

    by_utterance, by_speaker = mean([str(i) for i in range(100)]), mean(["a"] * 50 + ["b"] * 50)
    assert 0.35 < by_utterance[0] < 0.5 < by_utterance[1] < 0.65
    assert by_speaker == [0, 1]
