"""One annotation file of KEMDy20, `SessNN_eval.csv`: speaker, the raters' votes, and the label that follows from them.

Ties between raters are resolved here, in `label_of`.
"""

import csv
import io
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .files import BrokenFileError, read_text
from .labels import CLASSES, emotion_of
from .tally import Report

Ties = Literal["drop", "first", "soft"]

_SEGMENT_ID = re.compile(r"Sess\d+_(?P<rest>script\d+_(?P<speaker>User\d+(?P<gender>[FM]))_\d+)")
_HEADER_ROWS = 2
_SEGMENT, _EMOTION, _VALENCE, _AROUSAL = 3, 4, 5, 6
_RATERS_EMOTIONS = slice(7, 37, 3)
"""Ten raters with three columns each; this slice is their emotions."""


@dataclass(frozen=True)
class Choices:
    """The user's choices on labels.

    `ties`: an utterance on which the raters are divided (`happy;neutral`) is dropped, takes the first emotion, or is
    soft: it has no emotion and is learned from its `votes`. `classes`: 5, or 7 with fear and disgust.
    """

    ties: Ties = "drop"
    classes: Literal[5, 7] = 5


@dataclass(frozen=True)
class Annotation:
    """One row. `arousal` and `valence` are the raters' means, 1..5, or None if missing or out of range."""

    id: str
    speaker: str
    gender: Literal["female", "male"]
    emotions: tuple[str, ...]
    votes: dict[str, float]
    arousal: float | None
    valence: float | None


@dataclass(frozen=True)
class Label:
    """The emotion, None for a soft tie, and the shares of the raters' votes for the chosen classes, if any."""

    emotion: str | None
    votes: dict[str, float] | None


def read_annotations(path: Path, session: int, report: Report) -> Iterator[Annotation]:
    """The usable rows of `path`; the problems of the others are named in `report`."""
    try:
        table = csv.reader(io.StringIO(read_text(path), newline=""))
        for number, row in enumerate(table, start=1):
            match = _SEGMENT_ID.fullmatch(row[_SEGMENT].strip()) if len(row) > _AROUSAL else None
            if match is not None:
                yield _annotation(match, session, row, report)
            elif number > _HEADER_ROWS and any(cell.strip() for cell in row):
                report.problem("unreadable annotation", f"{path}, row {number}")
    except BrokenFileError as error:
        report.problem("undecodable", str(error))
    except csv.Error as error:
        report.problem("unreadable annotation", f"{path}: {error}")


def label_of(annotation: Annotation, choices: Choices, report: Report) -> Label | None:
    """The label by `choices`, or None where the utterance is left out; `report` then names it."""
    emotions, wanted = annotation.emotions, CLASSES[choices.classes]
    tie = len(emotions) > 1
    if not emotions:  # already reported when the row was read
        return None
    if tie and choices.ties == "drop":
        report.leave_out("tie", annotation.id)
        return None
    kept = [emotion for emotion in emotions if emotion in wanted] if choices.ties == "soft" else emotions[:1]
    if not kept or kept[0] not in wanted:
        report.leave_out(f"class {emotions[0]}", annotation.id)
        return None
    votes = _shares({emotion: votes for emotion, votes in annotation.votes.items() if emotion in wanted})
    if tie and choices.ties == "soft":
        return Label(None, votes or _shares(dict.fromkeys(kept, 1.0)))
    return Label(kept[0], votes)


def _shares(votes: dict[str, float]) -> dict[str, float] | None:
    total = sum(votes.values())
    return {emotion: round(count / total, 4) for emotion, count in votes.items()} if total else None


def _annotation(match: re.Match[str], session: int, row: list[str], report: Report) -> Annotation:
    # The session is that of the file name: the rows of session 17 have 42, but its recordings have 17.
    id_ = f"Sess{session:02}_{match['rest']}"
    if not row[_EMOTION].strip():
        report.problem("no label", id_)
    return Annotation(
        id=id_,
        speaker=match["speaker"],
        gender="female" if match["gender"] == "F" else "male",
        emotions=_emotions(id_, row[_EMOTION], report),
        votes=_votes(id_, row[_RATERS_EMOTIONS], report),
        arousal=_mean(id_, "arousal", row[_AROUSAL], report),
        valence=_mean(id_, "valence", row[_VALENCE], report),
    )


def _votes(id_: str, cells: list[str], report: Report) -> dict[str, float]:
    """Votes by emotion; a rater who names several emotions splits one vote between them."""
    votes: defaultdict[str, float] = defaultdict(float)
    for cell in cells:
        emotions = _emotions(id_, cell, report)
        for emotion in emotions:
            votes[emotion] += 1 / len(emotions)
    return dict(votes)


def _emotions(id_: str, cell: str, report: Report) -> tuple[str, ...]:
    """The emotions in `cell`, none if any is unknown: half a tie would be a label that no rater gave."""
    emotions = []
    for name in filter(str.strip, cell.split(";")):
        emotion = emotion_of(name)
        if emotion is None:
            report.problem("unknown label", f"{id_}: {name.strip()}")
            return ()
        emotions.append(emotion)
    return tuple(dict.fromkeys(emotions))


def _mean(id_: str, name: str, cell: str, report: Report) -> float | None:
    try:
        value = float(cell)
    except ValueError:
        value = 0.0
    if 1 <= value <= 5:
        return value
    report.problem(f"{name} not 1 to 5", f"{id_}: {cell.strip()!r}")
    return None
