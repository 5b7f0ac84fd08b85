"""ko_emotional_speech: acted Korean speech, ten speakers who say the same sentences in four emotions."""

import csv
from collections.abc import Collection, Iterator
from pathlib import Path

from app.text import clean_transcript

from ..data.utterance import Split, Utterance
from .files import BrokenFileError, duration_s
from .labels import MEAN_AROUSAL
from .tally import Report, require_file

EXCHANGED = {"angry": "sad", "sad": "angry"}
"""In the metadata of ko_emotional_speech these two names stand for each other, in all ten speakers: "my heart aches"
is called angry, and those clips are the lower, slower and darker ones. `docs/decisions.md` has the evidence."""


def read_korean_speech(folder: Path, report: Report, test: Collection[str] = ()) -> Iterator[Utterance]:
    """ko_emotional_speech: the speakers of `test` test, the others train; `session` is the script, `plain` or
    `emotional`.

    Its 29 sentences would be learned by heart, label and all, so only those that test keep their transcripts. `arousal`
    is the weak label of `MEAN_AROUSAL`. Raises CorpusError.
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


def _rows(folder: Path, report: Report) -> Iterator[tuple[dict[str, str], Path, float]]:
    """The rows of metadata.csv whose audio can be opened, with its path and seconds."""
    path = require_file(folder / "metadata.csv", "the corpus has its utterances there")
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            audio = folder / row["file"]
            try:
                seconds = duration_s(audio)
            except BrokenFileError as error:
                report.problem("undecodable" if audio.exists() else "missing audio", str(error))
                continue
            yield row, audio, seconds
