"""The sections of the report: one for each subject of each part of the corpus, with tables, plots and explanations."""

from collections.abc import Callable, Sequence

from matplotlib.figure import Figure

from ..report import heading, note, paragraph, table
from .answers import Answered, Score, Unit
from .figures import AROUSED, CALM, Figures
from .measure import Measurement
from .plots import plot_confusion, plot_order, plot_recall, plot_reliability, plot_scores
from .wording import FIGURE_TITLES, MODALITY_TITLES, with_interval

Draw = Callable[[Figure, str, str, str], str]
"""Saves a plot under a file name and returns its HTML: plot, name, title, caption."""
Measured = Sequence[tuple[Measurement, Figures]]

_BY_CLASS = ("accuracy", "weighted_f1", "macro_f1", "uar")
_SCORES = ("ccc", "pearson", "rmse")
_GENDERS = {"female": "women", "male": "men"}
_UNITS: dict[Unit, str] = {
    "speakers": "{count:,} speakers: expect the same of other speakers of such a corpus",
    "sessions": "{count:,} sessions (recordings, films), as too few speakers are known",
    "utterances": "single utterances, as too few speakers are known: this says nothing about other speakers",
}


def part_sections(part: str, measured: Measured, scale: tuple[float, float], draw: Draw) -> list[str]:
    """The sections on one part: its emotions by modality, then arousal and valence."""
    sections = [heading(part), *_warnings(measured)]
    if emotions := [pair for pair in measured if pair[0].subject == "emotion"]:
        sections += _emotion(emotions, draw)
    for measurement, figures in measured:
        if measurement.subject == "arousal order":
            sections += _order(measurement, figures, draw)
        elif measurement.subject != "emotion":
            sections += _score(measurement, figures, scale, draw)
    return sections


def _warnings(measured: Measured) -> list[str]:
    met, speakers = (max(figures[name] for _, figures in measured) for name in ("speakers_met", "speakers"))
    text = (
        f"{met} of the {speakers} speakers here are in the other splits too, so the model may have learned from them: "
        "expect less of other speakers."
    )
    return [note(text)] if met else []


def _emotion(measured: Measured, draw: Draw) -> list[str]:
    classes = measured[0][0].classes
    by_modality = {measurement.available: figures for measurement, figures in measured}
    whole = list(by_modality.values())[-1]
    counts = ", ".join(f"{name} {count:,}" for name, count in whole["support"].items())
    rows = [
        [MODALITY_TITLES[name], f"{f['n']:,}", *(with_interval(f, key) for key in _BY_CLASS), *_calibration(f)]
        for name, f in by_modality.items()
    ]
    baselines = _baselines(measured, _BY_CLASS)
    return [
        heading("Emotion", 3),
        paragraph(f"{_interval_over(whole)} Labels: {counts}."),
        table(
            "Each modality alone and together, and the baseline of one answer for everything",
            ["", "n", *(FIGURE_TITLES[key] for key in _BY_CLASS), "ECE", "temperature"],
            [*([*row, "–", "–"] for row in baselines), *rows],
            baselines=range(len(baselines)),
        ),
        paragraph(
            "ECE is with the temperature, as served, and in parentheses without it. "
            f"UAR at random: {whole['chance_uar']:.2f}."
        ),
        draw(
            plot_confusion(by_modality, classes),
            "confusion",
            "Confusion matrix",
            "Each row is a true emotion and sums to 100 %; below each share is the number of utterances. A perfect "
            "model has everything on the diagonal. A dark column is an answer that the model gives too often. Grey "
            "rows did not occur.",
        ),
        draw(
            plot_recall(by_modality, classes),
            "recall",
            "Recall by class",
            "The share of each emotion that was found, with its 95 % interval. Always answering one emotion gives "
            "a recall of 1 there and 0 everywhere else.",
        ),
        draw(
            plot_reliability(
                {m.available: (m.answered.probabilities(), m.answered.emotions(m.classes)) for m, _ in measured}
            ),
            "reliability",
            "Reliability diagram",
            "On the dashed line confidence equals accuracy; below it the model is overconfident. A hollow point has "
            "fewer than ten answers. The bars show how often each confidence occurs.",
        ),
        *_genders(measured, _BY_CLASS),
    ]


def _score(measurement: Measurement, figures: Figures, scale: tuple[float, float], draw: Draw) -> list[str]:
    name: Score = "valence" if measurement.subject == "valence" else "arousal"
    low, high = figures["lowest_highest"]
    return [
        heading(f"{name.capitalize()}, from {MODALITY_TITLES[measurement.available]}", 3),
        paragraph(f"{_interval_over(figures)} Answers range from {low:.2f} to {high:.2f}."),
        table(
            "Compared with always answering the mean",
            ["", "n", *(FIGURE_TITLES[key] for key in _SCORES)],
            [
                *_baselines([(measurement, figures)], _SCORES),
                [
                    MODALITY_TITLES[measurement.available],
                    f"{figures['n']:,}",
                    *(with_interval(figures, key) for key in _SCORES),
                ],
            ],
            baselines=(0,),
        ),
        draw(
            plot_scores(measurement.answered.truths(name), measurement.answered.scores(name), name, scale),
            name,
            f"Answered against true {name}",
            f"An exact answer lies on the dashed line. The orange line is the mean answer to utterances of one true "
            f"{name}, where there are ten or more: the flatter it is, the more the model stays in the middle.",
        ),
        *_genders([(measurement, figures)], _SCORES),
    ]


def _order(measurement: Measurement, figures: Figures, draw: Draw) -> list[str]:
    answered = measurement.answered
    predicted = {name: _of_emotion(answered, name).scores("arousal") for name in CALM + AROUSED}
    low, high = figures["lowest_highest"]
    return [
        heading("Arousal, from audio alone", 3),
        note(
            "Nobody rated the arousal of these clips. So only the order is judged: whether angry and happy clips get "
            "more of it than sad and neutral ones. The distance of the answers from a rating is unknown here."
        ),
        paragraph(f"{_interval_over(figures)} Answers range from {low:.2f} to {high:.2f}."),
        table(
            "Compared with chance",
            ["", "n", FIGURE_TITLES["auc"]],
            [["chance", "", "0.500"], [MODALITY_TITLES["audio"], f"{figures['n']:,}", with_interval(figures, "auc")]],
            baselines=(0,),
        ),
        draw(
            plot_order({name: values for name, values in predicted.items() if len(values)}),
            "arousal",
            "Answered arousal by emotion",
            "A point is an utterance, the box holds the middle half and the line in it is the median. Orange should "
            "lie to the right of blue.",
        ),
        *_genders([(measurement, figures)], ("auc",)),
    ]


def _of_emotion(answered: Answered, emotion: str) -> Answered:
    return answered.select(lambda utterance: utterance.emotion == emotion)


def _genders(measured: Measured, keys: Sequence[str]) -> list[str]:
    """The same figures by gender; nothing where the part has only one."""
    rows = []
    for measurement, figures in measured:
        for gender, found in figures.get("by_gender", {}).items():
            baseline = found["baseline"][keys[-1]]
            figures_of_gender = (with_interval(found, key) for key in keys)
            name = f"{_GENDERS[gender]}, {MODALITY_TITLES[measurement.available]}"
            rows.append([name, f"{found['n']:,}", *figures_of_gender, f"{baseline:.3f}"])
    if not rows:
        return []
    last = FIGURE_TITLES[keys[-1]]
    columns = ["", "n", *(FIGURE_TITLES[key] for key in keys), f"{last} of the baseline"]
    return [table("By gender: overlapping intervals show no difference", columns, rows)]


def _baselines(measured: Measured, keys: Sequence[str]) -> list[list[str]]:
    """A row for each set of utterances: where some lack a modality the set is smaller, and its baseline differs."""
    rows = []
    for _, figures in measured:
        baseline = figures["baseline"]
        always = baseline["always"]
        name = f"always {always}" if isinstance(always, str) else f"always the mean, {always:.2f}"
        row = [name, f"{figures['n']:,}", *(f"{baseline[key]:.3f}" for key in keys)]
        if row not in rows:
            rows.append(row)
    return rows


def _calibration(figures: Figures) -> list[str]:
    return [f"{figures['ece']:.3f} ({figures['ece_uncalibrated']:.3f})", f"{figures['temperature']:g}"]


def _interval_over(figures: Figures) -> str:
    return f"Intervals are over {_UNITS[figures['resampled']].format(count=figures['units'])}."
