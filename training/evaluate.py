"""Measures a version of a model on speakers and texts it never met, through the same engine that serves it.

Every figure is over a whole part of the corpus, with its n and a 95 % bootstrap interval, beside an answer that needs
no model. What is asked: `training.evaluation.measure`; how it is computed: `training.evaluation.figures`.
"""

from collections.abc import Iterable, Sequence

from app.model import Model
from training.evaluation.answers import answer
from training.evaluation.figures import Figures, logits_of
from training.evaluation.measure import Measurement, measure
from training.metrics import fit_temperature
from training.utterance import Split, Utterance


def evaluate(model: Model, utterances: Sequence[Utterance], split: Split = "test") -> dict[str, Figures]:
    """Figures by name, `emotion of PART, HEARD` and the like, of the utterances of `split`.

    `utterances` are all of the corpus: with them each figure tells how many of its speakers other splits have too.
    Raises EvaluationError.
    """
    return figures_of(measure(model, utterances, split), utterances, split)


def figures_of(
    measurements: Iterable[Measurement], utterances: Sequence[Utterance], split: Split = "test"
) -> dict[str, Figures]:
    """The figures of each measurement by its name, with its `speakers` and how many of them are `speakers_met`."""
    met = {(u.corpus, u.speaker) for u in utterances if u.split != split}
    figures = {}
    for measurement in measurements:
        speakers = {(u.corpus, u.speaker) for u in measurement.answered.utterances if u.speaker is not None}
        figures[measurement.name] = measurement.figures() | {
            "speakers": len(speakers),
            "speakers_met": len(speakers & met),
        }
    return figures


def calibrate(model: Model, utterances: Sequence[Utterance]) -> float:
    """The temperature that fits the validation utterances best, each heard with all that it has; 1 if there are none.

    The temperature that the model has already changes nothing.
    """
    classes = model.manifest.emotion.classes
    held_out = [u for u in utterances if u.split == "validation" and u.emotion in classes]
    if not held_out:
        return 1.0
    answered = answer(model, held_out, "both", "calibrate")
    logits = logits_of(answered.probabilities(), model.manifest.emotion.temperature)
    return fit_temperature(logits, answered.emotions(classes))
