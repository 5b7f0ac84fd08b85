"""A sentence or two on each part of the report, derived from its numbers alone."""

import math
from collections.abc import Iterable, Mapping, Sequence

from ..corpora.kemdy20_release import SIGNALS
from .clusters import Clustering
from .completeness import Completeness
from .emotions import Comparison
from .published import MEANS

SIGNIFICANT = 0.05
USABLE = 0.95
"""Share of the recorded time and of the annotated utterances that a signal must cover to be usable as an input."""
AGREEMENT = 0.05
"""Adjusted mutual information below this is negligible."""
SENSOR_STEP_C = 0.02
"""Resolution of the E4's thermometer in °C, by its maker's data sheet."""
NAMES = 5


def margin(segments: int) -> float:
    """The margin by which a silhouette must exceed that of shuffled steps: 0.1, and more below a hundred segments.

    On random walks the two differ with a standard deviation of 0.03 to 0.04, for 80 segments as for 1,000.
    """
    return max(0.1, 1 / math.sqrt(segments))


def p_text(p: float) -> str:
    """`p` in the notation of papers."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def on_completeness(measured: Sequence[Completeness], annotated: Mapping[int, Iterable[str]]) -> str:
    """Which signals exist, how complete they are, and whether they cover enough utterances."""
    if not any(one.samples for one in measured):
        return "No sample of EDA, IBI or TEMP could be read, so there is no conclusion about them."
    ids = {id_ for rows in annotated.values() for id_ in rows}
    marked = any(one.segments for one in measured)
    sentences, usable = [], []
    for signal in SIGNALS:
        mine = [one for one in measured if one.signal == signal]
        absent = [f"Sess{one.session:02}" for one in mine if one.status != "present"]
        if len(absent) == len(mine):
            sentences.append(f"{signal} is in no session.")
            continue
        seconds, lost = sum(one.seconds for one in mine), sum(one.gap_s for one in mine)
        sentence = f"{signal} is in {len(mine) - len(absent)} of {len(mine)} sessions"
        sentence += f" (not in {_names(absent)})" if absent else ""
        covered = seconds / (seconds + lost)
        sentence += f" and covers {covered:.1%} of the time it was recorded"
        if ids and marked:
            reach = len(ids.intersection(id_ for one in mine for id_ in one.segments)) / len(ids)
            sentence += f" and {reach:.1%} of the annotated utterances"
            usable += [str(signal)] if min(covered, reach) >= USABLE else []
        sentences.append(f"{sentence}.")
    if not ids:
        verdict = "Without an annotation the number of utterances covered is unknown."
    elif not marked:
        verdict = "No sample is marked with an utterance, so the number of utterances covered is unknown."
    elif not usable:
        verdict = f"None reaches {USABLE:.0%} of both: as inputs they would be missing too often."
    else:
        others = "; the others would be missing too often to be inputs" if len(usable) < len(SIGNALS) else ""
        verdict = f"{_and(usable)} {'reach' if len(usable) > 1 else 'reaches'} {USABLE:.0%} of both{others}."
    return " ".join([*sentences, verdict])


def on_clusters(clustering: Clustering) -> str:
    """Whether the courses of TEMP fall into groups beyond random drift, and whether these go with emotion."""
    best = clustering.best
    if best is None:
        return f"{clustering.sampled} segments of TEMP are too few to cluster, so nothing can be concluded."
    sentence = f"The best silhouette is {best.silhouette:.2f}, at k = {best.k}, "
    if best.silhouette - best.silhouette_shuffled < margin(clustering.sampled):
        sentence += (
            f"and {best.silhouette_shuffled:.2f} with the steps of each segment in random order: "
            "no groups are shown beyond those of any slow drift."
        )
    else:
        sentence += (
            f"against {best.silhouette_shuffled:.2f} with the steps of each segment in random order: "
            "the courses have more shape than drift alone."
        )
    if best.emotion_ami is None:
        sentence += " Whether the clusters go with emotion is unknown: too few segments have a label."
    else:
        relation = "do not go with" if best.emotion_ami < AGREEMENT else "go with"
        sentence += (
            f" The clusters {relation} the emotion (adjusted mutual information {best.emotion_ami:.3f}, 0 by chance)."
        )
    return (
        f"{sentence} Scaling hides the size of the changes: the median segment spans "
        f"{clustering.median_range_c:.2f} °C, and the sensor resolves {SENSOR_STEP_C} °C."
    )


def on_emotions(comparison: Comparison) -> str:
    """Whether the dimension differs by emotion, between which, how strongly, and how near the published means are."""
    name, welch = comparison.dimension, comparison.welch
    if welch is None or comparison.eta_squared is None:
        return f"Fewer than two emotions have enough utterances with {name}, so nothing can be tested."
    figures = f"Welch F({welch.df:.0f}, {welch.df_error or 0:.1f}) = {welch.statistic:.2f}, {p_text(welch.p)}"
    if welch.p >= SIGNIFICANT:
        sentence = f"No difference in {name} between the emotions is shown ({figures})."
    else:
        share = f"emotion accounts for {comparison.eta_squared:.1%} of its variance"
        sentence = f"Mean {name} differs between the emotions ({figures}); {share}. {_pairs(comparison)}"
    return " ".join(filter(None, [sentence, _variances(comparison), _published(comparison), _untested(comparison)]))


CAVEAT = (
    "All these tests assume independent utterances. Those of one speaker are not, so the p values are too small: "
    "rely on the differences and the shares of variance."
)


def _pairs(comparison: Comparison) -> str:
    differing = [pair for pair in comparison.pairs if pair.p < SIGNIFICANT]
    if not differing:
        return "No single pair of emotions differs by Games-Howell."
    widest = max(differing, key=lambda pair: abs(pair.difference))
    above, below = (widest.first, widest.second) if widest.difference > 0 else (widest.second, widest.first)
    differ = "pairs differ, most of all" if len(comparison.pairs) > 1 else "pair differs,"
    return (
        f"By Games-Howell {len(differing)} of {len(comparison.pairs)} {differ} {above} above {below}, "
        f"by {abs(widest.difference):.2f}."
    )


def _variances(comparison: Comparison) -> str:
    levene = comparison.levene
    if levene is None:
        return ""
    if levene.p < SIGNIFICANT:
        return f"The variances differ too (Levene {p_text(levene.p)}), which Welch's test allows for."
    return f"The variances are not shown to differ (Levene {p_text(levene.p)})."


def _published(comparison: Comparison) -> str:
    means = MEANS[comparison.dimension]
    farthest = max(comparison.groups, key=lambda group: abs(group.mean - means[group.emotion]))
    off = farthest.mean - means[farthest.emotion]
    return f"Farthest from its published mean is {farthest.emotion}, by {off:+.3f}."


def _untested(comparison: Comparison) -> str:
    return (
        f"Not tested, for too few utterances or equal ratings: {', '.join(comparison.untested)}."
        if comparison.untested
        else ""
    )


def _names(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMES]) + (f" and {len(names) - NAMES} more" if len(names) > NAMES else "")


def _and(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
