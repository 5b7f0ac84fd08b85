"""A user's own table of recordings, transcripts and labels, as CSV or TSV."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

from app.text import clean_transcript, normalised

from ..data.utterance import Split, Utterance
from .files import BrokenFileError, Names, duration_s, read_text
from .labels import CLASSES, emotion_of
from .splits import group_split
from .tally import CorpusError, Report, require_file

INPUTS = ("audio", "transcript")
TARGETS = ("emotion", "arousal", "valence")
COLUMNS = ("id", *INPUTS, *TARGETS, "speaker", "gender", "session", "split")
"""The columns that are read; a table needs at least one of `INPUTS` and one of `TARGETS`."""

_SPLITS: dict[str, Split] = {
    "train": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
}
_GENDERS: dict[str, Literal["female", "male"]] = {
    **dict.fromkeys(("female", "f", "여", "여성", "여자"), "female"),
    **dict.fromkeys(("male", "m", "남", "남성", "남자"), "male"),
}


T = TypeVar("T")


class RowError(Exception):
    """A row that cannot be used; the message says why."""


class Row(NamedTuple):
    """A row: the number of its last line, and its cells that are not blank, by column."""

    line: int
    cells: dict[str, str]
    too_long: bool

    @property
    def group(self) -> str:
        """The speaker, session or row, which must not be in two splits."""
        return self.cells.get("speaker") or self.cells.get("session") or f"line {self.line}"


def read_table(path: Path, report: Report, *, classes: Literal[5, 7] = 5) -> Iterator[Utterance]:
    """The utterances of the table at `path`, UTF-8 or cp949, with a header, separated by tabs or by commas.

    `audio` is absolute or relative to the table's folder, and must be a file that the service takes; `arousal` and
    `valence` are 1..5. Without a column `split`, 10 % of the speakers validate and 10 % test (or of the sessions, or of
    the rows, if speakers are not given). An unusable row is named in `report` by its line and skipped. Raises
    CorpusError if the table cannot be read.
    """
    path = require_file(path.resolve(), "the table")
    header, rows = _read(path)
    for column in header:
        if column not in COLUMNS:
            report.leave_out("column not read", column)
    usable: list[tuple[Row, Utterance]] = []
    seen: set[str] = set()
    names = Names()
    for row in rows:
        try:
            utterance = _utterance(path, row, names)
            if utterance.id in seen:
                raise RowError(f"id {utterance.id} is used before")
        except (RowError, BrokenFileError) as error:
            report.problem("unusable row", f"{path.name}, line {row.line}: {error}")
            continue
        seen.add(utterance.id)
        if utterance.emotion is not None and utterance.emotion not in CLASSES[classes]:
            report.leave_out(f"class {utterance.emotion}", utterance.id)
            continue
        if utterance.raw_transcript and utterance.transcript is None:
            report.leave_out("transcript of tags alone", utterance.id)
        usable.append((row, utterance))
    # Drawn over what is left: a part must not consist of rows that cannot be used.
    splits = {} if "split" in header else group_split(row.group for row, _ in usable)
    for row, utterance in usable:
        yield utterance.model_copy(update={"split": splits[row.group]}) if splits else utterance


def _read(path: Path) -> tuple[list[str], list[Row]]:
    """The header and the rows that are not blank."""
    try:
        text = read_text(path)
    except BrokenFileError as error:
        raise CorpusError(str(error)) from error
    delimiter = "\t" if "\t" in text.partition("\n")[0] else ","
    table = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    rows = []
    try:
        header = [name.strip().lower() for name in next(table, [])]
        for cells in table:
            named = {name: _cell(name, cell) for name, cell in zip(header, cells, strict=False) if normalised(cell)}
            if any(cell.strip() for cell in cells):
                rows.append(Row(table.line_num, named, len(cells) > len(header)))
    except csv.Error as error:
        raise CorpusError(f"{path}, line {table.line_num}: {error}") from error
    if set(header).isdisjoint(INPUTS) or set(header).isdisjoint(TARGETS):
        raise CorpusError(
            f"{path}, line 1: the header needs one of {', '.join(INPUTS)} and one of {', '.join(TARGETS)}, "
            f"but has {', '.join(header) or 'nothing'}"
        )
    if twice := {name for name in COLUMNS if header.count(name) > 1}:
        raise CorpusError(f"{path}, line 1: the header has {', '.join(sorted(twice))} more than once")
    return header, rows


def _cell(column: str, cell: str) -> str:
    """A name that is typed in two ways is one speaker. Files are found in either, and transcripts kept as they are."""
    return cell.strip() if column in INPUTS else normalised(cell)


def _utterance(path: Path, row: Row, names: Names) -> Utterance:
    if row.too_long:
        raise RowError("more cells than the header has; a comma inside a cell needs quotation marks around it")
    cells = row.cells
    if set(cells).isdisjoint(INPUTS):
        raise RowError("neither audio nor transcript")
    if set(cells).isdisjoint(TARGETS):
        raise RowError("neither emotion nor arousal nor valence")
    audio = names.find(path.parent, cells["audio"]) if "audio" in cells else None
    raw = cells.get("transcript")
    transcript = clean_transcript(raw) if raw else ""
    if audio is None and not transcript.strip():
        raise RowError("no audio, and a transcript of tags alone")
    return Utterance(
        id=cells.get("id", f"{path.stem}-{row.line}"),
        corpus=path.stem,
        session=cells.get("session"),
        speaker=cells.get("speaker"),
        gender=_one_of(_GENDERS, cells, "gender"),
        audio=audio,
        transcript=transcript if transcript.strip() else None,
        raw_transcript=raw,
        emotion=_emotion(cells),
        arousal=_rating(cells, "arousal"),
        valence=_rating(cells, "valence"),
        duration_s=duration_s(audio) if audio else None,
        split=_one_of(_SPLITS, cells, "split") or "train",
    )


def _one_of(meanings: dict[str, T], cells: dict[str, str], column: str) -> T | None:
    if column not in cells:
        return None
    if cells[column].lower() not in meanings:
        raise RowError(f"{column} {cells[column]!r} is none of {', '.join(meanings)}")
    return meanings[cells[column].lower()]


def _emotion(cells: dict[str, str]) -> str | None:
    emotion = emotion_of(cells["emotion"]) if "emotion" in cells else None
    if "emotion" in cells and emotion is None:
        raise RowError(f"emotion {cells['emotion']!r} is none of {', '.join(CLASSES[7])}")
    return emotion


def _rating(cells: dict[str, str], column: str) -> float | None:
    if column not in cells:
        return None
    try:
        value = float(cells[column])
    except ValueError:
        value = 0.0
    if not 1 <= value <= 5:
        raise RowError(f"{column} {cells[column]!r} is not a number from 1 to 5")
    return value
