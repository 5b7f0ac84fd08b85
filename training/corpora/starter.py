"""The corpora that the starter model learns from, one after the other."""

from collections.abc import Iterator
from pathlib import Path

from training.corpora.kote import read_kote
from training.corpora.nsmc import TRAIN_REVIEWS, read_reviews
from training.corpora.report import CorpusError, Report
from training.corpora.speech import read_foreign_speech, read_korean_speech
from training.utterance import Utterance


def read_starter(source: Path, report: Report | None = None, *, reviews: int = TRAIN_REVIEWS) -> Iterator[Utterance]:
    """The utterances of `source`, the folder that holds the five corpora, with their splits.

    `reviews` is how many film reviews train. What is left out or cannot be read goes to `report`. Raises CorpusError.
    """
    report = Report() if report is None else report
    if not source.is_dir():
        raise CorpusError(f"{source} is not a folder")
    source = source.resolve()
    yield from read_korean_speech(source / "ko_emotional_speech", report)
    yield from read_foreign_speech(source / "nemo_pl", report)
    yield from read_foreign_speech(source / "emodb_de", report)
    yield from read_kote(source / "kote", report)
    yield from read_reviews(source / "nsmc_ratings", report, train=reviews)
