"""`maeum-train evaluate`: measures a version on the test split of a corpus and writes a folder of results."""

import argparse
import sys
from datetime import date
from pathlib import Path
from typing import get_args

from app.engine.load import load_model
from app.settings import Precision, Provider, Settings

from ..data.utterance import UTTERANCES_FILE, Split, read_utterances
from .answers import EvaluationError
from .measure import figures_of, measure
from .wording import headline


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `evaluate`."""
    store = Settings.model_fields["model_store"].default
    parser.add_argument("model", help="NAME or NAME/VERSION")
    parser.add_argument("--store", type=Path, default=store, help="model store")
    parser.add_argument("--data", type=Path, required=True, help="folder with utterances.jsonl")
    parser.add_argument("--output", type=Path, required=True, help="folder for metrics.json, plots and report.html")
    parser.add_argument("--split", choices=get_args(Split), default="test", help="default: %(default)s")
    parser.add_argument("--precision", choices=get_args(Precision), help="of the graphs; default: as served")
    parser.add_argument("--provider", choices=get_args(Provider), help="of onnxruntime; default: as served")


def run(args: argparse.Namespace) -> int:
    """Measures with the options `args`, prints a line per measurement and the path of the report.

    Raises EvaluationError, UtterancesError and MaeumError.
    """
    # matplotlib takes a second to import, and of all commands only this one draws.
    from .report import About, write_report

    utterances = list(read_utterances(args.data / UTTERANCES_FILE))
    settings = Settings.load(model_store=args.store, model=args.model, precision=args.precision, provider=args.provider)
    model = load_model(settings)
    measurements = list(measure(model, utterances, args.split))
    count = sum(u.split == args.split for u in utterances)
    if not measurements:
        raise EvaluationError(
            f"Of the {count:,} utterances in split {args.split} of {args.data / UTTERANCES_FILE}, none has both an "
            f"input that {args.model} takes and a label to judge the answer by."
        )
    figures = figures_of(measurements, utterances, args.split)
    manifest = model.manifest
    about = About(
        model=f"{manifest.name}/{manifest.version}",
        precision=model.precision,
        provider=model.provider,
        data=args.data.resolve().name,
        split=args.split,
        date=date.today().isoformat(),
        utterances=count,
        judged=len({(u.corpus, u.id) for measurement in measurements for u in measurement.answered.utterances}),
    )
    path = write_report(args.output, about, measurements, figures, manifest.scale)
    lines = [f"{name}: n {found['n']:,}, {headline(found)}" for name, found in figures.items()]
    sys.stdout.write("\n".join([*lines, f"Written: {path}, metrics.json and the plots."]) + "\n")
    return 0
