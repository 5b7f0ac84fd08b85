"""KOTE: Korean comments with up to 44 fine emotion labels each, mapped to the five emotions."""

import csv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from app.text import clean_transcript

from ..data.utterance import Split, Utterance
from .splits import stable_hash
from .tally import CorpusError, Report, require_file

EMOTION_OF_LABEL: dict[str, str | None] = {
    "불평/불만": "angry",  # complaint
    "환영/호의": "happy",  # welcome
    "감동/감탄": "happy",  # being moved
    "지긋지긋": "angry",  # fed up
    "고마움": "happy",  # gratitude
    "슬픔": "sad",  # sorrow
    "화남/분노": "angry",  # rage
    "존경": "happy",  # respect
    "기대감": "happy",  # anticipation
    "우쭐댐/무시함": None,  # condescension
    "안타까움/실망": "sad",  # regret, disappointment
    "비장함": None,  # resolve
    "의심/불신": None,  # doubt
    "뿌듯함": "happy",  # pride in something
    "편안/쾌적": "happy",  # comfort
    "신기함/관심": "surprise",  # curiosity, interest
    "아껴주는": "happy",  # cherishing
    "부끄러움": None,  # shame
    "공포/무서움": None,  # fear
    "절망": "sad",  # despair
    "한심함": "angry",  # finding it pathetic
    "역겨움/징그러움": None,  # disgust
    "짜증": "angry",  # irritation
    "어이없음": "angry",  # disbelief
    "없음": "neutral",  # none
    "패배/자기혐오": "sad",  # defeat, self-hatred
    "귀찮음": None,  # finding it a bother
    "힘듦/지침": "sad",  # exhaustion
    "즐거움/신남": "happy",  # fun
    "깨달음": None,  # realisation
    "죄책감": "sad",  # guilt
    "증오/혐오": "angry",  # hatred
    "흐뭇함(귀여움/예쁨)": "happy",  # finding it sweet
    "당황/난처": "surprise",  # embarrassment
    "경악": "surprise",  # shock
    "부담/안_내킴": None,  # reluctance
    "서러움": "sad",  # grievance
    "재미없음": None,  # boredom
    "불쌍함/연민": "sad",  # pity
    "놀람": "surprise",  # astonishment
    "행복": "happy",  # happiness
    "불안/걱정": None,  # worry
    "기쁨": "happy",  # joy
    "안심/신뢰": "happy",  # relief, trust
}
"""The 44 labels in the order of their ids, each with the emotion it maps to. A label that maps to None fits several of
the five, or an emotion that is not among them."""

_LABEL_BY_ID = {str(number): label for number, label in enumerate(EMOTION_OF_LABEL)}

SURE_SURPRISE = {"경악", "놀람"}
"""Embarrassment and interest count as surprise only with one of these: alone they are questions and complaints."""


def read_kote(folder: Path, report: Report) -> Iterator[Utterance]:
    """The comments: `test.tsv` is the test split; 10 % of `val.tsv` validate and the rest train.

    `emotion` is null where the labels are not clear; `votes` are the shares of the five emotions among the labels that
    map to one, `tags` all the labels. Raises CorpusError.
    """
    for name in ("val.tsv", "test.tsv"):
        path = require_file(folder / name, "the comments of the corpus")
        with path.open(encoding="utf-8", newline="") as file:
            for number, row in enumerate(csv.reader(file, delimiter="\t"), start=1):
                try:
                    id_, raw, label_ids = row
                    labels = [_LABEL_BY_ID[label_id] for label_id in label_ids.split(",")]
                except (ValueError, KeyError) as error:
                    raise CorpusError(f"{path}, comment {number}: not id, text and label ids 0 to 43") from error
                text = clean_transcript(raw)
                if not text.strip():
                    report.leave_out(f"{folder.name}: no text")
                    continue
                yield Utterance(
                    id=f"{folder.name}-{id_}",
                    corpus=folder.name,
                    transcript=text,
                    raw_transcript=raw,
                    emotion=emotion_from(labels),
                    votes=votes_from(labels),
                    tags=tuple(labels),
                    split=_split(name, id_),
                )


def emotion_from(labels: list[str]) -> str | None:
    """The emotion that most of `labels` map to; None if there is none, two are equal, or surprise is unsure.

    A comment is neutral if it has the label 없음 (none) and no emotion has more than one label.
    """
    counts = _counts(labels)
    neutral = counts.pop("neutral", 0)
    (first, most), (_, next_most) = [*counts.most_common(2), ("", 0), ("", 0)][:2]
    if neutral and most <= 1:
        return "neutral"
    if most == next_most or (first == "surprise" and SURE_SURPRISE.isdisjoint(labels)):
        return None
    return first


def votes_from(labels: list[str]) -> dict[str, float]:
    """The share of each of the five emotions among the labels that map to one; {} without such labels."""
    counts = _counts(labels)
    return {emotion: round(count / counts.total(), 4) for emotion, count in counts.items()}


def _counts(labels: list[str]) -> Counter[str]:
    return Counter(emotion for label in labels if (emotion := EMOTION_OF_LABEL[label]) is not None)


def _split(name: str, id_: str) -> Split:
    if name == "test.tsv":
        return "test"
    return "validation" if stable_hash(id_) % 10 == 0 else "train"
