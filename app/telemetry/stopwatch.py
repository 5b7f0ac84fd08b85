"""How long a request has spent in each stage, also in the one in which it is given up."""

import time
from typing import Literal

# In their order. `decoder_queue` is the wait for a decoder, `queue` the wait for the model.
Stage = Literal["decoder_queue", "decode", "queue", "inference"]
STAGES: tuple[Stage, ...] = ("decoder_queue", "decode", "queue", "inference")


class Stopwatch:
    """The stages of one request. A stage begins in whichever thread does its work; once stopped, no more begins."""

    def __init__(self) -> None:
        self._begun: list[tuple[Stage, float]] = []  # with their `perf_counter` times
        self._stopped: float | None = None

    def begin(self, stage: Stage) -> None:
        """`stage` begins now, which ends the one before."""
        if self._stopped is None:
            self._begun.append((stage, time.perf_counter()))

    def stop(self) -> None:
        """Ends the last stage."""
        if self._stopped is None:
            self._stopped = time.perf_counter()

    def seconds(self) -> dict[Stage, float]:
        """Seconds of each stage that has begun, in the order of STAGES; the last one counts until `stop`, or until now.

        A stage that begins again counts on.
        """
        begun = list(self._begun)
        last = self._stopped or time.perf_counter()
        ends = [*(since for _, since in begun[1:]), last]
        passed: dict[Stage, float] = {}
        for (stage, since), end in zip(begun, ends, strict=False):
            passed[stage] = passed.get(stage, 0.0) + max(0.0, end - since)
        return {stage: passed[stage] for stage in STAGES if stage in passed}
