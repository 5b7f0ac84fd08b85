"""Where speech is in a clip, from a detector's probabilities, and the waveform of the speech alone. Pure."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .decode import SAMPLE_RATE

# Speech begins at the first and ends below the second probability, as in Silero's own reading of its detector.
ONSET, OFFSET = 0.5, 0.35
SHORTEST = SAMPLE_RATE // 20  # samples: shorter than a syllable, so a click or a breath
# Kept on both sides: soft beginnings and endings lie there. A pause of twice this length stays whole.
MARGIN = SAMPLE_RATE // 10


class Segment(NamedTuple):
    """The samples from `start` up to `end`."""

    start: int
    end: int


def segments(probabilities: NDArray[np.float32], frame: int, samples: int) -> list[Segment]:
    """The speech in a clip of `samples` samples, one probability for each `frame` of them. In order, without overlaps.

    A pause of up to twice `MARGIN` does not divide a segment.
    """
    found: list[Segment] = []
    start: int | None = None
    for number, probability in enumerate([*probabilities.tolist(), 0.0]):
        at = min(number * frame, samples)
        if start is None and probability >= ONSET:
            start = at
        elif start is not None and probability < OFFSET:
            if at - start >= SHORTEST:
                _append(found, Segment(start, at))
            start = None
    return found


def _append(found: list[Segment], last: Segment) -> None:
    if found and last.start - found[-1].end <= 2 * MARGIN:
        found[-1] = Segment(found[-1].start, last.end)
    else:
        found.append(last)


def with_margins(speech: Sequence[Segment], samples: int) -> list[Segment]:
    """The segments with `MARGIN` on both sides, as far as the clip of `samples` samples reaches."""
    return [Segment(max(0, start - MARGIN), min(samples, end + MARGIN)) for start, end in speech]


def first(parts: Sequence[Segment], samples: int) -> list[Segment]:
    """The first `samples` samples of `parts` together."""
    taken: list[Segment] = []
    for start, end in parts:
        left = samples - duration(taken)
        if left <= 0:
            break
        taken.append(Segment(start, min(end, start + left)))
    return taken


def duration(parts: Sequence[Segment]) -> int:
    """Samples in `parts` together."""
    return sum(end - start for start, end in parts)
