"""What can be asked about each part of a corpus, and the model's answers to it."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from app.engine.load import Model
from app.store.manifest import AVAILABLE, Available

from ..corpora.labels import MEAN_AROUSAL
from ..data.utterance import Split, Utterance
from .answers import Answered, answer, can
from .figures import (
    AROUSED,
    CALM,
    Figures,
    by_gender,
    emotion_figures,
    order_figures,
    score_figures,
)

Subject = Literal["emotion", "arousal", "arousal order", "valence"]
SUBJECTS: tuple[Subject, ...] = ("emotion", "arousal", "arousal order", "valence")
"""`arousal order`: of voices that nobody rated, only which emotions sound more aroused than which."""

FEW_SESSIONS = 3  # a corpus of so few sessions (its scripts, say) is reported by session


@dataclass(frozen=True)
class Measurement:
    """The model's answers about one subject in one part of the corpus, given what it `heard`.

    `classes` are the model's, and `temperature` is the model's for what it `heard`.
    """

    subject: Subject
    part: str
    heard: Available
    answered: Answered
    classes: tuple[str, ...]
    temperature: float

    @property
    def name(self) -> str:
        """`emotion of PART, HEARD`, `arousal of PART` or `valence of PART`: what a voice or words alone decide."""
        if self.subject == "emotion":
            return f"emotion of {self.part}, {self.heard}"
        return f"{'valence' if self.subject == 'valence' else 'arousal'} of {self.part}"

    def figures(self) -> Figures:
        """With `by_gender` where both were heard."""
        found = self._figures(self.answered)
        genders = by_gender(self.answered, self._figures)
        return found | ({"by_gender": genders} if genders else {})

    def _figures(self, answered: Answered) -> Figures:
        if self.subject == "emotion":
            return emotion_figures(answered, self.classes, self.temperature)
        return order_figures(answered) if self.subject == "arousal order" else score_figures(answered, self.subject)


def measure(model: Model, utterances: Sequence[Utterance], split: Split) -> Iterator[Measurement]:
    """Asks about `split`, part by part: with the voice alone, the words alone and both, where answers can be judged.

    Arousal comes from the voice alone and valence from the words alone, so each is judged once. Raises EvaluationError.
    """
    emotion = model.manifest.emotion
    for part, members in parts(utterances, split).items():
        rated = has_ratings(members)
        for heard in AVAILABLE:
            subjects = {u.id: _subjects(u, heard, emotion.classes, rated) for u in members if can(u, heard)}
            asked = [u for u in members if subjects.get(u.id)]
            if not asked:
                continue
            answered = answer(model, asked, heard, f"{part}, {heard}")
            for subject in SUBJECTS:
                judged = _judged(answered, subject, subjects)
                if judged.utterances:
                    yield Measurement(subject, part, heard, judged, emotion.classes, emotion.temperature.of(heard))


def parts(utterances: Sequence[Utterance], split: Split) -> dict[str, list[Utterance]]:
    """Those of `split` by corpus, and by session where the corpus, all its splits taken together, has few."""
    sessions: dict[str, set[str | None]] = defaultdict(set)
    for utterance in utterances:
        sessions[utterance.corpus].add(utterance.session)
    grouped: dict[str, list[Utterance]] = defaultdict(list)
    for u in (u for u in utterances if u.split == split):
        few = 1 < len(sessions[u.corpus]) <= FEW_SESSIONS
        grouped[f"{u.corpus} ({u.session})" if few else u.corpus].append(u)
    return grouped


def has_ratings(utterances: Sequence[Utterance]) -> bool:
    """Whether arousal was rated: it is not if every label is just the published mean of the emotion."""
    return any(u.arousal is not None and u.arousal != MEAN_AROUSAL.get(u.emotion or "") for u in utterances)


def _subjects(utterance: Utterance, heard: Available, classes: Sequence[str], rated: bool) -> set[Subject]:
    """What this utterance's labels can judge of what is `heard`."""
    subjects: set[Subject] = set()
    if utterance.emotion in classes:
        subjects.add("emotion")
    if heard == "audio" and rated and utterance.arousal is not None:
        subjects.add("arousal")
    if heard == "audio" and not rated and utterance.emotion in AROUSED + CALM:
        subjects.add("arousal order")
    if heard == "text" and utterance.valence is not None:
        subjects.add("valence")
    return subjects


def _judged(answered: Answered, subject: Subject, subjects: dict[str, set[Subject]]) -> Answered:
    """The answers that can be judged on `subject`; none where the order of aroused and calm has but one side."""
    judged = answered.select(lambda u: subject in subjects[u.id])
    if subject == "arousal order" and len({u.emotion in AROUSED for u in judged.utterances}) < 2:
        return Answered([], [])
    return judged
