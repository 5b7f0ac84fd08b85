"""What is measured: CCC, RMSE and Pearson of scores; UAR, F1 and calibration of classes. numpy in, floats out.

Always over a whole corpus, never a mean over batches.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


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
    """Root of the mean squared error, in the scale's own units."""
    return float(np.sqrt(np.square(truth - predicted).mean()))


def confusion(truth: Ints, predicted: Ints, classes: int) -> Ints:
    """Counts [truth, predicted]."""
    return np.bincount(truth * classes + predicted, minlength=classes**2).reshape(classes, classes).astype(np.int64)


def recall_by_class(matrix: Ints) -> Floats:
    """Recall of each class [classes]; NaN for a class that does not occur."""
    heard = matrix.sum(axis=1)
    return np.divide(np.diag(matrix), heard, out=np.full(len(matrix), np.nan), where=heard > 0)


def uar(matrix: Ints) -> float:
    """Unweighted average recall over the classes that occur."""
    return float(np.nanmean(recall_by_class(matrix)))


def f1_by_class(matrix: Ints) -> Floats:
    """F1 of each class [classes]; 0 where it is neither heard nor answered."""
    named = matrix.sum(axis=0) + matrix.sum(axis=1)
    return np.divide(2 * np.diag(matrix), named, out=np.zeros(len(matrix)), where=named > 0)


def macro_f1(matrix: Ints) -> float:
    """Mean F1 over the classes that occur."""
    return float(f1_by_class(matrix)[matrix.sum(axis=1) > 0].mean())


def softmax(logits: Floats, temperature: float = 1.0) -> Floats:
    """Probabilities [utterances, classes]."""
    scaled = logits / temperature
    weights = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def ece(probabilities: Floats, truth: Ints, bins: int = 15) -> float:
    """Expected calibration error of the top class over equal bins of confidence (Guo et al., 2017)."""
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == truth
    bin_of = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [abs(right[bin_of == b].mean() - confidence[bin_of == b].mean()) * (bin_of == b).mean() for b in set(bin_of)]
    return float(sum(gaps))


def fit_temperature(logits: Floats, truth: Ints) -> float:
    """The temperature, 0.25..8, of the least negative log likelihood (Guo et al., 2017), the best of 200 values."""
    candidates = np.geomspace(0.25, 8.0, 200)
    rows = np.arange(len(truth))
    losses = [-np.log(softmax(logits, t)[rows, truth] + 1e-12).mean() for t in candidates]
    return round(float(candidates[int(np.argmin(losses))]), 3)


def bootstrap(statistic: Callable[[Ints], float], groups: Sequence[str], seed: int, draws: int = 1000) -> list[float]:
    """95 % interval [low, high] of `statistic(indices)` with whole groups (speakers) drawn with replacement."""
    names = sorted(set(groups))
    members = {name: np.flatnonzero(np.asarray(groups) == name) for name in names}
    random = np.random.default_rng(seed)
    values = [
        statistic(np.concatenate([members[names[i]] for i in random.integers(len(names), size=len(names))]))
        for _ in range(draws)
    ]
    return [round(float(q), 4) for q in np.quantile(values, [0.025, 0.975])]
