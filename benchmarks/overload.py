"""Loads the service with many times its capacity: acceptance, latency and memory, and whether it recovers.

    capacity     a closed loop of 4 connections
    before       random arrivals at 70 % of the capacity
    overload     random arrivals at --times the capacity for --overload-seconds; memory is sampled every second
    after        the same as before, 5 s later

A request that is not refused with 429 is accepted, and must be answered with 200. "failed" means no answer at all.

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
    """Yields a row for each of the four phases."""
    generator = Generator([one.request() for one in what.spoken])
    with tempfile.TemporaryDirectory() as folder, what.serve(Path(folder)) as service:
        service.wait(READY)
        generator.closed(service.address, 4, seconds=2)  # warms the service and the generator up
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
    """The memory of all processes in MB, sampled every second."""
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
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    subject.add_options(parser)
    parser.add_argument("--times", type=float, default=10.0, help="multiple of the capacity to offer (default: 10)")
    parser.add_argument("--overload-seconds", type=float, default=60.0, help="length of the overload (default: 60)")
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
