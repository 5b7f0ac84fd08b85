"""A measurement in one line, for the model card, the terminal and the head of the report."""

from app.store.manifest import Available

from .figures import Figures

HEARD_TITLES: dict[Available, str] = {"audio": "voice alone", "text": "words alone", "both": "voice and words"}
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
"""What stands behind an interval that is not over speakers."""


def headline(figures: Figures) -> str:
    """The figures that a measurement is judged by, each with its interval in brackets."""
    shown = [name for name in ("uar", "macro_f1", "auc", "ccc") if name in figures]
    return ", ".join(f"{FIGURE_TITLES[name]} {with_interval(figures, name)}" for name in shown)


def beside(figures: Figures) -> str:
    """What to hold them against."""
    if "uar" in figures:
        return f"chance UAR {figures['chance_uar']:.2f}; ECE {figures['ece']:.3f}; accuracy {figures['accuracy']:.3f}"
    if "auc" in figures:
        return "chance 0.5; angry and happy against sad and neutral"
    return (
        f"Pearson {figures['pearson']:.3f}; RMSE {figures['rmse']:.3f}, of the mean {figures['baseline']['rmse']:.3f}"
    )


def with_interval(figures: Figures, name: str) -> str:
    """`0.412 [0.390, 0.440]`, with ` s` or ` u` before the bracket closes, as `UNITS` says; a dash for what is not."""
    if name not in figures:
        return "–"
    low, high = figures[f"{name}_95"]
    return f"{figures[name]:.3f} [{low:.3f}, {high:.3f}{UNITS[figures['resampled']]}]"
