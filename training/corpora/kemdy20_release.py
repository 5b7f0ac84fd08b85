"""The layout of a KEMDy20 release: where it keeps annotation, recordings and biosignals. Opens no file.

annotation/Sess01_eval.csv
wav/Session01/Sess01_script01_User002M_001.wav and .txt
EDA/Session01/*.csv, also below Original/; IBI and TEMP likewise
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

from .tally import CorpusError

ANNOTATION, RECORDINGS = "annotation", "wav"
Signal = Literal["EDA", "IBI", "TEMP"]
SIGNALS: tuple[Signal, ...] = get_args(Signal)


def find_release(source: Path, folders: Sequence[str], needed: Literal["all", "one"]) -> Path:
    """`source`, or the one release inside it, that has `needed` of `folders`.

    Raises CorpusError where there is no such release, or more than one.
    """
    enough = {"all": all, "one": any}[needed]
    if not source.is_dir():
        raise CorpusError(f"{source} is not there, or is not a folder")
    releases = [
        folder
        for folder in (source, *sorted(source.glob("KEMDy20*")))
        if enough((folder / name).is_dir() for name in folders)
    ]
    if not releases:
        raise CorpusError(f"{source} is not KEMDy20: it needs {needed} of the folders {', '.join(folders)}")
    if len(releases) > 1:
        raise CorpusError(f"{source} holds several releases, name one: {', '.join(map(str, releases))}")
    return releases[0]


def annotation_files(root: Path) -> dict[int, Path]:
    """The annotation file of each session; empty without a folder `annotation`."""
    return _by_session(root / ANNOTATION, r"Sess(\d+)_eval\.csv")


def recording_folders(root: Path) -> dict[int, Path]:
    """The folder with the recordings and transcripts of each session; empty without a folder `wav`."""
    return _by_session(root / RECORDINGS, r"Session(\d+)")


def recording_files(folder: Path) -> dict[str, dict[str, Path]]:
    """The files of a session's folder of recordings, by utterance id and then by suffix, `.wav` and `.txt`."""
    files: dict[str, dict[str, Path]] = {}
    for path in folder.iterdir():
        suffix = path.suffix.lower()
        if suffix in (".wav", ".txt") and not path.name.startswith("."):
            files.setdefault(path.stem, {})[suffix] = path
    return files


def signal_files(root: Path, signal: Signal) -> dict[int, list[Path]]:
    """The files of `signal` by session. `Original/` is read only where a session's folder has no files of its own:
    where both exist, it repeats them.
    """
    return {
        session: _csv_files(folder) or _csv_files(folder / "Original")
        for session, folder in _by_session(root / signal, r"Session(\d+)").items()
    }


def sessions(root: Path) -> list[int]:
    """Every session that has an annotation, recordings or a biosignal, in order."""
    found = set(annotation_files(root)) | set(recording_folders(root))
    return sorted(found.union(*(signal_files(root, signal) for signal in SIGNALS)))


def _by_session(folder: Path, pattern: str) -> dict[int, Path]:
    if not folder.is_dir():
        return {}
    matches = ((re.fullmatch(pattern, path.name, re.IGNORECASE), path) for path in sorted(folder.iterdir()))
    return {int(match[1]): path for match, path in matches if match}


def _csv_files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.suffix.lower() == ".csv" and not path.name.startswith("."))
