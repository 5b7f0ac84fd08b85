"""Times the service over HTTP: throughput, latency, memory, and its share of the engine's own throughput.

    closed loop   1 to 16 requests always in flight. After each run the engine alone predicts the same utterances, one
                  at a time and in full batches; `share_of_engine` is relative to the faster of the two
    open loop     random arrivals at 70 % of the best closed loop
    long run      --requests N: memory after each tenth of N requests

A run makes whole passes over the utterances, so that all runs do the same work. Figures are medians of the rounds.

    python -m benchmarks.server [--mix 32] [--requests 2000] [--save server]
"""

import argparse
import json
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from .harness.alone import EngineAlone
from .harness.client import READY
from .harness.load import Generator, Result
from .harness.machine import save
from .harness.processes import Service
from .workload import subject
from .workload.subject import Subject

CONCURRENCY = (1, 2, 4, 8, 16)
OPEN_SHARE = 0.7
LONG_CONCURRENCY = 8

Row = dict[str, object]


def measure(what: Subject, run_s: float, rounds: int, requests: int) -> Iterator[Row]:
    """Yields a row for each measurement. A closed run takes about `run_s`, an open one five times as long."""
    generator = Generator([one.request() for one in what.spoken])
    engine = EngineAlone(what.settings, [(one.wav, one.transcript) for one in what.spoken])
    with tempfile.TemporaryDirectory() as folder, what.serve(Path(folder)) as service:
        yield {"kind": "start", "ready_s": round(service.wait(READY), 2), **service.memory()}
        one_pass_s = len(what.spoken) / engine.throughput(1, 1)
        passes = max(1, round(run_s / one_pass_s))
        generator.closed(service.address, 4, total=len(what.spoken))  # warms the service and the generator up
        closed = list(_closed(what, service, generator, engine, passes, rounds))
        yield from closed
        rate = OPEN_SHARE * max(float(str(row["throughput_rps"])) for row in closed)
        yield _open(generator.open(service.address, rate, 5 * run_s), rate)
        yield {"kind": "memory", "requests": 0, **service.memory()}
        for tenth in range(1, 11 if requests else 1):
            result = generator.closed(service.address, LONG_CONCURRENCY, total=requests // 10)
            yield {"kind": "memory", "requests": tenth * (requests // 10), **_statuses(result), **service.memory()}
    engine.close()
    generator.close()


def _closed(
    what: Subject, service: Service, generator: Generator, engine: EngineAlone, passes: int, rounds: int
) -> Iterator[Row]:
    """HTTP and the engine alone take turns, so that other work on the machine slows both."""
    runs: dict[int, list[Result]] = defaultdict(list)
    singly, batched = [], []
    for _ in range(rounds):
        for concurrency in CONCURRENCY:
            runs[concurrency].append(generator.closed(service.address, concurrency, total=passes * len(what.spoken)))
            singly.append(engine.throughput(passes, 1))
            batched.append(engine.throughput(passes, what.settings.max_batch))
    alone = {"engine_singly_rps": statistics.median(singly), "engine_batched_rps": statistics.median(batched)}
    for concurrency, results in runs.items():
        middle = sorted(results, key=lambda result: result.throughput_rps)[len(results) // 2]
        share = middle.throughput_rps / max(alone.values())
        rounded = {name: round(value, 2) for name, value in alone.items()}
        row = {"kind": "closed", "concurrency": concurrency, **asdict(middle), **rounded}
        spread = [min(result.throughput_rps for result in results), max(result.throughput_rps for result in results)]
        yield {**row, "share_of_engine": round(share, 3), "throughput_spread_rps": spread}


def _open(result: Result, rate: float) -> Row:
    tail = None if result.p50_ms is None or result.p99_ms is None else round(result.p99_ms / result.p50_ms, 2)
    return {"kind": "open", "rate_rps": round(rate, 2), **asdict(result), "p99_over_p50": tail}


def _statuses(result: Result) -> Row:
    return {"statuses": result.statuses, "throughput_rps": result.throughput_rps}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    subject.add_options(parser)
    parser.add_argument("--run-seconds", type=float, default=3.0, help="approximate length of a run (default: 3)")
    parser.add_argument("--rounds", type=int, default=3, help="number of rounds (default: 3)")
    parser.add_argument(
        "--requests", type=int, default=0, metavar="N", help="add a long run of N requests and watch memory"
    )
    parser.add_argument("--json", action="store_true", help="print a JSON object per line")
    parser.add_argument("--save", metavar="NAME", help="write results/NAME.json")
    options = parser.parse_args()
    what = subject.read(options)
    rows = []
    for row in measure(what, options.run_seconds, options.rounds, options.requests):
        rows.append({**what.describe(), **row})
        print(json.dumps(rows[-1]) if options.json else _line(row), flush=True)
    if options.save:
        print(save(options.save, rows))


def _line(row: Row) -> str:
    shown = {name: value for name, value in row.items() if value is not None and name not in ("kind", "loop")}
    return f"{row['kind']:8}" + "  ".join(f"{name} {value}" for name, value in shown.items())


if __name__ == "__main__":
    main()
