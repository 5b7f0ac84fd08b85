"""A measurement in one line, for the model card, the terminal and the head of the report."""

from app.store.manifest import Available

from .figures import Figures

MODALITY_TITLES: dict[Available, str] = {"audio": "audio alone", "text": "text alone", "both": "audio and text"}
FIGURE_TITLES = {
    "accuracy": "accuracy",
    "weighted_f1": "weighted F1",
    "macro_f1": "macro F1",
    "uar": "UAR",
    "ccc": "CCC",
    "pearson": "Pearson",
    "rmse": "RMSE",
    "auc": "AUC",
    "ece": "ECE",
}
UNITS = {"speakers": "", "sessions": " s", "utterances": " u"}
"""The mark on an interval that is not over speakers."""


def headline(figures: Figures) -> str:
    """The main figures of a measurement, each with its interval in brackets."""
    shown = [name for name in ("uar", "macro_f1", "auc", "ccc") if name in figures]
    return ", ".join(f"{FIGURE_TITLES[name]} {with_interval(figures, name)}" for name in shown)


def baseline(figures: Figures) -> str:
    """The figures to compare the headline with."""
    if "uar" in figures:
        return f"chance UAR {figures['chance_uar']:.2f}; ECE {figures['ece']:.3f}; accuracy {figures['accuracy']:.3f}"
    if "auc" in figures:
        return "chance 0.5; angry and happy against sad and neutral"
    return (
        f"Pearson {figures['pearson']:.3f}; RMSE {figures['rmse']:.3f}, of the mean {figures['baseline']['rmse']:.3f}"
    )


def with_interval(figures: Figures, name: str) -> str:
    """`0.412 [0.390, 0.440]`, with the mark of `UNITS` before the bracket closes; a dash for a missing figure."""
    if name not in figures:
        return "–"
    low, high = figures[f"{name}_95"]
    return f"{figures[name]:.3f} [{low:.3f}, {high:.3f}{UNITS[figures['resampled']]}]"
