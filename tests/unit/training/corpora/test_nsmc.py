"""Film reviews, on a miniature copy of them."""

import gzip
from collections import Counter
from pathlib import Path

import pytest

from training.corpora.nsmc import read_reviews
from training.corpora.tally import CorpusError, Report


def write_reviews(tmp_path: Path, rows: list[str]) -> Path:
    folder = tmp_path / "nsmc_ratings"
    folder.mkdir(parents=True)
    with gzip.open(folder / "reviews.tsv.gz", "wt", encoding="utf-8") as file:
        file.write("\n".join(rows) + "\n")
    return folder


def test_reviews_hold_out_whole_films_and_keep_the_ratings_as_they_come(tmp_path: Path) -> None:
    rows = [
        f'{film * 100 + number}\tfilm{film}\t{10 if number % 2 else 1 + number % 10}\t"감상 {film} {number}'
        for film in range(40)
        for number in range(20)
    ]
    folder = write_reviews(tmp_path, rows)
    utterances = list(read_reviews(folder, Report(), train=120, validation=30, test=90))
    assert Counter(utterance.split for utterance in utterances) == {"test": 90, "validation": 30, "train": 120}
    films = {split: {u.session for u in utterances if u.split == split} for split in ("train", "validation", "test")}
    assert not films["train"] & films["validation"] | films["train"] & films["test"]
    assert not films["validation"] & films["test"]
    # Half of the reviews rate 10, in each part.
    for split in ("train", "test"):
        ratings = [u.valence for u in utterances if u.split == split]
        assert 0.4 < ratings.count(5.0) / len(ratings) < 0.6
    assert {u.valence for u in utterances} == {1.0, 1.8889, 2.7778, 3.6667, 4.5556, 5.0}
    assert utterances == list(read_reviews(folder, Report(), train=120, validation=30, test=90))


def test_reviews_without_text_or_given_twice_are_left_out(tmp_path: Path) -> None:
    report = Report()
    folder = write_reviews(
        tmp_path, ["1\ta\t7\t최고", "2\tb\t9\t최고 ", "3\tb\t9\t", "4\tb\t9\tc/ n/", "5\tb\t1\t별로"]
    )
    utterances = list(read_reviews(folder, report))
    assert {utterance.id for utterance in utterances} == {"nsmc_ratings-1", "nsmc_ratings-5"}
    assert report.left_out == {"nsmc_ratings: no text": 2, "nsmc_ratings: the same text again": 1}


def test_a_review_that_is_none_is_named_by_its_line(tmp_path: Path) -> None:
    folder = write_reviews(tmp_path, ["1\ta\t7\t최고", "2\tb\t11\t최악"])
    with pytest.raises(CorpusError, match="line 2: not review"):
        list(read_reviews(folder, Report()))
