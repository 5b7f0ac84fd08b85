"""Segments of skin temperature as shapes: min-max scaled, of one length, so that only the courses are compared."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..corpora.tally import Report
from .completeness import segment_id
from .e4 import Floats, Recording

Unit = Literal["utterance", "recording"]

MIN_SAMPLES = 8
"""Two seconds at 4 Hz. A shorter segment has too few points for a course."""
POINTS = 32
"""Eight seconds at 4 Hz, longer than most utterances (74 % are under 7.6 s). All have one length, since a DTW distance
grows with the length, and the clusters would separate long from short."""


@dataclass(frozen=True)
class Shape:
    """A segment that can be scaled. `values` [samples]: temperature in °C, not constant."""

    id: str
    values: Floats

    @property
    def range_c(self) -> float:
        """The highest less the lowest temperature, in °C, which scaling removes."""
        return float(np.ptp(self.values))


def shapes(recording: Recording, session: int, unit: Unit, report: Report) -> Iterator[Shape]:
    """The segments of one TEMP file: each marked utterance, or the whole file if the unit is the recording.

    Segments that are too short or constant are left out; `report` names them.
    """
    for id_, values in _segments(recording, session, unit).items():
        if len(values) < MIN_SAMPLES:
            report.leave_out("TEMP segment under 8 samples", id_)
        elif np.ptp(values) == 0:
            report.leave_out("TEMP segment constant", id_)
        else:
            yield Shape(id_, values)


def course(values: Floats) -> Floats:
    """[POINTS] from `values` [samples], not constant: min-max scaled to 0..1, and brought to one length by linear
    interpolation over the segment's time."""
    scaled = (values - values.min()) / np.ptp(values)
    points: Floats = np.interp(np.linspace(0, 1, POINTS), np.linspace(0, 1, len(scaled)), scaled)
    return points


def shuffled(values: Floats, rng: np.random.Generator) -> Floats:
    """[samples] with the steps of `values` in random order: the same drift from first to last, but no other shape."""
    return np.concatenate([values[:1], values[0] + np.cumsum(rng.permutation(np.diff(values)))])


def _segments(recording: Recording, session: int, unit: Unit) -> dict[str, Floats]:
    if unit == "recording":
        return {recording.path.stem: recording.values}
    ids = np.array(recording.segments)
    marked = dict.fromkeys(segment for segment in recording.segments if segment)
    return {segment_id(segment, session): recording.values[ids == segment] for segment in marked}
