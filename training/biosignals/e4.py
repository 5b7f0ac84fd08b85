"""One file of the Empatica E4 wristband, as KEMDy20 stores it: values over time, and the utterance of each.

Reads three forms. Empty cells that a spreadsheet appends to a row are ignored.

    EDA, TEMP     start time / sample rate / value,time[,segment id] ...
    IBI           start time / "IBI" or a rate / interval,time[,segment id] ...
    IBI           start time,IBI / offset,interval[,time][,segment id] ...   (as exported by the wristband)

A time is seconds since 1970, or a date with a time of day. The start is not read: only differences of time are used.
"""

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..corpora.files import BrokenFileError, read_text
from ..corpora.kemdy20_release import Signal

Floats = npt.NDArray[np.float64]
Sample = tuple[float, float, str]
"""Value, seconds, segment id."""

MAX_INTERVAL_S = 10
"""No interval between two heart beats is longer: such a value is a time in the wrong column."""


@dataclass(frozen=True)
class Recording:
    """The samples of one file, in its order.

    `values` [samples]: EDA in µS, TEMP in °C, IBI in seconds between two heart beats. `times` [samples] in seconds from
    a start of the file's own. `segments` [samples]: the id of the current utterance, or "". `rate_hz` is None for IBI,
    which has one sample per beat. `unreadable_rows` were skipped.
    """

    path: Path
    signal: Signal
    values: Floats
    times: Floats
    segments: list[str]
    rate_hz: float | None
    unreadable_rows: int


def read_e4(path: Path, signal: Signal) -> Recording:
    """Reads `path`. Raises BrokenFileError, which names the file, if it has no such header or no sample."""
    # Not the csv module: no cell needs quotes, and a stray one would swallow the rest of the file.
    rows = [cells for line in read_text(path).splitlines() if (cells := _cells(line))]
    if len(rows) < 2 or _seconds(rows[0][0]) is None:
        raise BrokenFileError(f"{path}: does not begin with a start time and a sample rate")
    rate_hz = None if signal == "IBI" else _rate_hz(path, rows[1])
    exported = signal == "IBI" and (len(rows[0]) > 1 or len(rows[1]) > 1)
    body = rows[1 if exported else 2 :]
    times = [] if exported else _times(body, rate_hz)
    read = [_exported_beat(row) if exported else _sample(row, times[index], signal) for index, row in enumerate(body)]
    samples = [sample for sample in read if sample is not None]
    if not samples:
        raise BrokenFileError(f"{path}: no samples")
    values, moments, segments = zip(*samples, strict=True)
    unreadable = len(body) - len(samples)
    return Recording(path, signal, np.array(values), np.array(moments), list(segments), rate_hz, unreadable)


def _times(body: list[list[str]], rate_hz: float | None) -> list[float | None]:
    """The time of each row. One that has none is counted by the rate, where there is one, from the row before it that
    has a time, or else from the first that has one.
    """
    stamps = [_seconds(row[1]) if len(row) > 1 and row[1] else None for row in body]
    wrong = [len(row) > 1 and row[1] != "" and stamp is None for row, stamp in zip(body, stamps, strict=True)]
    known = next(((index, stamp) for index, stamp in enumerate(stamps) if stamp is not None), (0, 0.0))
    times: list[float | None] = []
    for index, stamp in enumerate(stamps):
        if stamp is not None:
            known = index, stamp
        elif rate_hz and not wrong[index]:
            stamp = known[1] + (index - known[0]) / rate_hz
        times.append(stamp)
    return times


def _sample(row: list[str], time: float | None, signal: Signal) -> Sample | None:
    """`value,time[,segment id]`."""
    value = _number(row[0])
    if value is None or time is None or (signal == "IBI" and not 0 < value < MAX_INTERVAL_S):
        return None
    return value, time, row[2] if len(row) > 2 else ""


def _exported_beat(row: list[str]) -> Sample | None:
    """`offset,interval[,time][,segment id]`. The offset is the finer clock, so the time is ignored."""
    offset, interval = _number(row[0]), _number(row[1]) if len(row) > 1 else None
    if offset is None or interval is None or not 0 < interval < MAX_INTERVAL_S:
        return None
    return interval, offset, row[3] if len(row) > 3 else ""


def _cells(line: str) -> list[str]:
    cells = [cell.strip(' "') for cell in line.split(",")]
    while cells and (not cells[-1] or cells[-1].startswith("Unnamed")):
        cells.pop()
    return cells


def _rate_hz(path: Path, row: list[str]) -> float:
    rate = _number(row[0])
    if rate is None or rate <= 0 or len(row) > 1:
        raise BrokenFileError(f"{path}: the second row is not a sample rate: {','.join(row)[:40]!r}")
    return rate


def _number(cell: str) -> float | None:
    try:
        number = float(cell)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _seconds(cell: str) -> float | None:
    number = _number(cell)
    if number is not None:
        return number
    try:
        return datetime.fromisoformat(cell).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None
