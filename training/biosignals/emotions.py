"""Do arousal and valence differ by emotion? The tests of the paper, over the annotation alone.

All of them assume independent utterances, which those of one speaker are not: see `conclusions`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
from scipy import stats

from ..corpora.labels import CLASSES
from .e4 import Floats

Dimension = Literal["arousal", "valence"]
MIN_GROUP = 3
"""Utterances that an emotion needs: two are always equally far from their median, which Levene's test cannot use."""


@dataclass(frozen=True)
class Group:
    """One emotion: how many utterances, their mean and standard deviation (n - 1), 1..5, and the 95 % interval of the
    mean by Student's t. `sd` and `interval` are None for a single utterance."""

    emotion: str
    n: int
    mean: float
    sd: float | None
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class Outcome:
    """One test over all emotions: its statistic, degrees of freedom, p 0..1."""

    statistic: float
    df: float
    df_error: float | None
    p: float


@dataclass(frozen=True)
class Pair:
    """Games-Howell for two emotions: mean of the first less that of the second with its 95 % interval, Welch's t and
    degrees of freedom, p by the studentised range, and Hedges' g over the root of the mean variance."""

    first: str
    second: str
    difference: float
    interval: tuple[float, float]
    t: float
    df: float
    p: float
    hedges_g: float


@dataclass(frozen=True)
class Comparison:
    """`groups` in the order of the five classes; `untested` emotions have fewer than MIN_GROUP utterances, or all the
    same value. With fewer than two tested emotions there are no tests. `eta_squared`: share of the variance between
    emotions. `omega_squared`: the same, corrected for chance, from Welch's F."""

    dimension: Dimension
    groups: list[Group]
    untested: list[str]
    levene: Outcome | None = None
    bartlett: Outcome | None = None
    welch: Outcome | None = None
    eta_squared: float | None = None
    omega_squared: float | None = None
    pairs: tuple[Pair, ...] = ()


def compare(dimension: Dimension, labelled: Iterable[tuple[str, float]]) -> Comparison:
    """Tests the values 1..5 of `labelled`, pairs of an emotion of the five classes and a value."""
    values: dict[str, list[float]] = {emotion: [] for emotion in CLASSES[5]}
    for emotion, value in labelled:
        values[emotion].append(value)
    samples = {emotion: np.array(numbers) for emotion, numbers in values.items() if numbers}
    groups = [_group(emotion, sample) for emotion, sample in samples.items()]
    tested = {emotion: sample for emotion, sample in samples.items() if len(sample) >= MIN_GROUP and np.ptp(sample) > 0}
    untested = [emotion for emotion in CLASSES[5] if emotion not in tested]
    if len(tested) < 2:
        return Comparison(dimension, groups, untested)
    arrays = list(tested.values())
    count, total = len(arrays), sum(map(len, arrays))
    with np.errstate(divide="ignore", invalid="ignore"):
        levene, bartlett = stats.levene(*arrays, center="median"), stats.bartlett(*arrays)
    welch = _welch(arrays)
    return Comparison(
        dimension,
        groups,
        untested,
        levene=_outcome(levene.statistic, count - 1, total - count, levene.pvalue),
        bartlett=_outcome(bartlett.statistic, count - 1, None, bartlett.pvalue),
        welch=welch,
        eta_squared=_eta_squared(arrays),
        omega_squared=_omega_squared(welch, total),
        pairs=tuple(_games_howell(tested)),
    )


def _group(emotion: str, sample: Floats) -> Group:
    mean = float(sample.mean())
    if len(sample) < MIN_GROUP:
        return Group(emotion, len(sample), mean, None, None)
    sd = float(sample.std(ddof=1))
    half = float(stats.t.ppf(0.975, len(sample) - 1)) * sd / float(np.sqrt(len(sample)))
    return Group(emotion, len(sample), mean, sd, (mean - half, mean + half))


def _welch(arrays: list[Floats]) -> Outcome:
    """Welch's ANOVA. SciPy gives F and p; the second degrees of freedom, (k² - 1) / (3 Σ (1 - wᵢ/Σw)² / (nᵢ - 1)) with
    wᵢ = nᵢ / sᵢ², are those of Welch, Biometrika 38 (1951) 330."""
    result = stats.f_oneway(*arrays, equal_var=False)
    weights = np.array([len(array) / array.var(ddof=1) for array in arrays])
    spare = np.array([len(array) - 1 for array in arrays])
    df_error = (len(arrays) ** 2 - 1) / (3 * float(np.sum((1 - weights / weights.sum()) ** 2 / spare)))
    return Outcome(float(result.statistic), len(arrays) - 1, df_error, float(result.pvalue))


def _outcome(statistic: float, df: float, df_error: float | None, p: float) -> Outcome | None:
    """None if the statistic is undefined: if all values are equally far from their median, say."""
    return Outcome(float(statistic), df, df_error, float(p)) if np.isfinite(statistic) else None


def _omega_squared(welch: Outcome, total: int) -> float:
    """df (F - 1) / (df (F - 1) + N), never below 0: Olejnik and Algina, Psychological Methods 8 (2003) 434, with
    Welch's F."""
    above_chance = welch.df * (welch.statistic - 1)
    return max(0.0, above_chance / (above_chance + total))


def _eta_squared(arrays: list[Floats]) -> float:
    together = np.concatenate(arrays)
    between = sum(len(array) * (array.mean() - together.mean()) ** 2 for array in arrays)
    return float(between / np.sum((together - together.mean()) ** 2))


def _games_howell(tested: Mapping[str, Floats]) -> Iterable[Pair]:
    """SciPy's test, with Welch's t for each pair. The interval is computed here from the same studentised range, as
    SciPy's own solves every pair twice and each mean against itself, which takes seconds instead of one."""
    names, arrays = list(tested), list(tested.values())
    p = stats.tukey_hsd(*arrays, equal_var=False).pvalue
    for first, second in combinations(range(len(names)), 2):
        welch = stats.ttest_ind(arrays[first], arrays[second], equal_var=False)
        difference = float(arrays[first].mean() - arrays[second].mean())
        error = np.sqrt(sum(array.var(ddof=1) / len(array) for array in (arrays[first], arrays[second])))
        half = float(error * stats.studentized_range.ppf(0.95, len(names), welch.df) / np.sqrt(2))
        yield Pair(
            names[first],
            names[second],
            difference,
            (difference - half, difference + half),
            float(welch.statistic),
            float(welch.df),
            float(np.clip(p[first, second], 0, 1)),
            _hedges_g(arrays[first], arrays[second]),
        )


def _hedges_g(first: Floats, second: Floats) -> float:
    """The difference of the means in standard deviations, less the bias of small samples: 1 - 3 / (4 df - 1)."""
    spread = float(np.sqrt((first.var(ddof=1) + second.var(ddof=1)) / 2))
    return float(first.mean() - second.mean()) / spread * (1 - 3 / (4 * (len(first) + len(second) - 2) - 1))
