"""Measures a version part by part of a corpus, on the engine that serves it: asks, and computes the figures.

Each figure is over all utterances of a part, with its n, a 95 % bootstrap interval and a baseline that needs no model.
`training.evaluation.figures` computes them.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from app.engine.load import Model
from app.store.manifest import AVAILABLE, Available

from ..corpora.labels import MEAN_AROUSAL
from ..data.utterance import Split, Utterance
from .answers import Answered, answer, can
from .figures import AROUSED, CALM, Figures, by_gender, emotion_figures, order_figures, score_figures

Subject = Literal["emotion", "arousal", "arousal order", "valence"]
SUBJECTS: tuple[Subject, ...] = ("emotion", "arousal", "arousal order", "valence")
"""`arousal order`: for clips without ratings, only whether some emotions sound more aroused than others."""

FEW_SESSIONS = 3  # a corpus of so few sessions (scripts, say) is reported by session


@dataclass(frozen=True)
class Measurement:
    """The model's answers about one subject in one part of the corpus, from the `available` modalities.

    `classes` are the model's, and so is `temperature`, for these modalities.
    """

    subject: Subject
    part: str
    available: Available
    answered: Answered
    classes: tuple[str, ...]
    temperature: float

    @property
    def name(self) -> str:
        """`emotion of PART, AVAILABLE`, `arousal of PART` (always from audio) or `valence of PART` (from text)."""
        if self.subject == "emotion":
            return f"emotion of {self.part}, {self.available}"
        return f"{'valence' if self.subject == 'valence' else 'arousal'} of {self.part}"

    def figures(self) -> Figures:
        """The figures, with `by_gender` where the part has both genders."""
        found = self._figures(self.answered)
        genders = by_gender(self.answered, self._figures)
        return found | ({"by_gender": genders} if genders else {})

    def _figures(self, answered: Answered) -> Figures:
        if self.subject == "emotion":
            return emotion_figures(answered, self.classes, self.temperature)
        return order_figures(answered) if self.subject == "arousal order" else score_figures(answered, self.subject)


def measure(model: Model, utterances: Sequence[Utterance], split: Split) -> Iterator[Measurement]:
    """Asks about `split` part by part: from audio alone, text alone and both, where a label can judge the answer.

    Arousal comes from audio alone and valence from text alone, so each is judged once. Raises EvaluationError.
    """
    emotion = model.manifest.emotion
    for part, members in parts(utterances, split).items():
        rated = has_ratings(members)
        for available in AVAILABLE:
            subjects = {u.id: _subjects(u, available, emotion.classes, rated) for u in members if can(u, available)}
            asked = [u for u in members if subjects.get(u.id)]
            if not asked:
                continue
            answered = answer(model, asked, available, f"{part}, {available}")
            for subject in SUBJECTS:
                judged = _judged(answered, subject, subjects)
                if judged.utterances:
                    yield Measurement(
                        subject, part, available, judged, emotion.classes, emotion.temperature.of(available)
                    )


def evaluate(model: Model, utterances: Sequence[Utterance], split: Split = "test") -> dict[str, Figures]:
    """Figures of the utterances of `split` by name, such as `emotion of PART, AVAILABLE`.

    `utterances` are the whole corpus: each figure counts the speakers that other splits have too. Raises
    EvaluationError.
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


def parts(utterances: Sequence[Utterance], split: Split) -> dict[str, list[Utterance]]:
    """The utterances of `split` by corpus, and by session where the whole corpus, all splits together, has few."""
    sessions: dict[str, set[str | None]] = defaultdict(set)
    for utterance in utterances:
        sessions[utterance.corpus].add(utterance.session)
    grouped: dict[str, list[Utterance]] = defaultdict(list)
    for u in (u for u in utterances if u.split == split):
        few = 1 < len(sessions[u.corpus]) <= FEW_SESSIONS
        grouped[f"{u.corpus} ({u.session})" if few else u.corpus].append(u)
    return grouped


def has_ratings(utterances: Sequence[Utterance]) -> bool:
    """Whether arousal was rated: not if every label is the published mean of its emotion."""
    return any(u.arousal is not None and u.arousal != MEAN_AROUSAL.get(u.emotion or "") for u in utterances)


def _subjects(utterance: Utterance, available: Available, classes: Sequence[str], rated: bool) -> set[Subject]:
    """The subjects that this utterance's labels can judge, given the `available` modalities."""
    subjects: set[Subject] = set()
    if utterance.emotion in classes:
        subjects.add("emotion")
    if available == "audio" and rated and utterance.arousal is not None:
        subjects.add("arousal")
    if available == "audio" and not rated and utterance.emotion in AROUSED + CALM:
        subjects.add("arousal order")
    if available == "text" and utterance.valence is not None:
        subjects.add("valence")
    return subjects


def _judged(answered: Answered, subject: Subject, subjects: dict[str, set[Subject]]) -> Answered:
    """The answers that can be judged on `subject`; none where an order lacks aroused or calm emotions."""
    judged = answered.select(lambda u: subject in subjects[u.id])
    if subject == "arousal order" and len({u.emotion in AROUSED for u in judged.utterances}) < 2:
        return Answered([], [])
    return judged
