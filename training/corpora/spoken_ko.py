"""spoken_ko: everyday Korean sentences with emotion and valence, many read twice; its .md lies beside this file."""

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
    """A line of the file; `_2` is the second reading, None where there was none yet."""

    domain: str
    register: str
    emotion: str
    valence: float
    emotion_2: str | None
    valence_2: float | None
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
                row["emotion_2"] or None,
                float(row["valence_2"]) if row["valence_2"] else None,
                row["text"],
            )


def read_spoken_ko() -> Iterator[Utterance]:
    """The sentences: of those read twice, a tenth of each domain is the test split and a tenth validates. The others
    train.

    `valence` is the mean of the readings. `emotion` is null where they differ, and `votes` then holds both.
    `session` is the domain.
    """
    for number, sentence in enumerate(read_sentences(), start=1):
        emotions = [emotion for emotion in (sentence.emotion, sentence.emotion_2) if emotion]
        valences = [valence for valence in (sentence.valence, sentence.valence_2) if valence]
        yield Utterance(
            id=f"{NAME}-{number:04}",
            corpus=NAME,
            session=sentence.domain,
            transcript=clean_transcript(sentence.text),
            raw_transcript=sentence.text,
            emotion=sentence.emotion if len(set(emotions)) == 1 else None,
            votes={emotion: emotions.count(emotion) / len(emotions) for emotion in dict.fromkeys(emotions)},
            valence=round(sum(valences) / len(valences), 4),
            split=_split(sentence.text) if sentence.emotion_2 else "train",
        )


def _split(text: str) -> Split:
    splits: dict[int, Literal["test", "validation"]] = {0: "test", 1: "validation"}
    return splits.get(stable_hash(text) % 10, "train")


def agreement() -> dict[str, float]:
    """Of sentences that were read twice: equal emotions and Cohen's kappa; correlation, CCC and mean difference of
    valence.
    """
    everything = list(read_sentences())
    sentences = [sentence for sentence in everything if sentence.emotion_2]
    first, second = (np.array(column) for column in zip(*((s.emotion, s.emotion_2) for s in sentences), strict=True))
    observed = float((first == second).mean())
    expected = sum(float((first == name).mean() * (second == name).mean()) for name in np.unique(first))
    one, other = (np.array(column) for column in zip(*((s.valence, s.valence_2) for s in sentences), strict=True))
    return {
        "sentences": len(everything),
        "read twice": len(sentences),
        "equal": observed,
        "kappa": (observed - expected) / (1 - expected),
        "correlation": float(np.corrcoef(one, other)[0, 1]),
        "ccc": ccc(one, other),
        "difference": float(np.abs(one - other).mean()),
    }


if __name__ == "__main__":
    for name, value in agreement().items():
        sys.stdout.write(f"{name}: {value:.4g}\n")
