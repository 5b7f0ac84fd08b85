"""Folds are judged as one, each calibrated on the others; other recordings of a clip are measured too."""

from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray

from app.engine.engine import Prediction
from app.settings import Settings
from training.data.microphone import Waveform
from training.data.utterance import Utterance
from training.evaluation import crossvalidation
from training.evaluation.answers import Answered
from training.evaluation.calibration import fit_calibration
from training.evaluation.crossvalidation import RECORDED, RECORDINGS, CrossValidation, cross_validate, pooled
from training.evaluation.measure import Measurement
from training.metrics import ece, softmax

CLASSES = ("neutral", "sad", "happy", "surprise", "angry")
CLIPS = 200  # utterances of a speaker
SHARPNESS = {"ann": 2.0, "bob": 4.0}  # how many times too sure the models of the folds are
NAME = "emotion of c (plain), audio"


def truth_and_logits(speaker: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Classes as they are drawn from softmax(logits)."""
    random = np.random.default_rng(list(SHARPNESS).index(speaker))
    logits = 1.5 * random.standard_normal((CLIPS, 5))
    return np.array([random.choice(5, p=row) for row in softmax(logits)]), logits


def measurement(speaker: str, part: str = "c") -> Measurement:
    truth, logits = truth_and_logits(speaker)
    utterances = [
        Utterance(id=f"{speaker}{k}", corpus="c", session="plain", speaker=speaker, emotion=CLASSES[c], split="test")
        for k, c in enumerate(truth)
    ]
    probabilities = softmax(SHARPNESS[speaker] * logits).tolist()
    answered = Answered(utterances, [Prediction(3.0, None, tuple(row)) for row in probabilities])
    return Measurement("emotion", part, "audio", answered, CLASSES, 1.0)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> CrossValidation:
    """Two folds whose models answer as in `measurement`; other recordings get the answers of the clips."""

    def load(settings: Settings) -> SimpleNamespace:
        return SimpleNamespace(name=settings.model)

    def measure(model: SimpleNamespace, utterances: Sequence[Utterance], split: str) -> Iterator[Measurement]:
        if utterances:
            assert split == "test" and {utterance.speaker for utterance in utterances} == {model.name}
            yield measurement(model.name)

    def answer(
        model: SimpleNamespace,
        utterances: Sequence[Utterance],
        available: str,
        title: str,
        change: Callable[[Waveform], Waveform],
    ) -> Answered:
        assert available == "audio" and change is RECORDINGS[title]
        return measurement(model.name).answered

    with pytest.MonkeyPatch.context() as patch:
        for name, fake in (("load_model", load), ("measure", measure), ("answer", answer)):
            patch.setattr(crossvalidation, name, fake)
        held_out = {speaker: measurement(speaker).answered.utterances for speaker in SHARPNESS}
        return cross_validate(tmp_path_factory.mktemp("store"), held_out, [])


def test_pooled_joins_measurements_of_one_name() -> None:
    first, second, other = measurement("ann"), measurement("bob"), measurement("bob", part="d")
    both, alone = pooled([[first], [second, other]])
    assert (both.name, alone.name) == ("emotion of c, audio", "emotion of d, audio")
    assert both.answered.utterances == first.answered.utterances + second.answered.utterances
    assert both.answered.predictions == first.answered.predictions + second.answered.predictions
    assert alone.answered == other.answered


def test_a_fold_is_calibrated_by_the_others(found: CrossValidation) -> None:
    fitted = {speaker: fit_calibration([measurement(speaker)]).temperatures.audio for speaker in SHARPNESS}
    assert fitted == {speaker: pytest.approx(sharpness, rel=0.25) for speaker, sharpness in SHARPNESS.items()}
    truth = np.concatenate([truth_and_logits(speaker)[0] for speaker in SHARPNESS])
    raw, calibrated = (
        np.concatenate([softmax(SHARPNESS[s] * truth_and_logits(s)[1], t) for s, t in temperatures.items()])
        for temperatures in ({"ann": 1.0, "bob": 1.0}, {"ann": fitted["bob"], "bob": fitted["ann"]})
    )
    figures = found.figures[NAME]
    assert figures["n"] == 2 * CLIPS
    assert (figures["speakers"], figures["speakers_met"]) == (2, 0)
    assert figures["accuracy"] == pytest.approx((raw.argmax(axis=1) == truth).mean(), abs=1e-4)
    assert figures["mean_confidence"] == pytest.approx(calibrated.max(axis=1).mean(), abs=1e-3)
    assert figures["ece"] == pytest.approx(ece(calibrated, truth), abs=2e-3)
    assert figures["ece_uncalibrated"] == pytest.approx(ece(raw, truth), abs=2e-3)
    together = fit_calibration([measurement(speaker) for speaker in SHARPNESS])
    assert found.calibration == together
    assert found.certainty["audio"]["n"] == 2 * CLIPS
    assert fitted["ann"] < together.temperatures.audio < fitted["bob"]


def test_other_recordings_are_figures_of_their_own(found: CrossValidation) -> None:
    names = {NAME, *(f"emotion of c (plain){RECORDED}{recording}, audio" for recording in RECORDINGS)}
    assert set(found.figures) == names
    for name in names:  # their answers are the same here, and so are their figures
        assert found.figures[name] == found.figures[NAME]


def test_the_cost_of_a_precision_is_given_by_figure(found: CrossValidation) -> None:
    cost = found.precision_cost[f"uar of {NAME}"]
    assert set(cost) == {"int8", "fp32"}
    assert cost["int8"] == cost["fp32"] == found.figures[NAME]["uar"]
