"""Times the engine, from utterances in memory to predictions: no HTTP, decoding, tokenising or queue.

    python -m benchmarks.engine --preset paper --seconds 3.2 --tokens 20 --batch 1 --against-original --json

With `--against-original` it takes turns with `original.py`, each in its own process, and reports the ratio of their
rates with a 95 % interval over the rounds. `share_of_ceiling` is the useful work (each utterance alone and unpadded,
`harness/work.py`) divided by the most that the machine reaches in that precision (`harness/ceiling.py`).
"""

import argparse
import json
from contextlib import ExitStack
from functools import partial

import numpy as np

from app.engine.load import load_model

from .harness.ceiling import matmul_ceiling
from .harness.turns import Call, Turn, Worker, serve_turns
from .workload.case import Case, add_options, gflop_per_utterance, read

ROUNDS = 7
RESAMPLES = 10_000


def main() -> None:
    """Measures one case and prints it; a worker serves turns instead."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add_options(parser)
    parser.add_argument(
        "--for", type=float, default=5.0, dest="seconds_in_all", metavar="S", help="seconds to time (default: 5)"
    )
    parser.add_argument("--calls", type=int, help="number of calls to time, instead")
    parser.add_argument(
        "--against-original", action="store_true", help="take turns with original.py and report the ratio"
    )
    parser.add_argument("--json", action="store_true", help="print the row as JSON")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    case = read(options)
    if options.worker:
        serve_turns(calls(case))
        return
    row = measure(case, options.seconds_in_all, options.calls, options.against_original)
    if options.json:
        print(json.dumps(row))
    else:
        for name, value in row.items():
            print(f"{name:26}{value:.4g}" if isinstance(value, float) else f"{name:26}{value}")


def calls(case: Case) -> list[Call]:
    """A call for each batch of a pass."""
    predict = load_model(case.settings()).predict
    return [partial(predict, batch) for batch in case.batches()]


def measure(
    case: Case, seconds: float = 5.0, count: int | None = None, against_original: bool = False
) -> dict[str, object]:
    """The row of `case`, timed in `ROUNDS` turns for about `seconds` or for `count` calls; the original likewise."""
    settings = case.settings()
    assert settings.precision != "auto", "a case decides it"
    gflop = gflop_per_utterance(case)
    ceilings = [matmul_ceiling(settings.precision, settings.threads, case.provider)]
    turn = Turn(seconds / ROUNDS, None if count is None else -(-count // ROUNDS))
    modules = ["benchmarks.engine", "benchmarks.original"] if against_original else ["benchmarks.engine"]
    with ExitStack() as stack:
        workers = [stack.enter_context(Worker(module, [*case.arguments(), "--worker"])) for module in modules]
        rounds = [[worker.take(turn) for worker in workers] for _ in range(ROUNDS)]
    # Measured before and after, so that other work on the machine never makes the engine look better.
    ceilings.append(matmul_ceiling(settings.precision, settings.threads, case.provider))
    ceiling = max((value for value in ceilings if value is not None), default=None)
    own, *other = ([durations[side] for durations in rounds] for side in range(len(modules)))
    durations = np.concatenate(own)
    rate = len(durations) * case.batch / float(durations.sum())
    row: dict[str, object] = {
        "preset": case.preset,
        "precision": settings.precision,
        "provider": case.provider,
        "threads": settings.threads,
        "seconds": case.length.seconds if case.length else "mix",
        "tokens": case.length.tokens if case.length else "mix",
        "batch": case.batch,
        "n": len(durations) * case.batch,
        "utterances_per_s": rate,
        **{f"p{p}_ms": float(np.percentile(durations, p)) * 1e3 for p in (50, 95, 99)},
        "gflop_per_utterance": gflop,
        "ceiling_gflop_per_s": ceiling,
        "share_of_ceiling": gflop * rate / ceiling if ceiling else None,
        "padding": case.padding(),
    }
    return row | (_against(own, other[0], case.batch) if other else {})


def _against(own: list[list[float]], other: list[list[float]], batch: int) -> dict[str, object]:
    """The mean ratio over the rounds and its 95 % interval, by resampling them."""
    ratios = np.array([np.mean(theirs) / np.mean(ours) for ours, theirs in zip(own, other, strict=True)])
    drawn = np.random.default_rng(0).choice(ratios, size=(RESAMPLES, len(ratios))).mean(axis=1)
    return {
        "original_utterances_per_s": batch / float(np.mean(np.concatenate(other))),
        "ratio": float(ratios.mean()),
        "ratio_95": [float(bound) for bound in np.percentile(drawn, (2.5, 97.5))],
        "rounds": len(ratios),
    }


if __name__ == "__main__":
    main()
