"""Where KEMDy20 keeps its annotation and its biosignals, release by release. No file is opened here."""

import re
from pathlib import Path
from typing import Literal, get_args

from ..corpora.tally import CorpusError

Signal = Literal["EDA", "IBI", "TEMP"]
SIGNALS: tuple[Signal, ...] = get_args(Signal)
PARTS = ("annotation", *SIGNALS)


def find_root(source: Path) -> Path:
    """`source`, or the one release inside it, that holds the annotation or a biosignal. Raises CorpusError."""
    if not source.is_dir():
        raise CorpusError(f"{source} is not there, or is not a folder")
    releases = [
        folder
        for folder in (source, *sorted(source.glob("KEMDy20*")))
        if any((folder / part).is_dir() for part in PARTS)
    ]
    if not releases:
        raise CorpusError(f"{source} is not KEMDy20: it has none of the folders {', '.join(PARTS)}")
    if len(releases) > 1:
        raise CorpusError(f"{source} holds several releases, name one: {', '.join(map(str, releases))}")
    return releases[0]


def annotation_files(root: Path) -> dict[int, Path]:
    """The annotation file of each session; empty where there is no folder `annotation`."""
    return _by_session(root / "annotation", r"Sess(\d+)_eval\.csv")


def sessions(root: Path) -> list[int]:
    """Every session that the annotation, the recordings or a biosignal names, in order."""
    found = set(annotation_files(root)) | set(_by_session(root / "wav", r"Session(\d+)"))
    for signal in SIGNALS:
        found |= set(_by_session(root / signal, r"Session(\d+)"))
    return sorted(found)


def signal_files(root: Path, signal: Signal) -> dict[int, list[Path]]:
    """The files of `signal` by session. `Original/` is read where a session's folder has no files of its own: where
    both are there, it repeats them."""
    return {
        session: _csv_files(folder) or _csv_files(folder / "Original")
        for session, folder in _by_session(root / signal, r"Session(\d+)").items()
    }


def _by_session(folder: Path, pattern: str) -> dict[int, Path]:
    if not folder.is_dir():
        return {}
    matches = ((re.fullmatch(pattern, path.name, re.IGNORECASE), path) for path in sorted(folder.iterdir()))
    return {int(match[1]): path for match, path in matches if match}


def _csv_files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.suffix.lower() == ".csv" and not path.name.startswith("."))
