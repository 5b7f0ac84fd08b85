"""Measures every figure of the engine (`make bench`), writes `results/engine.json` and prints a Markdown table.

python -m benchmarks.table                      # some minutes
python -m benchmarks.table --for 1 --only starter
python -m benchmarks.table --provider cuda      # on a machine with a GPU: results/gpu.json
"""

import argparse
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any, get_args

from app.settings import Precision, Provider

from .engine import measure
from .harness.machine import save
from .workload.case import Case, Preset
from .workload.lengths import Length

Row = tuple[Length | None, int]  # None for KEMDy20's lengths, and the batch
SHORT, FULL = Length(3.2, 20), Length(16.3, 64)
MODELS: dict[Provider, tuple[tuple[Preset, Precision], ...]] = {
    "cpu": (("starter", "int8"), ("paper", "int8"), ("paper", "fp32")),
    "cuda": (("starter", "fp16"), ("paper", "fp16"), ("paper", "fp32")),
}
GIVEN: dict[Provider, tuple[Row, ...]] = {
    "cpu": ((SHORT, 1), (FULL, 1), (None, 1), (None, 8)),
    "cuda": ((SHORT, 1), (FULL, 1), (None, 1), (SHORT, 64), (FULL, 64), (None, 16), (None, 64)),
}

_HEAD = """\
| model | utterances | batch | a second | p50 ms | p99 ms | GFLOP each | share of the ceiling | the original | faster |
|---|---|--:|--:|--:|--:|--:|--:|--:|--:|"""


def main() -> None:
    """Measures the rows one after the other, each in turn with the original."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--for", type=float, default=5.0, dest="seconds", metavar="S", help="seconds to time a row (default: 5)"
    )
    parser.add_argument("--only", choices=get_args(Preset), help="rows of one preset only; they are not saved")
    parser.add_argument("--provider", choices=get_args(Provider), default="cpu")
    options = parser.parse_args()
    provider: Provider = options.provider
    rows = []
    for (preset, precision), (length, batch) in product(MODELS[provider], GIVEN[provider]):
        if options.only in (None, preset):
            print(f"{preset} {precision}, {length or 'mix'}, batch {batch} ...", flush=True)
            case = Case(preset, precision, provider, length=length, batch=batch)
            rows.append(measure(case, options.seconds, against_original=True))
    print(markdown(rows))
    if options.only is None:
        print(save("engine" if provider == "cpu" else "gpu", rows))


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """The table in README.md."""
    return "\n".join([_HEAD, *map(_line, rows)])


def _line(row: Mapping[str, Any]) -> str:
    given = "KEMDy20's lengths" if row["seconds"] == "mix" else f"{row['seconds']:g} s, {row['tokens']} tokens"
    low, high = row["ratio_95"]
    share = "" if row["share_of_ceiling"] is None else f"{row['share_of_ceiling']:.0%}"
    cells = (
        f"{row['preset']} {row['precision']}",
        given,
        str(row["batch"]),
        f"{row['utterances_per_s']:.1f}",
        f"{row['p50_ms']:.1f}",
        f"{row['p99_ms']:.1f}",
        f"{row['gflop_per_utterance']:.1f}",
        share,
        f"{row['original_utterances_per_s']:.2f}",
        f"{row['ratio']:.1f} [{low:.1f}, {high:.1f}]",
    )
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
