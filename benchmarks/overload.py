"""The service at many times its capacity: who is accepted, how soon they are answered, what it costs, and what is left.

    capacity     a closed loop of 4
    before       random arrivals at 70 % of it
    overload     random arrivals at --times of it, for --overload-seconds; memory each second
    after        as before, 5 s later

An accepted request is one that is not answered 429 at once; it must be answered 200. "failed" is no answer at all.

    python -m benchmarks.overload [--times 10] [--overload-seconds 60] [--save overload]
"""

import argparse
import json
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from .harness.client import READY
from .harness.load import Generator, Result
from .harness.machine import save
from .harness.processes import Service
from .workload import subject
from .workload.subject import Subject

SHARE = 0.7
REST_S = 5.0

Row = dict[str, object]


def measure(what: Subject, times: float, seconds: float) -> Iterator[Row]:
    """Yields a row for each of the four."""
    generator = Generator([one.request() for one in what.spoken])
    with tempfile.TemporaryDirectory() as folder, what.serve(Path(folder)) as service:
        service.wait(READY)
        generator.closed(service.address, 4, seconds=2)  # warms both
        capacity = generator.closed(service.address, 4, seconds=10)
        yield _row("capacity", service, capacity)
        rate = capacity.throughput_rps
        yield _row("before", service, generator.open(service.address, SHARE * rate, 20), SHARE * rate)
        with _watched(service) as megabytes:
            overload = generator.open(service.address, times * rate, seconds)
        yield {**_row("overload", service, overload, times * rate), "most_memory_mb": max(megabytes)}
        time.sleep(REST_S)
        service.wait(READY)
        yield _row("after", service, generator.open(service.address, SHARE * rate, 20), SHARE * rate)
    generator.close()


@contextmanager
def _watched(service: Service) -> Iterator[list[float]]:
    """The memory of all processes, each second, in MB."""
    seen: list[float] = []
    done = threading.Event()

    def watch() -> None:
        while not done.wait(1.0):
            seen.append(service.memory()["tree"])

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        done.set()
        thread.join()


def _row(kind: str, service: Service, result: Result, rate: float | None = None) -> Row:
    return {"kind": kind, "rate_rps": None if rate is None else round(rate, 1), **asdict(result), **service.memory()}


def main() -> None:
    parser = argparse.ArgumentParser(description="The service at many times its capacity.")
    subject.add_options(parser)
    parser.add_argument("--times", type=float, default=10.0, help="of its capacity (default: 10)")
    parser.add_argument("--overload-seconds", type=float, default=60.0, help="default: 60")
    parser.add_argument("--save", metavar="NAME", help="write results/NAME.json")
    options = parser.parse_args()
    what = subject.read(options)
    rows = []
    for row in measure(what, options.times, options.overload_seconds):
        rows.append({**what.describe(), **row})
        print(json.dumps(rows[-1]), flush=True)
    if options.save:
        print(save(options.save, rows))


if __name__ == "__main__":
    main()
