"""`maeum-train biosignals`: reads the corpus once and writes `report.html` and `report.json`."""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

from ..corpora.tally import CorpusError
from .clusters import MAX_SAMPLE, MIN_SEGMENTS
from .conclusions import on_clusters, on_completeness, on_emotions
from .results import Results, analyse, as_json
from .sections import html

SAMPLE = 1_000
MAX_SEED = 2**32 - 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `biosignals`."""
    parser.add_argument(
        "--source", type=Path, required=True, help="KEMDy20: the folder with annotation/, EDA/, IBI/, TEMP/"
    )
    parser.add_argument("--output", type=Path, required=True, help="folder for report.html and report.json")
    parser.add_argument(
        "--sample",
        type=_between(MIN_SEGMENTS, MAX_SAMPLE),
        default=SAMPLE,
        metavar="N",
        help=f"cluster at most N segments of TEMP, {MIN_SEGMENTS} to {MAX_SAMPLE}; all pairs of them are compared "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--seed", type=_between(0, MAX_SEED), default=1, metavar="S", help="seed of the draw (default: %(default)s)"
    )
    parser.add_argument("--strict", action="store_true", help="exit with 1 if the corpus has any problem")


def run(args: argparse.Namespace) -> int:
    """Writes the report. Returns 0; 1 if `--strict` found a problem; 2 if nothing could be read or written."""
    try:
        args.output.mkdir(parents=True, exist_ok=True)
        results = analyse(args.source, args.sample, args.seed)
        _write(
            args.output / "report.json",
            json.dumps(as_json(results), ensure_ascii=False, indent=1, allow_nan=False) + "\n",
        )
        _write(args.output / "report.html", html(results))
    except (CorpusError, OSError) as error:
        sys.stderr.write(f"maeum-train biosignals: {error}\n")
        return 2
    sys.stdout.write(f"{_summary(results)}\nWritten: {args.output}/report.html and report.json\n")
    return 1 if args.strict and results.report.problems else 0


def _write(path: Path, text: str) -> None:
    """Replaces `path` at once, so that there is never half a report."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def _summary(results: Results) -> str:
    """The conclusions, and the problems with their first names."""
    lines = [
        on_completeness(results.survey.completeness, results.annotated),
        on_clusters(results.clustering),
        *map(on_emotions, results.comparisons),
        *results.report.problem_lines(),
    ]
    return "\n".join(lines)


def _between(low: int, high: int) -> Callable[[str], int]:
    def whole_number(text: str) -> int:
        if text.isdecimal() and low <= int(text) <= high:
            return int(text)
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {low} to {high}")

    return whole_number
