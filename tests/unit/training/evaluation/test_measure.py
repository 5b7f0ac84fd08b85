"""Figures cover the whole corpus, next to their baselines; each answer asked for can be judged by a label."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import f1_score, roc_auc_score

from app.engine.engine import ModelInput, Prediction
from app.engine.load import Model
from app.store.manifest import AVAILABLE, Available, Manifest, Temperatures
from tests.support.talk import rated_talk
from training.corpora.labels import MEAN_AROUSAL
from training.data.utterance import Utterance
from training.evaluation.answers import Answered, EvaluationError
from training.evaluation.calibration import Calibration, calibrate, certainty, fit_calibration
from training.evaluation.figures import by_gender, emotion_figures, order_figures, score_figures
from training.evaluation.measure import Measurement, evaluate, has_ratings, measure, parts
from training.export.card import card
from training.metrics import accuracy, auc, confusion, ece, intervals, reliability, resamples, softmax, weighted_f1

CLASSES = ("neutral", "sad", "happy", "surprise", "angry")


def answered(
    emotions: Sequence[str], probabilities: np.ndarray | None = None, arousal: Sequence[float] = (), **labels: object
) -> Answered:
    """Utterances of `emotions` and their predictions: `probabilities`, by default 1 for the true class."""
    if probabilities is None:
        probabilities = np.eye(5)[[CLASSES.index(emotion) for emotion in emotions]]
    scores = list(arousal) or [3.0] * len(emotions)
    utterances = [
        Utterance(id=f"u{k}", corpus="c", speaker=f"s{k % 6}", emotion=emotion, **labels)  # type: ignore[arg-type]
        for k, emotion in enumerate(emotions)
    ]
    predictions = [Prediction(a, 3.0, tuple(p)) for a, p in zip(scores, probabilities.tolist(), strict=True)]
    return Answered(utterances, predictions)


def test_more_metrics_agree_with_scikit_learn() -> None:
    random = np.random.default_rng(0)
    truth, predicted = random.integers(4, size=300), random.integers(4, size=300)
    matrix = confusion(truth, predicted, 5)
    assert weighted_f1(matrix) == pytest.approx(f1_score(truth, predicted, average="weighted"))
    assert accuracy(matrix) == pytest.approx((truth == predicted).mean())
    scores = random.integers(10, size=300).astype(float)  # with ties
    assert auc(truth > 1, scores) == pytest.approx(roc_auc_score(truth > 1, scores))
    assert np.isnan(auc(np.ones(3, dtype=bool), np.arange(3.0)))


def test_reliability_by_hand() -> None:
    probabilities = np.array([[0.95, 0.05], [0.95, 0.05], [0.4, 0.6]])
    counts, confidence, right = reliability(probabilities, np.array([0, 1, 1]), bins=10)
    assert counts.tolist() == [0, 0, 0, 0, 0, 0, 1, 0, 0, 2]
    assert (confidence[9], right[9], confidence[6], right[6]) == pytest.approx((0.95, 0.5, 0.6, 1.0))
    assert np.isnan(right[0])
    assert ece(probabilities, np.array([0, 1, 1]), bins=10) == pytest.approx((2 * 0.45 + 0.4) / 3)


def test_draws_hold_whole_groups() -> None:
    groups = ["a", "b", "a", "c", "b", "a"]
    members = {"a": [0, 2, 5], "b": [1, 4], "c": [3]}
    for rows in resamples(groups, seed=3, draws=50):
        counts = np.bincount(rows, minlength=6)
        assert all(len(set(counts[rows_of])) == 1 for rows_of in members.values())
        assert sum(counts[rows_of[0]] for rows_of in members.values()) == 3


def test_a_draw_without_a_class_does_not_count_for_its_recall() -> None:
    ranges = intervals(lambda rows: {"rare": 1.0 if 0 in rows else float("nan")}, [str(k) for k in range(9)], seed=1)
    assert ranges == {"rare": [1.0, 1.0]}


def test_always_neutral_scores_as_published() -> None:
    emotions = ["neutral"] * 877 + ["happy"] * 73 + ["sad"] * 30 + ["surprise"] * 10 + ["angry"] * 10
    figures = emotion_figures(answered(emotions), CLASSES, 1.0)
    assert figures["baseline"] == {
        "always": "neutral",
        "accuracy": 0.877,
        "weighted_f1": pytest.approx(0.819, abs=1e-3),
        "macro_f1": pytest.approx(0.187, abs=1e-3),
        "uar": 0.2,
    }
    assert figures["accuracy"] == figures["uar"] == 1
    assert figures["support"]["happy"] == 73


def test_the_baseline_is_the_commonest_class_and_neutral_among_equals() -> None:
    assert emotion_figures(answered(["angry", "angry", "neutral"]), CLASSES, 1.0)["baseline"]["always"] == "angry"
    assert emotion_figures(answered(["sad", "neutral"]), CLASSES, 1.0)["baseline"]["always"] == "neutral"


def test_emotion_figures_where_classes_do_not_occur() -> None:
    random = np.random.default_rng(1)
    emotions = random.choice(["neutral", "sad", "angry"], size=200).tolist()
    figures = emotion_figures(answered(emotions, softmax(random.standard_normal((200, 5)))), CLASSES, 1.0)
    assert list(figures["recall"]) == list(figures["recall_95"]) == ["neutral", "sad", "angry"]
    assert figures["chance_uar"] == pytest.approx(1 / 3, abs=1e-4)
    for name in ("accuracy", "weighted_f1", "macro_f1", "uar"):
        low, high = figures[f"{name}_95"]
        assert low <= figures[name] <= high
    assert np.array(figures["confusion"]).sum() == figures["n"] == 200


def test_ece_with_and_without_the_temperature() -> None:
    random = np.random.default_rng(2)
    logits = 2 * random.standard_normal((500, 5))
    emotions = [CLASSES[k] for k in random.integers(5, size=500)]
    truth = np.array([CLASSES.index(emotion) for emotion in emotions])
    figures = emotion_figures(answered(emotions, softmax(logits, 2.5)), CLASSES, 2.5)
    assert figures["ece"] == pytest.approx(ece(softmax(logits, 2.5), truth), abs=1e-4)
    assert figures["ece_uncalibrated"] == pytest.approx(ece(softmax(logits), truth), abs=1e-4)
    assert figures["ece"] < figures["ece_uncalibrated"]
    assert figures["temperature"] == 2.5


def test_scores_are_of_the_whole_corpus_and_not_means_over_batches() -> None:
    true = [1.0, 1.0, 5.0, 5.0]
    predicted = [1.0, 1.0, 4.0, 3.0]
    utterances = [Utterance(id=str(k), corpus="c", arousal=value) for k, value in enumerate(true)]
    figures = score_figures(Answered(utterances, [Prediction(value, None, ()) for value in predicted]), "arousal")
    assert figures["rmse"] == pytest.approx((5 / 4) ** 0.5, abs=1e-4)  # mean of two batches of two: 0.79
    assert figures["baseline"] == {"always": 3.0, "ccc": 0.0, "pearson": 0.0, "rmse": 2.0}
    assert figures["resampled"] == "utterances"


def test_the_order_of_arousal() -> None:
    figures = order_figures(answered(["angry", "happy", "sad", "neutral"], arousal=[3.5, 3.1, 3.1, 2.0]))
    assert figures["auc"] == pytest.approx((4 - 0.5) / 4)
    assert figures["baseline"] == {"auc": 0.5}
    assert figures["lowest_highest"] == [2.0, 3.5]


def test_women_and_men_each_have_figures_without_detail() -> None:
    women, men = (answered(["neutral", "sad"] * 20, gender=gender) for gender in ("female", "male"))
    both = Answered(women.utterances + men.utterances, women.predictions + men.predictions)
    figures = by_gender(both, lambda part: emotion_figures(part, CLASSES, 1.0))
    assert {gender: found["n"] for gender, found in figures.items()} == {"female": 40, "male": 40}
    assert "uar_95" in figures["female"]
    assert "confusion" not in figures["female"]
    assert by_gender(women, lambda part: emotion_figures(part, CLASSES, 1.0)) == {}


@pytest.mark.parametrize(
    ("speakers", "sessions", "unit"),
    [(5, 1, "speakers"), (4, 5, "sessions"), (0, 5, "sessions"), (4, 2, "utterances"), (0, 0, "utterances")],
)
def test_the_unit_of_resampling(speakers: int, sessions: int, unit: str) -> None:
    utterances = [
        Utterance(
            id=str(k),
            corpus="c",
            speaker=f"s{k % speakers}" if speakers else None,
            session=f"t{k % sessions}" if sessions else None,
        )
        for k in range(20)
    ]
    assert Answered(utterances, []).groups()[0] == unit
    nameless = Utterance(id="x", corpus="c")
    assert Answered([*utterances, nameless], []).groups()[0] == "utterances"


def test_published_means_are_no_ratings() -> None:
    weak = [Utterance(id=name, corpus="c", emotion=name, arousal=value) for name, value in MEAN_AROUSAL.items()]
    assert not has_ratings(weak)
    assert not has_ratings([Utterance(id="x", corpus="c", emotion="sad")])
    assert has_ratings([*weak, Utterance(id="x", corpus="c", emotion="sad", arousal=3.1)])


def test_a_corpus_of_two_scripts_is_two_parts() -> None:
    def corpus(sessions: int) -> list[Utterance]:
        return [Utterance(id=str(k), corpus="c", session=f"t{k}") for k in range(sessions)]

    assert list(parts(corpus(1), "train")) == list(parts(corpus(4), "train")) == ["c"]
    assert list(parts(corpus(2), "train")) == ["c (t0)", "c (t1)"]
    held_out = [u.model_copy(update={"split": "test"}) for u in corpus(2)]
    assert list(parts([*held_out, *corpus(4)], "test")) == ["c"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, wav: bytes) -> list[Utterance]:
    """Rated talk of six speakers, clips without transcripts or ratings, reviews with valence alone."""
    path = tmp_path_factory.mktemp("corpus") / "a.wav"
    path.write_bytes(wav)
    talk = rated_talk(path, ["test"] * 30 + ["validation"] * 6)
    clips = [
        Utterance(id=f"clip{k}", corpus="clips", audio=path, emotion=name, arousal=MEAN_AROUSAL[name], split="test")
        for k, name in enumerate(("sad", "angry") * 3)
    ]
    reviews = [
        Utterance(id=f"review{k}", corpus="reviews", transcript="고마워요", valence=1 + k % 5, split="test")
        for k in range(9)
    ]
    return [*talk, *clips, *reviews]


def test_only_answers_that_can_be_judged_are_asked_for(model: Model, corpus: list[Utterance]) -> None:
    asked: list[ModelInput] = []

    def predict(batch: Sequence[ModelInput]) -> list[Prediction]:
        asked.extend(batch)
        return model.predict(batch)

    figures = evaluate(replace(model, runners=[predict]), corpus)
    assert list(figures) == [
        "emotion of talk, audio",
        "arousal of talk",
        "emotion of talk, text",
        "valence of talk",
        "emotion of talk, both",
        "emotion of clips, audio",
        "arousal of clips",
        "valence of reviews",
    ]
    assert len(asked) == 3 * 30 + 6 + 9  # a review is read once
    assert figures["arousal of talk"].keys() >= {"ccc", "rmse", "pearson", "by_gender"}
    assert figures["arousal of clips"].keys() >= {"auc"}
    assert figures["emotion of talk, both"]["speakers"] == figures["emotion of talk, both"]["speakers_met"] == 6
    assert figures["emotion of clips, audio"]["speakers_met"] == 0


def test_clips_of_one_side_have_no_order(model: Model, corpus: list[Utterance]) -> None:
    angry = [u for u in corpus if u.corpus == "clips" and u.emotion == "angry"]
    assert [measurement.name for measurement in measure(model, angry, "test")] == ["emotion of clips, audio"]


def test_a_file_that_cannot_be_decoded_is_named(model: Model, corpus: list[Utterance], tmp_path: Path) -> None:
    broken = tmp_path / "broken.wav"
    missing = corpus[0].model_copy(update={"audio": broken})
    with pytest.raises(EvaluationError, match=r"broken\.wav of utterance talk0"):
        evaluate(model, [missing])
    broken.write_bytes(b"RIFF no wave")
    with pytest.raises(EvaluationError, match=r"broken\.wav of utterance talk0"):
        evaluate(model, [missing])


def measured(available: Available, sureness: float, temperature: float = 1.0, sharpness: float = 1.0) -> Measurement:
    """Answers of a model whose logits are `sureness` times the right ones, divided by its `temperature`."""
    random = np.random.default_rng(3)
    logits = sharpness * random.standard_normal((4000, 5))
    emotions = [CLASSES[random.choice(5, p=p)] for p in softmax(logits)]
    answers = answered(emotions, softmax(sureness * logits, temperature))
    return Measurement("emotion", "c", available, answers, CLASSES, temperature)


def test_each_modality_is_fitted_whatever_the_temperature_of_its_answers() -> None:
    arousal = Measurement("arousal order", "c", "audio", answered(["sad", "angry"]), CLASSES, 1.0)
    answers = [measured("audio", 3.0), measured("text", 0.5, 0.7), measured("both", 2.0, 4.0), arousal]
    found = fit_calibration(answers).temperatures
    assert [found.of(available) for available in AVAILABLE] == pytest.approx([3.0, 0.5, 2.0], rel=0.1)


def test_answers_of_several_models_are_fitted_together() -> None:
    first, second = measured("both", 2.0, 3.0), measured("both", 4.0)
    one, other, pooled = (fit_calibration(m).temperatures.both for m in ([first], [second], [first, second]))
    assert one < pooled < other


def test_parts_weigh_the_same_whatever_their_sizes() -> None:
    large, small = measured("text", 2.0), replace(measured("text", 6.0), part="other")
    few = replace(small, answered=Answered(small.answered.utterances[:400], small.answered.predictions[:400]))
    even = fit_calibration([large, small]).temperatures.text
    assert fit_calibration([large, few]).temperatures.text == pytest.approx(even, rel=0.1)
    joined = replace(few, part=large.part)
    assert fit_calibration([large, joined]).temperatures.text < 0.9 * even


def test_answers_below_the_bound_are_wrong_at_least_as_often_as_right() -> None:
    answers = measured("both", 1.0, sharpness=2.0)
    calibration = fit_calibration([answers])
    assert calibration.uncertain_below
    bound = calibration.uncertain_below.both
    found = certainty([answers], calibration.uncertain_below.of)["both"]
    assert 0.05 < found["share_uncertain"] < 0.95
    assert found["risk_uncertain"] == pytest.approx(0.5, abs=0.02)
    probabilities = answers.answered.probabilities()
    assert found["share_uncertain"] == pytest.approx((probabilities.max(axis=1) < bound).mean(), abs=1e-4)
    right = probabilities.argmax(axis=1) == answers.answered.emotions(CLASSES)
    surest = np.argsort(-probabilities.max(axis=1))[: len(right) // 2]
    assert found["risk_at_coverage"]["0.5"] == pytest.approx(1 - right[surest].mean(), abs=1e-3)
    assert found["risk_at_coverage"]["1.0"] == pytest.approx(1 - right.mean(), abs=1e-4)
    assert found["ece"] < 0.03


def test_answers_that_are_always_right_are_never_uncertain() -> None:
    answers = Measurement("emotion", "c", "text", answered(["sad"] * 20), CLASSES, 1.0)
    bounds = fit_calibration([answers]).uncertain_below
    assert bounds and bounds.text == pytest.approx(1 / len(CLASSES))  # nothing is less sure than that


def test_a_modality_without_answers_has_the_temperature_of_all_answers() -> None:
    found = fit_calibration([measured("audio", 3.0), measured("text", 1.0)]).temperatures
    assert found.text < found.both < found.audio
    assert fit_calibration([]) == Calibration(Temperatures(audio=1, text=1, both=1), None)


def test_calibration_asks_the_validation_utterances_in_every_way(model: Model, corpus: list[Utterance]) -> None:
    """Two of the six are neutral, so a model that always predicts neutral is right to be sure by a third."""
    sure: dict[Available, float] = {"audio": 0.6, "text": 0.9, "both": 1 / 3}

    def predict(batch: Sequence[ModelInput]) -> list[Prediction]:
        neutral = [sure[item.available] for item in batch]
        return [Prediction(3.0, 3.0, (p, *[(1 - p) / 4] * 4)) for p in neutral]

    found = calibrate(replace(model, runners=[predict]), corpus).temperatures
    by_own_temperature = {
        available: found.of(available) / model.manifest.emotion.temperature.of(available) for available in AVAILABLE
    }
    right = {available: np.log(4 * p / (1 - p)) / np.log(2) for available, p in sure.items()}
    assert by_own_temperature == pytest.approx(right, rel=0.02)
    nothing = calibrate(model, [u for u in corpus if u.split == "test"])
    assert nothing == Calibration(Temperatures(audio=1, text=1, both=1), None)


def test_the_card_has_the_figures_and_names_known_speakers(model: Model, corpus: list[Utterance]) -> None:
    figures = evaluate(model, corpus)
    evaluation = {"precision": "fp32", **figures}
    drift = {"fp32": {"arousal": 0.0}}
    manifest = Manifest.model_validate({**model.manifest.model_dump(), "evaluation": evaluation, "drift": drift})
    text = card(manifest, "Learned from tests.")
    assert f"| valence of reviews | 9 | CCC {figures['valence of reviews']['ccc']:.3f} [" in text
    assert " u] | chance 0.5; angry and happy against sad and neutral |" in text
    assert "Speakers of `emotion of talk, both` are in training too" in text
    assert "Speakers of `emotion of clips" not in text
