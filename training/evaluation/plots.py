"""The plots of the report, one function each. A panel is titled with its modalities; captions and n are the report's.

English class names only: matplotlib's own font has no Hangul.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from app.store.manifest import Available

from ..metrics import reliability
from .figures import AROUSED, Figures
from .wording import MODALITY_TITLES

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Distinct for colour-blind readers (Okabe and Ito).
COLOURS: dict[Available, str] = {"audio": "#0072B2", "text": "#D55E00", "both": "#009E73"}
GREY = "#8a8f98"
FEW = 10  # answers; a bin with fewer says little, and is drawn hollow
DENSE = 500  # utterances; more points would hide each other
MIN_STEP = 0.05  # of arousal and valence; closer labels are binned
MARGIN = 0.25  # of arousal and valence, around the scale


def plot_confusion(by_modality: Mapping[Available, Figures], classes: Sequence[str]) -> Figure:
    """Share of each true class by answer, a panel per modality; grey rows did not occur."""
    figure, panels = _row(len(by_modality), width=4.3, height=4.3)
    for panel, (name, figures) in zip(panels, by_modality.items(), strict=True):
        counts = np.array(figures["confusion"])
        support = counts.sum(axis=1, keepdims=True)
        shares = np.divide(counts, support, out=np.full(counts.shape, np.nan), where=support > 0)
        panel.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        panel.set_facecolor("#eceef1")  # shows where a row is NaN
        for row, column in np.argwhere(counts > 0):
            share = shares[row, column]
            colour = "white" if share > 0.5 else "#222222"
            text = f"{_percent(share)}\n{counts[row, column]:,}"
            panel.text(column, row, text, ha="center", va="center", fontsize=8, color=colour)
        panel.set_title(MODALITY_TITLES[name])
        panel.set_xticks(range(len(classes)), classes, rotation=30, ha="right")
        panel.set_yticks(range(len(classes)), classes)
        panel.set_xlabel("answer")
        panel.tick_params(length=0)
        panel.spines[:].set_visible(False)
    panels[0].set_ylabel("truth")
    return figure


def plot_reliability(by_modality: Mapping[Available, tuple[Floats, Ints]]) -> Figure:
    """Accuracy by confidence, from probabilities [utterances, classes] and truth [utterances], by modality."""
    figure = Figure(figsize=(4.0 * len(by_modality), 5.0), layout="constrained")
    grid = figure.subplots(2, len(by_modality), squeeze=False, sharex=True, gridspec_kw={"height_ratios": [4, 1]})
    for column, (name, (probabilities, truth)) in enumerate(by_modality.items()):
        counts, confidence, right = reliability(probabilities, truth)
        upper, lower = grid[0, column], grid[1, column]
        upper.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1, label="confidence = accuracy")
        known = counts > 0
        upper.plot(confidence[known], right[known], color=COLOURS[name], linewidth=1, alpha=0.5)
        for enough, face in ((counts >= FEW, COLOURS[name]), (known & (counts < FEW), "white")):
            upper.scatter(
                confidence[enough],
                right[enough],
                s=40,
                facecolor=face,
                edgecolor=COLOURS[name],
                zorder=3,
                clip_on=False,
            )
        upper.set(title=MODALITY_TITLES[name], xlim=(0, 1), ylim=(0, 1))
        lower.bar(
            (np.arange(len(counts)) + 0.5) / len(counts),
            counts / counts.sum(),
            width=0.9 / len(counts),
            color=COLOURS[name],
        )
        lower.set(xlabel="confidence")
        _plain(upper, lower)
    grid[0, 0].set_ylabel("share that is right")
    grid[1, 0].set_ylabel("share of\nanswers")
    grid[0, 0].legend(loc="upper left", frameon=False, fontsize=8)
    return figure


def plot_recall(by_modality: Mapping[Available, Figures], classes: Sequence[str]) -> Figure:
    """Recall of each class that occurs, with its interval, by modality; the line is chance."""
    names = [name for name in classes if any(name in figures["recall"] for figures in by_modality.values())]
    figure, (panel,) = _row(1, width=7.0, height=1.0 + 0.6 * len(names))
    for place, (name, figures) in enumerate(by_modality.items()):
        known = [k for k, emotion in enumerate(names) if emotion in figures["recall"]]
        recall = np.array([figures["recall"][names[k]] for k in known])
        low, high = np.array([figures["recall_95"][names[k]] for k in known]).T
        rows = np.array(known) + 0.2 * (place - (len(by_modality) - 1) / 2)
        reach = np.maximum(0, [recall - low, high - recall])
        panel.errorbar(
            recall,
            rows,
            xerr=reach,
            fmt="o",
            color=COLOURS[name],
            capsize=3,
            label=MODALITY_TITLES[name],
            clip_on=False,
        )
    panel.axvline(1 / len(names), color=GREY, linestyle="--", linewidth=1, label="at random")
    panel.set_yticks(range(len(names)), names)
    panel.invert_yaxis()
    panel.set(xlim=(0, 1), xlabel="recall")
    panel.grid(axis="x", color="#e3e5e8")
    panel.set_axisbelow(True)
    figure.legend(loc="outside upper center", ncols=4, frameon=False)
    _plain(panel)
    return figure


def plot_scores(truth: Floats, predicted: Floats, name: str, scale: tuple[float, float]) -> Figure:
    """Answered against true score [utterances]: points, or their density where there are many, and the mean answer."""
    figure, (panel,) = _row(1, width=5.6, height=4.8)
    edges = _edges(truth, scale)
    if len(truth) > DENSE:
        cells = np.linspace(*scale, 41)
        counts, _, _ = np.histogram2d(truth, predicted, bins=(edges, cells))
        mesh = panel.pcolormesh(
            edges, cells, np.where(counts > 0, counts, np.nan).T, cmap="Blues", norm=LogNorm(1, max(2, counts.max()))
        )
        figure.colorbar(mesh, label="utterances (log scale)", shrink=0.85)
    else:
        panel.scatter(truth, predicted, s=18, alpha=0.5, color=COLOURS["audio"], edgecolor="none")
    panel.plot(scale, scale, color=GREY, linestyle="--", linewidth=1, label="exact")
    places = np.digitize(truth, edges[1:-1])
    enough = [k for k in range(len(edges) - 1) if (places == k).sum() >= FEW]
    panel.plot(
        [truth[places == k].mean() for k in enough],
        [predicted[places == k].mean() for k in enough],
        color="#D55E00",
        marker="o",
        markersize=4,
        label="mean answer",
    )
    limits = (scale[0] - MARGIN, scale[1] + MARGIN)
    panel.set(xlim=limits, ylim=limits, aspect="equal", xlabel=f"true {name}", ylabel=f"answered {name}")
    figure.legend(loc="outside upper center", ncols=2, frameon=False)
    _plain(panel)
    return figure


def plot_order(predicted: Mapping[str, Floats]) -> Figure:
    """Answered arousal by emotion: every utterance, and the quartiles."""
    figure, (panel,) = _row(1, width=6.0, height=1.0 + 0.6 * len(predicted))
    medians = {"color": "#222222", "linewidth": 2}
    panel.boxplot(list(predicted.values()), orientation="horizontal", widths=0.5, showfliers=False, medianprops=medians)
    random = np.random.default_rng(0)
    for row, (emotion, values) in enumerate(predicted.items(), start=1):
        rows = row + random.uniform(-0.15, 0.15, len(values))
        colour = COLOURS["text" if emotion in AROUSED else "audio"]
        panel.scatter(values, rows, s=14, alpha=min(0.6, 100 / len(values)), color=colour, edgecolor="none")
    panel.set_yticks(
        range(1, len(predicted) + 1), [f"{emotion} ({len(values):,})" for emotion, values in predicted.items()]
    )
    panel.invert_yaxis()
    panel.set_xlabel("answered arousal")
    _plain(panel)
    return figure


def _edges(truth: Floats, scale: tuple[float, float]) -> Floats:
    """Edges [columns + 1]: a column around each value where there are few distinct ones, else 40 over the scale."""
    values = np.unique(truth)
    step = np.diff(values).min(initial=np.inf)
    if not MIN_STEP < step < np.inf:
        return np.linspace(*scale, 41)
    return np.unique(np.concatenate([values - step / 2, values + step / 2]))


def _percent(share: float) -> str:
    """Whole percents; 0 % and 100 % only for none and all."""
    if 0 < share < 0.005:
        return "<1%"
    return ">99%" if 0.995 <= share < 1 else f"{share:.0%}"


def _row(panels: int, width: float, height: float) -> tuple[Figure, Sequence[Axes]]:
    """A figure with `panels` side by side, each `width` by `height` inches."""
    figure = Figure(figsize=(width * panels, height), layout="constrained")
    return figure, list(figure.subplots(1, panels, squeeze=False)[0])


def _plain(*panels: Axes) -> None:
    for panel in panels:
        panel.spines[["top", "right"]].set_visible(False)
