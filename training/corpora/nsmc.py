"""NSMC: Korean film reviews with a rating of 1 to 10, mapped to valence."""

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from app.text import clean_transcript

from ..data.utterance import Split, Utterance
from .splits import stable_hash
from .tally import CorpusError, Report, require_file

TEST_REVIEWS = 20_000
VALIDATION_REVIEWS = 5_000
TRAIN_REVIEWS = 300_000
RATINGS = range(1, 11)


class Review(NamedTuple):
    id: str
    film: str
    rating: int
    text: str


def read_reviews(
    folder: Path,
    report: Report,
    *,
    train: int = TRAIN_REVIEWS,
    validation: int = VALIDATION_REVIEWS,
    test: int = TEST_REVIEWS,
) -> Iterator[Utterance]:
    """nsmc_ratings: `valence` = 1 + (rating - 1) * 4 / 9, `session` = the film.

    Whole films are held out; `train` reviews are drawn from the others. Every split keeps the natural distribution of
    ratings (43 % are 10), which a regressor judged by its CCC has to learn. Repeated texts are used once. Raises
    CorpusError.
    """
    films: dict[str, list[Review]] = {}
    for review in _reviews(folder, report):
        films.setdefault(review.film, []).append(review)
    remaining: dict[Split, int] = {"test": test, "validation": validation}
    candidates: list[Review] = []
    for film in sorted(films, key=stable_hash):
        held_out = next((split for split, count in remaining.items() if count > 0), None)
        if held_out is None:
            candidates += films[film]
            continue
        # Surplus reviews of the last film are left out, not trained on.
        chosen = films[film][: remaining[held_out]]
        remaining[held_out] -= len(chosen)
        yield from (_utterance(folder.name, review, held_out) for review in chosen)
    drawn = sorted(candidates, key=lambda review: stable_hash(review.id))[:train]
    yield from (_utterance(folder.name, review, "train") for review in drawn)


def _reviews(folder: Path, report: Report) -> Iterator[Review]:
    path = require_file(folder / "reviews.tsv.gz", "the reviews of the corpus")
    seen: set[int] = set()
    with gzip.open(path, "rt", encoding="utf-8", newline="\n") as file:
        for number, line in enumerate(file, start=1):
            # Not the csv module: quotation marks are part of the reviews here.
            parts = line.rstrip("\n").split("\t", 3)
            if len(parts) != 4 or not parts[2].isdigit() or int(parts[2]) not in RATINGS:
                raise CorpusError(f"{path}, line {number}: not review, film, rating 1 to 10 and text")
            text = clean_transcript(parts[3])
            if not text.strip():
                report.leave_out(f"{folder.name}: no text")
                continue
            if (digest := stable_hash(" ".join(text.split()))) in seen:
                report.leave_out(f"{folder.name}: the same text again")
                continue
            seen.add(digest)
            yield Review(parts[0], parts[1], int(parts[2]), parts[3])


def _utterance(corpus: str, review: Review, split: Split) -> Utterance:
    return Utterance(
        id=f"{corpus}-{review.id}",
        corpus=corpus,
        session=review.film,
        transcript=clean_transcript(review.text),
        raw_transcript=review.text,
        valence=round(1 + (review.rating - 1) * 4 / 9, 4),
        split=split,
    )
