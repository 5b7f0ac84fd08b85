"""Several folds as one: mean and standard deviation of every figure, in JSON and in tables."""

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..report import page, paragraph, table
from .figures import Figures
from .wording import FIGURE_TITLES

FOLDS_FILE = "folds.json"
FOLDS_REPORT = "folds.html"
KINDS = (("accuracy", "weighted_f1", "macro_f1", "uar", "ece"), ("ccc", "pearson", "rmse"), ("auc",))
"""The figures of each table: of emotions, of rated scores, of arousal without ratings."""


def aggregate(folds: Sequence[Mapping[str, Figures]]) -> dict[str, Figures]:
    """The results of `evaluate` for each fold as one, with every number turned into {"mean", "sd", "folds"}.

    `sd` is that of a sample (n - 1), None for a single fold. `folds` is the number of folds that have the measurement
    or class. Values that are not numbers (intervals, confusion matrices, names) are left out. Raises ValueError
    without folds.
    """
    if not folds:
        raise ValueError("There are no folds to aggregate.")
    return _aggregate(folds)


def _aggregate(folds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    aggregated: dict[str, Any] = {}
    for name in dict.fromkeys(name for fold in folds for name in fold):
        values = [fold[name] for fold in folds if name in fold]
        if all(isinstance(value, Mapping) for value in values):
            aggregated[name] = _aggregate(values)
        elif all(isinstance(value, int | float) for value in values):
            spread = round(statistics.stdev(values), 4) if len(values) > 1 else None
            aggregated[name] = {"mean": round(statistics.fmean(values), 4), "sd": spread, "folds": len(values)}
    return aggregated


def fold_rows(aggregated: Mapping[str, Figures], kind: Sequence[str]) -> list[list[str]]:
    """A row for each measurement with the figures `kind`: name, folds, utterances in all of them, `mean ± sd` of each.

    The row of its baseline follows.
    """
    rows = []
    for name, figures in aggregated.items():
        if kind[0] in figures:
            n = figures["n"]
            count = [str(n["folds"]), f"{round(n['mean'] * n['folds']):,}"]
            rows.append([name, *count, *(_cell(figures, key) for key in kind)])
            rows.append(["its baseline", "", "", *(_cell(figures["baseline"], key) for key in kind)])
    return rows


def write_folds(folder: Path, folds: Sequence[Mapping[str, Figures]]) -> Path:
    """Writes `folds.json` and `folds.html`, and returns the latter's path. Raises ValueError without folds."""
    aggregated = aggregate(folds)
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(aggregated, ensure_ascii=False, indent=1, allow_nan=False)
    (folder / FOLDS_FILE).write_text(text + "\n", encoding="utf-8")
    body = [
        paragraph(
            "Mean ± standard deviation over folds, each tested with a model that was trained without it. The deviation "
            "shows how much the folds differ; as their training data overlap, it is not an interval of the mean. The "
            "baseline always gives the same answer: the commonest emotion of the fold, or the mean of its scores."
        )
    ]
    for kind in KINDS:
        if rows := fold_rows(aggregated, kind):
            body.append(
                table(
                    "",
                    ["", "folds", "n in all", *(FIGURE_TITLES[key] for key in kind)],
                    rows,
                    baselines=range(1, len(rows), 2),
                )
            )
    path = folder / FOLDS_REPORT
    path.write_text(page(f"{len(folds)} folds", body), encoding="utf-8")
    return path


def _cell(figures: Mapping[str, Any], key: str) -> str:
    if key not in figures:
        return "–"
    mean, spread = figures[key]["mean"], figures[key]["sd"]
    return f"{mean:.3f}" if spread is None else f"{mean:.3f} ± {spread:.3f}"
