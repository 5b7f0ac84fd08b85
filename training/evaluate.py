"""Measures a version of a model on speakers and texts it never met, through the same engine that serves it.

Every figure is over a whole part of the corpus, with its n and a 95 % bootstrap interval: over speakers where there are
at least five, else over utterances, which says nothing about other speakers.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from app.audio import decode
from app.engine import Prediction
from app.engine import Utterance as Input
from app.model import Model
from training.metrics import (
    bootstrap,
    ccc,
    confusion,
    ece,
    fit_temperature,
    macro_f1,
    pearson,
    recall_by_class,
    rmse,
    uar,
)
from training.utterance import Split, Utterance

Modalities = Literal["audio", "text", "both"]

BATCH_SIZE = 16
FEW_SESSIONS = 3  # a corpus of so few sessions (its scripts, say) is reported by session
ENOUGH_SPEAKERS = 5
SEED = 1
AROUSED = ("angry", "happy")
CALM = ("sad", "neutral")


@dataclass(frozen=True)
class Answered:
    """Utterances and what the model said of them."""

    utterances: list[Utterance]
    predictions: list[Prediction]

    def select(self, chosen: Callable[[Utterance], bool]) -> "Answered":
        """The utterances that are `chosen`."""
        kept = [(u, p) for u, p in zip(self.utterances, self.predictions, strict=True) if chosen(u)]
        return Answered([u for u, _ in kept], [p for _, p in kept])


def evaluate(model: Model, utterances: Sequence[Utterance], split: Split = "test") -> dict[str, dict[str, object]]:
    """Figures by name, `emotion of CORPUS, MODALITIES` and the like, of the utterances of `split`."""
    figures: dict[str, dict[str, object]] = {}
    kinds: tuple[Modalities, ...] = ("audio", "text", "both")
    for part, members in parts([u for u in utterances if u.split == split]).items():
        for kind in kinds:
            able = [u for u in members if can(u, kind)]
            if not able:
                continue
            answered = answer(model, able, kind)
            if (named := answered.select(lambda u: u.emotion in model.manifest.emotion.classes)).utterances:
                figures[f"emotion of {part}, {kind}"] = emotion_figures(named, model.manifest.emotion.classes)
            if kind == "audio" and (named := answered.select(lambda u: u.emotion in AROUSED + CALM)).utterances:
                figures[f"arousal of {part}"] = arousal_figures(named)
            if kind == "text" and (rated := answered.select(lambda u: u.valence is not None)).utterances:
                figures[f"valence of {part}"] = valence_figures(rated)
    return figures


def calibrate(model: Model, utterances: Sequence[Utterance]) -> float:
    """The temperature that fits the validation utterances best, each heard with all that it has.

    The model's own temperature must be 1: log-probabilities then stand for its logits.
    """
    classes = model.manifest.emotion.classes
    held_out = [u for u in utterances if u.split == "validation" and u.emotion in classes]
    if not held_out:
        return 1.0
    answered = answer(model, held_out, "both")
    logits = np.log(np.array([p.probabilities for p in answered.predictions]) + 1e-12)
    return fit_temperature(logits, np.array([classes.index(u.emotion or "") for u in answered.utterances]))


def parts(utterances: Sequence[Utterance]) -> dict[str, list[Utterance]]:
    """By corpus, and by session where there are few."""
    sessions: dict[str, set[str | None]] = defaultdict(set)
    for utterance in utterances:
        sessions[utterance.corpus].add(utterance.session)
    grouped: dict[str, list[Utterance]] = defaultdict(list)
    for u in utterances:
        few = 1 < len(sessions[u.corpus]) <= FEW_SESSIONS
        grouped[f"{u.corpus} ({u.session})" if few else u.corpus].append(u)
    return grouped


def can(utterance: Utterance, kind: Modalities) -> bool:
    """Whether the utterance has the modalities."""
    return (kind == "text" or utterance.audio is not None) and (kind == "audio" or utterance.transcript is not None)


def answer(model: Model, utterances: Sequence[Utterance], kind: Modalities) -> Answered:
    """What the model says of each, given what `kind` names of what it has."""
    ordered = sorted(utterances, key=lambda u: (u.duration_s or 0.0, len(u.transcript or "")))
    batches = [ordered[k : k + BATCH_SIZE] for k in range(0, len(ordered), BATCH_SIZE)]
    predictions = [
        prediction
        for batch in tqdm(batches, desc="evaluate", mininterval=1.0, leave=False)
        for prediction in model.predict([model_input(model, u, kind) for u in batch])
    ]
    return Answered(ordered, predictions)


def model_input(model: Model, utterance: Utterance, kind: Modalities) -> Input:
    """Decoded and tokenised as in serving."""
    waveform = ids = None
    if kind != "text" and utterance.audio is not None:
        waveform = decode(utterance.audio.read_bytes()).samples[: model.manifest.audio.max_samples]
    if kind != "audio" and utterance.transcript is not None:
        ids = model.tokenizer.encode(utterance.transcript).ids
    return Input(waveform, ids)


def emotion_figures(answered: Answered, classes: Sequence[str]) -> dict[str, object]:
    """UAR, F1, accuracy, calibration, recall by class and confusion, beside always answering the commonest class."""
    truth = np.array([classes.index(u.emotion or "") for u in answered.utterances])
    probabilities = np.array([p.probabilities for p in answered.predictions])
    said = probabilities.argmax(axis=1)
    matrix = confusion(truth, said, len(classes))
    recalls = zip(classes, recall_by_class(matrix).tolist(), strict=True)

    def interval_of(metric: Callable[[NDArray[np.int64]], float]) -> list[float]:
        return resample(answered, lambda rows: metric(confusion(truth[rows], said[rows], len(classes))))

    return {
        "n": len(truth),
        "resampled": resampling_unit(answered),
        "uar": round(uar(matrix), 4),
        "uar_95": interval_of(uar),
        "chance_uar": round(1 / int((matrix.sum(axis=1) > 0).sum()), 4),
        "macro_f1": round(macro_f1(matrix), 4),
        "macro_f1_95": interval_of(macro_f1),
        "accuracy": round(float(matrix.trace() / matrix.sum()), 4),
        "commonest_accuracy": round(float(matrix.sum(axis=1).max() / matrix.sum()), 4),
        "ece": round(ece(probabilities, truth), 4),
        "recall": {name: round(value, 4) for name, value in recalls if not np.isnan(value)},
        "confusion": matrix.tolist(),
    }


def arousal_figures(answered: Answered) -> dict[str, object]:
    """How well arousal separates angry and happy from sad and neutral: the area under the ROC curve, chance 0.5."""
    aroused = np.array([u.emotion in AROUSED for u in answered.utterances])
    said = np.array([p.arousal for p in answered.predictions], dtype=np.float64)

    def auc(rows: NDArray[np.int64]) -> float:
        high, low = said[rows][aroused[rows]], said[rows][~aroused[rows]]
        if not len(high) or not len(low):
            return 0.5
        above = (high[:, None] > low[None, :]).mean() + 0.5 * (high[:, None] == low[None, :]).mean()
        return float(above)

    return {
        "n": len(said),
        "resampled": resampling_unit(answered),
        "auc": round(auc(np.arange(len(said))), 4),
        "auc_95": resample(answered, auc),
        "lowest_highest": [round(float(said.min()), 3), round(float(said.max()), 3)],
    }


def valence_figures(answered: Answered) -> dict[str, object]:
    """CCC, Pearson and RMSE beside always answering the mean."""
    truth = np.array([u.valence for u in answered.utterances], dtype=np.float64)
    said = np.array([p.valence for p in answered.predictions], dtype=np.float64)
    return {
        "n": len(truth),
        "resampled": resampling_unit(answered),
        "ccc": round(ccc(truth, said), 4),
        "ccc_95": resample(answered, lambda rows: ccc(truth[rows], said[rows])),
        "pearson": round(pearson(truth, said), 4),
        "rmse": round(rmse(truth, said), 4),
        "mean_rmse": round(float(truth.std()), 4),
    }


def resampling_unit(answered: Answered) -> str:
    """`speakers` or `utterances`."""
    speakers = {u.speaker for u in answered.utterances if u.speaker is not None}
    return "speakers" if len(speakers) >= ENOUGH_SPEAKERS else "utterances"


def resample(answered: Answered, statistic: Callable[[NDArray[np.int64]], float]) -> list[float]:
    """The 95 % interval of `statistic` over whichever unit there is enough of."""
    by_speaker = resampling_unit(answered) == "speakers"
    return bootstrap(statistic, [(u.speaker or u.id) if by_speaker else u.id for u in answered.utterances], SEED)
