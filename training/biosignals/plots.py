"""The plots of the report, each a PNG. They use no global state of matplotlib and open no window."""

import io
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from ..corpora.kemdy20_release import SIGNALS
from .clusters import Clustering
from .completeness import Completeness
from .emotions import Comparison
from .published import MEANS

DPI = 110
BLUE, ORANGE, GREY = "#2166ac", "#d6604d", "#bbbbbb"


def coverage(measured: Sequence[Completeness]) -> bytes:
    """A strip per signal and a cell per session: the share of the recorded time with samples, grey where missing."""
    sessions = sorted({one.session for one in measured})
    shares = np.full((len(SIGNALS), len(sessions)), np.nan)
    for one in measured:
        if one.covered is not None:
            shares[SIGNALS.index(one.signal), sessions.index(one.session)] = 100 * one.covered
    figure = Figure(figsize=(10, 2.6), layout="constrained")
    axes = figure.subplots()
    axes.set_facecolor(GREY)
    image = axes.pcolormesh(np.ma.masked_invalid(shares), cmap="viridis", vmin=0, vmax=100, edgecolors="white", lw=1)
    axes.set_yticks(np.arange(len(SIGNALS)) + 0.5, SIGNALS)
    every = max(1, len(sessions) // 20)
    axes.set_xticks(np.arange(0, len(sessions), every) + 0.5, [f"{session:02}" for session in sessions[::every]])
    axes.invert_yaxis()
    axes.set_xlabel("session (grey: no samples)")
    figure.colorbar(image, ax=axes, label="time with samples, %")
    return _png(figure)


def scores(clustering: Clustering) -> bytes:
    """Silhouette, also with shuffled steps, and Davies-Bouldin over the number of clusters."""
    figure = Figure(figsize=(10, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    ks = [score.k for score in clustering.scores]
    left.plot(ks, [score.silhouette for score in clustering.scores], "o-", color=BLUE, label="as recorded")
    shuffled = [score.silhouette_shuffled for score in clustering.scores]
    left.plot(ks, shuffled, "s--", color=ORANGE, label="steps in random order")
    left.set(xlabel="clusters k", ylabel="silhouette on DTW (higher is better)", xticks=ks)
    left.set_ylim(min(0, left.get_ylim()[0]), 1)
    left.legend(frameon=False)
    right.plot(ks, [score.davies_bouldin for score in clustering.scores], "o-", color=BLUE)
    right.set(xlabel="clusters k", ylabel="Davies-Bouldin (lower is better)", xticks=ks)
    right.set_ylim(0, 1.1 * right.get_ylim()[1])
    return _png(figure)


def courses(clustering: Clustering) -> bytes:
    """The clusters of the best silhouette, largest first: median course, and the band with the middle half."""
    order = np.argsort(-np.bincount(clustering.labels), kind="stable")
    columns = min(5, len(order))
    rows = -(-len(order) // columns)
    figure = Figure(figsize=(2.2 * columns + 1, 2.3 * rows + 0.4), layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    position = np.linspace(0, 100, clustering.courses.shape[1])
    for axes, label in zip(grid.flat, order, strict=False):
        mine = clustering.courses[clustering.labels == label]
        low, middle, high = np.percentile(mine, [25, 50, 75], axis=0)
        axes.fill_between(position, low, high, color=BLUE, alpha=0.25, lw=0)
        axes.plot(position, middle, color=BLUE)
        axes.set_title(f"{len(mine):,} segments", fontsize=10)
    for axes in grid.flat[len(order) :]:
        axes.set_axis_off()
    figure.supxlabel("time within the segment, %", fontsize=10)
    figure.supylabel("TEMP, scaled 0 to 1", fontsize=10)
    return _png(figure)


def by_emotion(comparison: Comparison) -> bytes:
    """Means with their 95 % intervals and standard deviations, and the published means."""
    figure = Figure(figsize=(5.2, 3.4), layout="constrained")
    axes = figure.subplots()
    for position, group in enumerate(comparison.groups):
        if group.sd is not None and group.interval is not None:
            low, high = group.interval
            axes.plot([position] * 2, [group.mean - group.sd, group.mean + group.sd], color=GREY, lw=7, zorder=1)
            axes.plot([position] * 2, [low, high], color=BLUE, lw=2.5, zorder=2)
        axes.plot(position, group.mean, "o", color=BLUE, zorder=3)
        axes.plot(position, MEANS[comparison.dimension][group.emotion], "D", mfc="none", color=ORANGE, zorder=4)
    names = [f"{group.emotion}\nn = {group.n:,}" for group in comparison.groups]
    axes.set_xticks(range(len(names)), names)
    axes.set_xlim(-0.6, len(names) - 0.4)
    axes.set_ylabel(f"{comparison.dimension} (scale 1 to 5)")
    axes.margins(y=0.12)
    axes.plot([], [], "o-", color=BLUE, label="mean, 95 % interval")
    axes.plot([], [], color=GREY, lw=7, label="± 1 standard deviation")
    axes.plot([], [], "D", mfc="none", color=ORANGE, label="published mean")
    axes.legend(frameon=False, fontsize=8, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1))
    return _png(figure)


def pairs(comparison: Comparison) -> bytes:
    """Games-Howell: the difference of each pair with its 95 % interval, grey if it contains 0."""
    figure = Figure(figsize=(5.2, 3.4), layout="constrained")
    axes = figure.subplots()
    for position, pair in enumerate(comparison.pairs):
        low, high = pair.interval
        color = GREY if low <= 0 <= high else BLUE
        axes.plot([low, high], [position] * 2, color=color, lw=2.5)
        axes.plot(pair.difference, position, "o", color=color)
    axes.axvline(0, color="black", lw=0.8)
    axes.set_yticks(range(len(comparison.pairs)), [f"{pair.first} − {pair.second}" for pair in comparison.pairs])
    axes.invert_yaxis()
    axes.set_xlabel(f"difference in mean {comparison.dimension}, 95 % interval")
    return _png(figure)


def _png(figure: Figure) -> bytes:
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()
