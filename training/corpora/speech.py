"""Korean speech of emotiontts_open_db: ko_emotional_speech, acted by ten speakers in four emotions, and
ko_ordinary_speech, read by twenty without one asked for.
"""

import csv
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from app.text import clean_transcript

from ..data.utterance import Split, Utterance
from .files import BrokenFileError, Names, duration_s
from .labels import MEAN_AROUSAL
from .tally import Report, require_file

EXCHANGED = {"angry": "sad", "sad": "angry"}
"""The metadata of ko_emotional_speech swap these two names, for all ten speakers: "my heart aches" is called angry, and
those clips are the lower, slower and darker ones. `docs/decisions.md` has the evidence."""


def read_korean_speech(folder: Path, report: Report, test: Collection[str] = ()) -> Iterator[Utterance]:
    """The clips: the speakers in `test` are the test split, the others train; `session` is the script, `plain` or
    `emotional`.

    A model would memorise the 29 sentences with their labels, so only the test split has transcripts. `arousal` is the
    weak label of `MEAN_AROUSAL`. Raises CorpusError.
    """
    for row, path, seconds in _rows(folder, report):
        split: Split = "test" if row["speaker"] in test else "train"
        raw = row["transcript"] if split == "test" else None
        emotion = EXCHANGED.get(row["emotion"], row["emotion"])
        yield Utterance(
            id=f"{folder.name}-{path.stem}",
            corpus=folder.name,
            session=row["script"],
            speaker=row["speaker"],
            gender="female" if row["gender"] == "female" else "male",
            audio=path,
            transcript=(clean_transcript(raw).strip() or None) if raw else None,
            raw_transcript=raw,
            emotion=emotion,
            arousal=MEAN_AROUSAL[emotion],
            duration_s=seconds,
            split=split,
        )


def read_ordinary_speech(
    folder: Path, report: Report, classes: Sequence[str], test: Collection[str] = ()
) -> Iterator[Utterance]:
    """The clips of ko_ordinary_speech: the speakers in `test` are the test split, the others train.

    Nobody labelled them. They count as neutral when tested; in training only mostly, as some lines are lively: `votes`
    give the other `classes` a share too. Raises CorpusError.
    """
    lively = 0.2 / len(classes)
    votes = {name: round(lively + 0.8 * (name == "neutral"), 4) for name in classes}
    for row, path, seconds in _rows(folder, report):
        tested = row["speaker"] in test
        yield Utterance(
            id=f"{folder.name}-{path.stem}",
            corpus=folder.name,
            speaker=row["speaker"],
            gender="female" if row["gender"] == "female" else "male",
            audio=path,
            emotion="neutral" if tested else None,
            votes=None if tested else votes,
            duration_s=seconds,
            split="test" if tested else "train",
        )


def _rows(folder: Path, report: Report) -> Iterator[tuple[dict[str, str], Path, float]]:
    """The rows of metadata.csv with readable audio, and the path and seconds of that audio."""
    path = require_file(folder / "metadata.csv", "the utterances of the corpus")
    names = Names()
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            audio = folder / row["file"]
            try:
                audio = names.find(folder, row["file"])
                seconds = duration_s(audio)
            except BrokenFileError as error:
                report.problem("undecodable" if audio.exists() else "missing audio", str(error))
                continue
            yield row, audio, seconds
