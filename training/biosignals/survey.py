"""One pass over the biosignals of a corpus: completeness by session, and the segments of skin temperature.

File by file, so that memory grows only with the segments of TEMP.
"""

from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from ..corpora.files import BrokenFileError
from ..corpora.kemdy20_release import SIGNALS, Signal, sessions, signal_files
from ..corpora.tally import Report
from .completeness import Completeness
from .e4 import Recording, read_e4
from .shapes import Shape, Unit, shapes


@dataclass(frozen=True)
class Survey:
    """`completeness`: every session and signal. `shapes`: the segments of TEMP that can be clustered, all of one
    `unit`."""

    completeness: list[Completeness]
    shapes: list[Shape]
    unit: Unit


def survey(root: Path, report: Report) -> Survey:
    """Reads every file of EDA, IBI and TEMP in `root`. Unreadable files and rows are named in `report`."""
    files: dict[Signal, dict[int, list[Path]]] = {signal: signal_files(root, signal) for signal in SIGNALS}
    completeness = []
    utterances: list[Shape] = []
    recordings: list[Shape] = []
    total = sum(len(paths) for by_session in files.values() for paths in by_session.values())
    with tqdm(total=total, unit=" files", disable=None) as progress:
        for session in sessions(root):
            for signal in SIGNALS:
                measured = Completeness(session, signal)
                for path in files[signal].get(session, []):
                    progress.update()
                    recording = _read(path, signal, report)
                    if recording is None:
                        measured.add_broken()
                        continue
                    measured.add(recording)
                    if signal == "TEMP" and any(recording.segments):
                        utterances += shapes(recording, session, "utterance", report)
                    elif signal == "TEMP":
                        recordings += shapes(recording, session, "recording", report)
                completeness.append(measured)
    if not utterances:
        return Survey(completeness, recordings, "recording")
    for shape in recordings:
        report.leave_out("TEMP file without segment ids", shape.id)
    return Survey(completeness, utterances, "utterance")


def _read(path: Path, signal: Signal, report: Report) -> Recording | None:
    try:
        recording = read_e4(path, signal)
    except BrokenFileError as error:
        report.problem("unreadable biosignal", str(error))
        return None
    if recording.unreadable_rows:
        report.problem("unreadable rows in a biosignal", f"{path}: {recording.unreadable_rows:,}")
    return recording
