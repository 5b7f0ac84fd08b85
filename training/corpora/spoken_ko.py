"""spoken_ko: everyday Korean sentences with emotion and valence, read twice. It lies beside this file, see its .md."""

import csv
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from app.text import clean_transcript

from ..data.utterance import Split, Utterance
from ..metrics import ccc
from .splits import stable_hash

NAME = "spoken_ko"
FILE = Path(__file__).with_name(f"{NAME}.tsv")


class Sentence(NamedTuple):
    """A line of the file; `_2` is the second reading."""

    domain: str
    register: str
    emotion: str
    valence: float
    emotion_2: str
    valence_2: float
    text: str


def read_sentences() -> Iterator[Sentence]:
    """The lines of the file, in its order."""
    with FILE.open(encoding="utf-8", newline="") as file:
        # Quotation marks are part of the sentences.
        for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
            yield Sentence(
                row["domain"],
                row["register"],
                row["emotion"],
                float(row["valence"]),
                row["emotion_2"],
                float(row["valence_2"]),
                row["text"],
            )


def read_spoken_ko() -> Iterator[Utterance]:
    """The sentences: a tenth of each domain is the test split, a tenth validates, the others train.

    `valence` is the mean of both readings. `emotion` is null where they differ, and `votes` then holds both.
    `session` is the domain.
    """
    for number, sentence in enumerate(read_sentences(), start=1):
        emotions = (sentence.emotion, sentence.emotion_2)
        yield Utterance(
            id=f"{NAME}-{number:04}",
            corpus=NAME,
            session=sentence.domain,
            transcript=clean_transcript(sentence.text),
            raw_transcript=sentence.text,
            emotion=sentence.emotion if sentence.emotion == sentence.emotion_2 else None,
            votes={emotion: emotions.count(emotion) / 2 for emotion in dict.fromkeys(emotions)},
            valence=round((sentence.valence + sentence.valence_2) / 2, 4),
            split=_split(sentence.text),
        )


def _split(text: str) -> Split:
    splits: dict[int, Literal["test", "validation"]] = {0: "test", 1: "validation"}
    return splits.get(stable_hash(text) % 10, "train")


def agreement() -> dict[str, float]:
    """Of the two readings: equal emotions and Cohen's kappa; correlation, CCC and mean difference of valence."""
    sentences = list(read_sentences())
    first, second = (np.array(column) for column in zip(*((s.emotion, s.emotion_2) for s in sentences), strict=True))
    observed = float((first == second).mean())
    expected = sum(float((first == name).mean() * (second == name).mean()) for name in np.unique(first))
    one, other = (np.array(column) for column in zip(*((s.valence, s.valence_2) for s in sentences), strict=True))
    return {
        "sentences": len(sentences),
        "equal": observed,
        "kappa": (observed - expected) / (1 - expected),
        "correlation": float(np.corrcoef(one, other)[0, 1]),
        "ccc": ccc(one, other),
        "difference": float(np.abs(one - other).mean()),
    }


if __name__ == "__main__":
    for name, value in agreement().items():
        sys.stdout.write(f"{name}: {value:.4g}\n")
