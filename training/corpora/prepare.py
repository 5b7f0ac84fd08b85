"""`maeum-train prepare`: a corpus on disk becomes `utterances.jsonl` and `report.json`."""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from ..data.utterance import UTTERANCES_FILE, Utterance, read_utterances, write_utterances
from .kemdy20 import read_kemdy20
from .kemdy20_annotation import Choices
from .splits import FOLDS, original_split
from .table import COLUMNS, read_table
from .tally import CorpusError, Report


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the corpora and their options to the parser of `prepare`."""
    corpora = parser.add_subparsers(dest="corpus", required=True, metavar="CORPUS")

    kemdy20 = corpora.add_parser("kemdy20", help="KEMDy20 as ETRI releases it")
    _add_common(kemdy20, "the release's folder, with annotation/ and wav/")
    _add_classes(kemdy20)
    kemdy20.add_argument(
        "--ties",
        choices=("drop", "first", "soft"),
        default="drop",
        help="where raters are divided: leave out, take the first, or learn from the votes (default: %(default)s)",
    )
    kemdy20.add_argument(
        "--split",
        choices=("session", "original"),
        default="session",
        help="five folds of eight sessions, speakers apart; or over utterances, as published (default: %(default)s)",
    )
    kemdy20.add_argument(
        "--fold",
        type=int,
        choices=range(FOLDS),
        default=0,
        help="the fold to test on, with --split session (default: %(default)s)",
    )

    table = corpora.add_parser("csv", help="your own table", description=f"Columns: {', '.join(COLUMNS)}.")
    _add_common(table, "the CSV or TSV file; it needs audio or transcript, and emotion, arousal or valence")
    _add_classes(table)


def _add_common(parser: argparse.ArgumentParser, source: str) -> None:
    parser.add_argument("--source", type=Path, required=True, help=source)
    parser.add_argument("--output", type=Path, required=True, help="folder for utterances.jsonl and report.json")
    parser.add_argument("--strict", action="store_true", help="exit with 1 if the corpus has any problem")


def _add_classes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--classes", type=int, choices=(5, 7), default=5, help="7 adds fear and disgust (default: %(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    """Prepares the corpus of `args`. Returns 0; 1 if `--strict` found a problem; 2 if nothing could be prepared.

    `utterances.jsonl` appears whole or not at all.
    """
    report = Report()
    try:
        args.output.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".prepare-", dir=args.output) as work:
            _write(args, report, Path(work))
    except (CorpusError, OSError) as error:
        sys.stderr.write(f"maeum-train prepare: {error}\n")
        return 2
    sys.stdout.write(f"{report.summary()}\nWritten: {args.output / UTTERANCES_FILE} and report.json\n")
    return 1 if args.strict and report.problems else 0


def _write(args: argparse.Namespace, report: Report, work: Path) -> None:
    utterances = _progress(_read(args, report))
    if args.corpus == "kemdy20" and args.split == "original":
        utterances = _with_original_split(work / "unsplit.jsonl", utterances)
    if not write_utterances(work / UTTERANCES_FILE, report.counted(utterances)):
        raise CorpusError(f"{args.source} has no usable utterance\n{report.summary()}")
    text = json.dumps(report.as_json(), ensure_ascii=False, indent=1)
    (args.output / "report.json").write_text(text + "\n", encoding="utf-8")
    (work / UTTERANCES_FILE).replace(args.output / UTTERANCES_FILE)


def _read(args: argparse.Namespace, report: Report) -> Iterator[Utterance]:
    if args.corpus == "kemdy20":
        return read_kemdy20(args.source, report, Choices(args.ties, args.classes), fold=args.fold)
    return read_table(args.source, report, classes=args.classes)


def _with_original_split(unsplit: Path, utterances: Iterator[Utterance]) -> Iterator[Utterance]:
    """The same utterances with the published split, which needs their number: they go through a file to save memory."""
    splits = original_split(write_utterances(unsplit, utterances))
    for utterance, split in zip(read_utterances(unsplit), splits, strict=True):
        yield utterance.model_copy(update={"split": split, "fold": None})


def _progress(utterances: Iterator[Utterance]) -> Iterator[Utterance]:
    return iter(tqdm(utterances, unit=" utterances", disable=None))
