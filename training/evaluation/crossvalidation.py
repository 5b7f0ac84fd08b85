"""Leave one speaker out: each fold's model answers for the speaker held out from it, and all folds are judged as one.

Answers come from the exported graphs on the serving engine. The temperatures of a fold are fitted on the answers of the
other folds, so that the held-out speaker takes no part in the calibration either.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.audio.decode import SAMPLE_RATE
from app.engine.load import Model, load_model
from app.settings import Precision, Settings
from app.store.manifest import Temperatures

from ..corpora import spoken_ko
from ..data.microphone import (
    Noise,
    Waveform,
    over_telephone,
    pink,
    white,
    with_gain,
    with_noise,
    with_offset,
    with_pauses,
)
from ..data.utterance import Utterance
from ..metrics import softmax
from .answers import Answered, answer
from .calibration import Calibration, certainty, fit_calibration
from .crossed import crossed_pairs
from .figures import Figures, logits_of
from .measure import Measurement, measure

Change = Callable[[Waveform], Waveform]
Colour = Callable[[int, np.random.Generator], Noise]

SERVED: Precision = "int8"
REFERENCE: Precision = "fp32"
CROP_S = 1.5
ACTED, NEUTRAL = "ko_emotional_speech", "neutral"
RECORDED = " under "  # between the name of a part and that of a recording condition


def _noisy(snr_db: float, colour: Colour) -> Change:
    return lambda waveform: with_noise(waveform, snr_db, np.random.default_rng(len(waveform)), colour)


def _paused(before_s: float, after_s: float, level_db: float) -> Change:
    return lambda waveform: with_pauses(waveform, before_s, after_s, level_db, np.random.default_rng(len(waveform)))


def _middle(waveform: Waveform) -> Waveform:
    start = max(0, len(waveform) // 2 - round(CROP_S * SAMPLE_RATE / 2))
    return waveform[start : start + round(CROP_S * SAMPLE_RATE)]


PAUSES = {"before": (1, 0), "after": (0, 1), "on both sides": (1, 1)}
FILLINGS = {"silence": -np.inf, "noise at -60 dBFS": -60.0, "noise at -45 dBFS": -45.0}
RECORDINGS: dict[str, Change] = {
    **{
        f"{seconds:g} s of {filling} {where}": _paused(before * seconds, after * seconds, level_db)
        for filling, level_db in FILLINGS.items()
        for seconds in (0.5, 1.0, 3.0)
        for where, (before, after) in PAUSES.items()
    },
    "an offset of 0.1": lambda waveform: with_offset(waveform, 0.1),
    "pink noise at 10 dB": _noisy(10.0, pink),
    "white noise at 20 dB": _noisy(20.0, white),
    "a telephone": over_telephone,
    "20 dB quieter": lambda waveform: with_gain(waveform, -20.0),
    "10 dB louder, clipped": lambda waveform: with_gain(waveform, 10.0),
    f"the middle {CROP_S:g} s alone": _middle,
}
"""Other conditions under which the same clips might have been recorded."""


@dataclass(frozen=True)
class CrossValidation:
    """`figures` over all folds, in the form of `evaluate`; `precision_cost`, each figure by name and precision;
    `certainty` by available modalities, from answers that took no part in their calibration; `calibration` fitted on
    all the answers, for the model that is trained on all speakers.
    """

    figures: dict[str, Figures]
    precision_cost: dict[str, dict[str, float]]
    certainty: dict[str, Figures]
    calibration: Calibration


def cross_validate(
    store: Path, held_out: Mapping[str, Sequence[Utterance]], texts: Sequence[Utterance]
) -> CrossValidation:
    """Measures the models of `store`, each named after the speaker whose utterances are `held_out` from it.

    `texts` have no audio: their validation split calibrates the answers from text alone, and their test split shows the
    cost of int8. Raises EvaluationError and MaeumError.
    """
    answers: dict[Precision, list[list[Measurement]]] = {SERVED: [], REFERENCE: []}
    recordings: list[list[Measurement]] = []
    for speaker, utterances in held_out.items():
        for precision, folds in answers.items():
            model = load_model(Settings.load(model_store=store, model=speaker, precision=precision))
            folds.append([_by_session(m) for m in measure(model, utterances, "test")])
            folds[-1] += _crossed(model, utterances, texts)
            if precision == SERVED:
                recordings.append(list(_recorded(model, folds[-1])))
    first = next(iter(held_out))
    models = {p: load_model(Settings.load(model_store=store, model=first, precision=p)) for p in answers}
    validation = list(measure(models[SERVED], texts, "validation"))

    figures: dict[str, Figures] = {}
    raw = [[*fold, *recorded] for fold, recorded in zip(answers[SERVED], recordings, strict=True)]
    calibrated = []
    for number, fold in enumerate(raw):
        others = [m for k, other in enumerate(answers[SERVED]) if k != number for m in other]
        temperatures = _fit(others, validation).temperatures
        calibrated.append([_at(m, temperatures) for m in fold])
    for before, after in zip(pooled(raw), pooled(calibrated), strict=True):
        found = after.figures()
        if after.subject == "emotion":
            _set_uncalibrated(found, before.figures())
        figures[after.name] = {
            **found,
            "speakers": len({u.speaker for u in after.answered.utterances}),
            "speakers_met": 0,
        }

    cost: dict[str, dict[str, float]] = defaultdict(dict)
    for precision, folds in answers.items():
        for measurement in (*pooled(folds), *measure(models[precision], texts, "test")):
            found = measurement.figures()
            for name in ("uar", "auc", "ccc"):
                if name in found:
                    cost[f"{name} of {measurement.name}"][precision] = found[name]
    calibration = _fit([m for fold in answers[SERVED] for m in fold], validation)
    judged = [m for m in pooled(calibrated) if RECORDED not in m.part and not (validation and m.available == "text")]
    judged += [_at(m, calibration.temperatures) for m in measure(models[SERVED], texts, "test")]
    bounds = calibration.uncertain_below
    sure = certainty(judged, bounds.of) if bounds else {}
    return CrossValidation(figures, dict(cost), sure, calibration)


def _fit(clips: Iterable[Measurement], texts: Sequence[Measurement]) -> Calibration:
    """The calibration on these answers. Where there are `texts`, they alone count for text alone: the label of a clip
    is that of its voice, which its words need not tell.
    """
    return fit_calibration([*(m for m in clips if not (texts and m.available == "text")), *texts])


def pooled(folds: Iterable[Sequence[Measurement]]) -> list[Measurement]:
    """Joins the measurements of all folds that have the same name."""
    together: dict[str, list[Measurement]] = defaultdict(list)
    for fold in folds:
        for measurement in fold:
            together[measurement.name].append(measurement)
    return [replace(same[0], answered=_joined(same)) for same in together.values()]


def _set_uncalibrated(found: Figures, before: Figures) -> None:
    """Takes the uncalibrated figures from `before`: each fold has temperatures of its own."""
    del found["temperature"]
    found["ece_uncalibrated"] = before["ece"]
    for gender, of_gender in found.get("by_gender", {}).items():
        del of_gender["temperature"]
        of_gender["ece_uncalibrated"] = before["by_gender"][gender]["ece"]


def _joined(measurements: Sequence[Measurement]) -> Answered:
    return Answered(
        [u for m in measurements for u in m.answered.utterances],
        [p for m in measurements for p in m.answered.predictions],
    )


def _by_session(measurement: Measurement) -> Measurement:
    """Named after its script: one speaker has only one, and `measure` then leaves it out of the name."""
    session = measurement.answered.utterances[0].session
    if session is None:
        return measurement
    return replace(measurement, part=f"{measurement.part} ({session})")


def _crossed(model: Model, utterances: Sequence[Utterance], texts: Sequence[Utterance]) -> Iterable[Measurement]:
    """The emotions of the clips with everyday sentences that nobody learned from in place of their own words."""
    clips = [u for u in utterances if u.corpus == ACTED]
    sentences = [u for u in texts if u.corpus == spoken_ko.NAME and u.split == "test"]
    if not (clips and sentences):
        return
    emotion = model.manifest.emotion
    for kind, pairs in crossed_pairs(clips, sentences, NEUTRAL).items():
        if pairs:
            answered = answer(model, pairs, "both", kind)
            temperature = emotion.temperature.both
            yield Measurement("emotion", f"crossed pairs: {kind}", "both", answered, emotion.classes, temperature)


def _recorded(model: Model, fold: Iterable[Measurement]) -> Iterable[Measurement]:
    """The emotions of the clips of several emotions under each of `RECORDINGS`."""
    for measurement in fold:
        several = len({utterance.emotion for utterance in measurement.answered.utterances}) > 1
        if several and measurement.subject == "emotion" and measurement.available == "audio":
            for name, change in RECORDINGS.items():
                answered = answer(model, measurement.answered.utterances, "audio", name, change)
                yield replace(measurement, part=f"{measurement.part}{RECORDED}{name}", answered=answered)


def _at(measurement: Measurement, temperatures: Temperatures) -> Measurement:
    """The same answers with the probabilities at these temperatures."""
    if measurement.subject != "emotion":
        return measurement
    temperature = temperatures.of(measurement.available)
    logits = logits_of(measurement.answered.probabilities(), measurement.temperature)
    probabilities: NDArray[np.float64] = softmax(logits, temperature)
    predictions = [
        replace(prediction, probabilities=tuple(row))
        for prediction, row in zip(measurement.answered.predictions, probabilities.tolist(), strict=True)
    ]
    answered = Answered(measurement.answered.utterances, predictions)
    return replace(measurement, answered=answered, temperature=temperature)
