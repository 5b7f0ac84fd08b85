"""The metrics: CCC, RMSE and Pearson of scores; UAR, F1 and calibration of classes. numpy in, floats out.

Always over a whole corpus, never a mean over batches.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

DRAWS = 1000  # of the bootstrap: the 95 % interval then runs between the 25th values from either end


def ccc(truth: Floats, predicted: Floats) -> float:
    """Concordance correlation coefficient, -1..1 (Lin, 1989). 0 where both are constant."""
    spread = truth.var() + predicted.var() + (truth.mean() - predicted.mean()) ** 2
    covariance = ((truth - truth.mean()) * (predicted - predicted.mean())).mean()
    return float(2 * covariance / spread) if spread > 0 else 0.0


def pearson(truth: Floats, predicted: Floats) -> float:
    """Pearson's correlation, -1..1; 0 where one of them is constant."""
    spread = truth.std() * predicted.std()
    covariance = ((truth - truth.mean()) * (predicted - predicted.mean())).mean()
    return float(covariance / spread) if spread > 0 else 0.0


def rmse(truth: Floats, predicted: Floats) -> float:
    """Root of the mean squared error, in the units of the scale."""
    return float(np.sqrt(np.square(truth - predicted).mean()))


def auc(positive: NDArray[np.bool_], scores: Floats) -> float:
    """Area under the ROC curve, 0..1: how often a positive scores above a negative, ties counting half (Mann and
    Whitney, 1947). NaN unless both occur."""
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
    high = int(positive.sum())
    pairs = high * (len(scores) - high)
    return float((ranks[positive].sum() - high * (high + 1) / 2) / pairs) if pairs else float("nan")


def confusion(truth: Ints, predicted: Ints, classes: int) -> Ints:
    """Counts [truth, predicted]."""
    return np.bincount(truth * classes + predicted, minlength=classes**2).reshape(classes, classes).astype(np.int64)


def recall_by_class(matrix: Ints) -> Floats:
    """Recall of each class [classes]; NaN for a class that does not occur."""
    support = matrix.sum(axis=1)
    return np.divide(np.diag(matrix), support, out=np.full(len(matrix), np.nan), where=support > 0)


def accuracy(matrix: Ints) -> float:
    """Share of right answers, 0..1."""
    return float(matrix.trace() / matrix.sum())


def uar(matrix: Ints) -> float:
    """Unweighted average recall over the classes that occur."""
    return float(np.nanmean(recall_by_class(matrix)))


def f1_by_class(matrix: Ints) -> Floats:
    """F1 of each class [classes]; 0 for a class that neither occurs nor is answered."""
    named = matrix.sum(axis=0) + matrix.sum(axis=1)
    return np.divide(2 * np.diag(matrix), named, out=np.zeros(len(matrix)), where=named > 0)


def macro_f1(matrix: Ints) -> float:
    """Mean F1 over the classes that occur."""
    return float(f1_by_class(matrix)[matrix.sum(axis=1) > 0].mean())


def weighted_f1(matrix: Ints) -> float:
    """Mean F1 weighted by the frequency of each class: a class that dominates the corpus dominates this figure."""
    return float(np.average(f1_by_class(matrix), weights=matrix.sum(axis=1)))


def softmax(logits: Floats, temperature: float = 1.0) -> Floats:
    """Probabilities [utterances, classes]."""
    scaled = logits / temperature
    weights = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def reliability(
    probabilities: Floats, truth: Ints, bins: int = 15, weights: Floats | None = None
) -> tuple[Floats, Floats, Floats]:
    """Count, or the sum of the `weights`, mean confidence and accuracy [bins] of the top class over equal bins of
    confidence; NaN in empty bins.
    """
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == truth
    bin_of = np.minimum((confidence * bins).astype(int), bins - 1)
    weights = np.ones(len(truth)) if weights is None else weights
    counts: Floats = np.bincount(bin_of, weights=weights, minlength=bins).astype(np.float64)
    sums = (np.bincount(bin_of, weights=values * weights, minlength=bins) for values in (confidence, right))
    means = [np.divide(total, counts, out=np.full(bins, np.nan), where=counts > 0) for total in sums]
    return counts, means[0], means[1]


def ece(probabilities: Floats, truth: Ints, bins: int = 15, weights: Floats | None = None) -> float:
    """Expected calibration error, 0..1: the mean gap of confidence and accuracy over the bins (Guo et al., 2017)."""
    counts, confidence, right = reliability(probabilities, truth, bins, weights)
    return float(np.nansum(np.abs(confidence - right) * counts) / counts.sum())


def uncertain_below(confidence: Floats, right: NDArray[np.bool_], weights: Floats) -> float:
    """The highest confidence below which at most half of the answers are right, by `weights`; 0 where there is none."""
    order = np.argsort(confidence, kind="stable")
    share_right = np.cumsum((right * weights)[order]) / np.cumsum(weights[order])
    doubtful = np.flatnonzero(share_right <= 0.5)
    return float(confidence[order][doubtful[-1]]) if len(doubtful) else 0.0


def risk_at(coverage: float, confidence: Floats, right: NDArray[np.bool_], weights: Floats) -> float:
    """The share of wrong answers among the surest ones that make up `coverage` of all, by `weights`: a point of the
    risk-coverage curve (El-Yaniv and Wiener, 2010).
    """
    order = np.argsort(-confidence, kind="stable")
    total = np.cumsum(weights[order])
    kept = order[: max(1, int(np.searchsorted(total, coverage * total[-1] * (1 + 1e-12), side="right")))]
    return float(np.average(~right[kept], weights=weights[kept]))


def fit_temperature(logits: Floats, truth: Ints, weights: Floats | None = None) -> float:
    """The temperature, 0.25..8, with the least negative log likelihood (Guo et al., 2017), the best of 200 values."""
    candidates = np.geomspace(0.25, 8.0, 200)
    rows = np.arange(len(truth))
    losses = [np.average(-np.log(softmax(logits, t)[rows, truth] + 1e-12), weights=weights) for t in candidates]
    return round(float(candidates[int(np.argmin(losses))]), 3)


def resamples(groups: Sequence[str], seed: int, draws: int = DRAWS) -> Iterator[Ints]:
    """Yields `draws` times the rows of whole groups (speakers), as many groups as there are, drawn with replacement."""
    _, group_of = np.unique(np.asarray(groups), return_inverse=True)
    by_group = np.argsort(group_of, kind="stable")
    sizes = np.bincount(group_of)
    starts = np.cumsum(sizes) - sizes
    random = np.random.default_rng(seed)
    for _ in range(draws):
        drawn = random.integers(len(sizes), size=len(sizes))
        lengths = sizes[drawn]
        # The start of each drawn group in `by_group`, less its start in the sample, plus the position in the sample.
        shifts = starts[drawn] - (np.cumsum(lengths) - lengths)
        yield by_group[np.repeat(shifts, lengths) + np.arange(lengths.sum())]


def intervals(
    statistics: Callable[[Ints], Mapping[str, float]], groups: Sequence[str], seed: int, draws: int = DRAWS
) -> dict[str, list[float]]:
    """95 % intervals [low, high] of statistics(rows) by name, whole groups (speakers) drawn with replacement."""
    values: dict[str, list[float]] = defaultdict(list)
    for rows in resamples(groups, seed, draws):
        for name, value in statistics(rows).items():
            values[name].append(value)
    return {name: _interval(drawn) for name, drawn in values.items()}


def _interval(values: Iterable[float]) -> list[float]:
    """Percentiles 2.5 and 97.5 of the values that are not NaN, as the recall in a draw without the class is.

    Both NaN if all values are.
    """
    known = [value for value in values if not np.isnan(value)]
    return [round(float(q), 4) for q in np.quantile(known or [np.nan], [0.025, 0.975])]
