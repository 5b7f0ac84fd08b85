"""Times calls in this process or in workers that take turns, so that a machine that slows down slows all of them.

A worker is a process that reads a line of JSON, takes one turn, and answers with a line that holds the seconds of each
call. Only one worker runs at a time.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import cycle
from pathlib import Path

Call = Callable[[], object]
_ROOT = Path(__file__).parents[2]

WARM_UP_S = 1.0
PAUSE_S = 0.3  # OpenMP threads may spin for 0.2 s after their last work


@dataclass(frozen=True)
class Turn:
    """The length of a turn: this many `calls`; if None, whole passes over all calls for at least this many `seconds`.

    Whole passes make every turn the same work when the calls differ in length.
    """

    seconds: float
    calls: int | None = None


def take(turn: Turn, calls: Sequence[Call]) -> list[float]:
    """Makes the calls one after the other; returns the seconds of each."""
    durations: list[float] = []
    end = time.perf_counter() + turn.seconds
    for call in cycle(calls):
        begin = time.perf_counter()
        call()
        durations.append(time.perf_counter() - begin)
        if turn.calls is None:
            if len(durations) % len(calls) == 0 and time.perf_counter() >= end:
                break
        elif len(durations) >= turn.calls:
            break
    return durations


def warm_up(calls: Sequence[Call]) -> None:
    """Makes every call at least once: arenas grow and caches fill."""
    take(Turn(WARM_UP_S), calls)


def serve_turns(calls: Sequence[Call]) -> None:
    """The loop of a worker, until its standard input ends."""
    warm_up(calls)
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        print(json.dumps(take(Turn(**json.loads(line)), calls)), flush=True)


class Worker:
    """Runs `python -m module arguments`, which must call `serve_turns`. Use it in a `with`."""

    def __init__(self, module: str, arguments: Sequence[str]) -> None:
        command = [sys.executable, "-m", module, *arguments]
        self._process = subprocess.Popen(command, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> "Worker":
        """Waits until it is warmed up."""
        self._answer()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()  # closes its input, which ends it

    def take(self, turn: Turn) -> list[float]:
        """Takes one turn; returns the seconds of each call."""
        time.sleep(PAUSE_S)
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(asdict(turn)) + "\n")
        self._process.stdin.flush()
        durations: list[float] = self._answer()
        return durations

    def _answer(self) -> list[float]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._process.args!r} ended with {self._process.wait()}.")
        answer: list[float] = json.loads(line)
        return answer
