"""The completeness of a biosignal in a session: files, samples, seconds, gaps, and the utterances covered."""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from ..corpora.kemdy20_release import Signal
from .e4 import Recording

BEAT_TOLERANCE_S = 0.25
"""A beat this much later than its own interval follows a gap: less than one missed beat, far more than the wristband's
clock of 1/64 s."""


@dataclass
class Completeness:
    """One signal in one session.

    `seconds` is the time that the samples represent: at 4 Hz a quarter each, in IBI the intervals themselves. `gap_s`
    are the seconds lost between the first and the last sample of a file, in `gaps` pieces; losses before, after or
    between files are not visible. `segments` are the ids of the utterances with at least one marked sample.
    """

    session: int
    signal: Signal
    files: int = 0
    broken_files: int = 0
    samples: int = 0
    seconds: float = 0.0
    gaps: int = 0
    gap_s: float = 0.0
    segments: set[str] = field(default_factory=set)

    @property
    def status(self) -> Literal["present", "broken", "missing"]:
        """`broken` if there are files but none could be read."""
        if self.samples:
            return "present"
        return "broken" if self.broken_files else "missing"

    @property
    def covered(self) -> float | None:
        """Share 0..1 of the time between first and last samples that samples represent; None without samples."""
        return self.seconds / (self.seconds + self.gap_s) if self.samples else None

    def add(self, recording: Recording) -> None:
        """Counts one file."""
        gaps = gap_lengths_s(recording)
        self.files += 1
        self.samples += len(recording.values)
        self.seconds += _seconds(recording)
        self.gaps += len(gaps)
        self.gap_s += sum(gaps)
        self.segments |= {segment_id(segment, self.session) for segment in set(recording.segments) if segment}

    def add_broken(self) -> None:
        """Counts a file that could not be read."""
        self.files += 1
        self.broken_files += 1

    def as_json(self, annotated: Collection[str]) -> dict[str, object]:
        """The figures; `annotated` are the ids of the session's utterances."""
        return {
            "status": self.status,
            "files": self.files,
            "broken_files": self.broken_files,
            "samples": self.samples,
            "seconds": round(self.seconds, 1),
            "gaps": self.gaps,
            "gap_s": round(self.gap_s, 1),
            "covered": None if self.covered is None else round(self.covered, 4),
            "marked_utterances": len(self.segments),
            "annotated_utterances": len(annotated),
            "annotated_utterances_with_samples": len(self.segments.intersection(annotated)),
        }


def segment_id(segment: str, session: int) -> str:
    """The id with the session's own number: the files of session 17 may have 42, as its annotation does."""
    return f"Sess{session:02}_{segment.partition('_')[2]}"


def gap_lengths_s(recording: Recording) -> list[float]:
    """Seconds missing at each gap of a file, in order.

    At a fixed rate a step longer than one and a half periods is a gap. In IBI a beat is stamped at its end, so a gap is
    the part of a step beyond the interval. If the clock has whole seconds only, one second more is not a gap.
    """
    steps = np.diff(recording.times)
    if recording.rate_hz is None:
        expected, tolerance = recording.values[1:], BEAT_TOLERANCE_S
    else:
        expected, tolerance = np.full(len(steps), 1 / recording.rate_hz), 0.5 / recording.rate_hz
    if np.all(recording.times == np.floor(recording.times)):
        tolerance = max(tolerance, 1.0)
    missing = steps - expected
    return [float(length) for length in missing[missing > tolerance]]


def _seconds(recording: Recording) -> float:
    if recording.rate_hz is None:
        return float(recording.values.sum())
    return len(recording.values) / recording.rate_hz
