"""`maeum-train`: every command of training. Reads the arguments and says what went wrong."""

import argparse
import json
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path

from accelerate import Accelerator

from app.errors import MaeumError

from .biosignals import command as biosignals
from .config import (
    STAGES,
    Config,
    ConfigError,
    load_preset,
    preset_names,
)
from .corpora import prepare
from .data.utterance import UTTERANCES_FILE, Utterance, read_utterances
from .errors import TrainingError
from .evaluation import command as evaluation
from .export.version import Release
from .export.version import export as export_run
from .learning.run import train as train_run
from .recipes import import_original as original
from .recipes.kemdy20_folds import train_folds
from .recipes.smoke import smoke as run_smoke
from .recipes.starter import make_starter


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit status."""
    args = parser().parse_args(arguments)
    try:
        status: int = args.run(args)
    except (MaeumError, TrainingError) as error:
        sys.stderr.write(f"maeum-train: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("maeum-train: stopped; a training goes on with --resume.\n")
        return 130
    return status


def parser() -> argparse.ArgumentParser:
    """Every command and its options."""
    top = argparse.ArgumentParser(prog="maeum-train", description="Trains the models that `maeum` serves.")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    command = commands.add_parser("prepare", help="turn a corpus into utterances.jsonl")
    prepare.add_arguments(command)
    command.set_defaults(run=prepare.run)

    command = commands.add_parser("biosignals", help="analyse KEMDy20's biosignals and labels")
    biosignals.add_arguments(command)
    command.set_defaults(run=biosignals.run)

    command = commands.add_parser("train", help="train one stage, or all three in their order")
    command.add_argument("stage", choices=[*STAGES, "all"])
    _add_training_options(command)
    command.add_argument(
        "--init-from", type=Path, help="a version's folder to go on from, such as model_store/NAME/1.0.0"
    )
    command.set_defaults(run=train)

    command = commands.add_parser("folds", help="train, export and evaluate every fold of KEMDy20")
    _add_training_options(command)
    command.set_defaults(run=folds)

    command = commands.add_parser("evaluate", help="measure a version on the test split of a corpus")
    evaluation.add_arguments(command)
    command.set_defaults(run=evaluation.run)

    command = commands.add_parser("export", help="make a version of a run: graphs, manifest, tokenizer, card")
    command.add_argument("--run", dest="source", type=Path, required=True, help="the run's folder")
    command.add_argument("--store", type=Path, default=Path("model_store"), help="model store (default: %(default)s)")
    command.add_argument("--name", required=True)
    command.add_argument("--version", required=True, help="such as 1.0.0")
    command.add_argument("--license", default="LicenseRef-unstated", help="SPDX id of the weights' licence")
    command.add_argument(
        "--about", type=Path, help="Markdown for the card: what the weights learned from, and its terms"
    )
    command.add_argument("--precisions", nargs="+", choices=["fp32", "fp16", "int8"], default=["int8", "fp32"])
    command.add_argument("--weights", action="store_true", help="add float16 weights to fine-tune from")
    command.add_argument("--data", type=Path, help="folder with utterances.jsonl: calibrates and measures the version")
    command.set_defaults(run=export)

    command = commands.add_parser(
        "starter", help="make the starter model from its corpora: train, leave out each speaker, measure, export"
    )
    command.add_argument("--source", type=Path, required=True, help="the folder that holds the corpora")
    command.add_argument("--work", type=Path, default=Path("runs/starter"), help="for runs (default: %(default)s)")
    command.add_argument("--store", type=Path, default=Path("model_store"), help="model store (default: %(default)s)")
    command.add_argument("--version", required=True, help="such as 1.0.0")
    command.set_defaults(run=starter)

    command = commands.add_parser("import-original", help="make a version of the published checkpoints")
    original.add_arguments(command)
    command.set_defaults(run=original.run)

    command = commands.add_parser("smoke", help="train, export and predict on a tiny made-up corpus, in under a minute")
    command.set_defaults(run=smoke)
    return top


def _add_training_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--preset", choices=preset_names(), default="paper")
    command.add_argument("--data", type=Path, required=True, help="folder with utterances.jsonl")
    command.add_argument("--output", type=Path, required=True, help="the run's folder")
    command.add_argument("--text-encoder", help="hub name or local folder, instead of the preset's")
    command.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="e.g. train.audio.epochs=3")
    command.add_argument("--cpu", action="store_true", help="leave the GPUs alone")
    command.add_argument("--resume", action="store_true", help="go on where a broken run stopped")


def _configured(args: argparse.Namespace) -> tuple[Config, list[Utterance], Accelerator]:
    """The preset with its overrides, the corpus, and what it runs on."""
    overrides = dict(_override(text) for text in args.set)
    if args.text_encoder:
        overrides["text.encoder"] = args.text_encoder
    config = load_preset(args.preset, overrides)
    try:
        accelerator = Accelerator(cpu=args.cpu, mixed_precision=config.train.precision)
    except ValueError as error:
        raise ConfigError(f"train.precision={config.train.precision} cannot be had here: {error}") from error
    return config, list(read_utterances(args.data / UTTERANCES_FILE)), accelerator


def train(args: argparse.Namespace) -> int:
    """Trains the stage that `args` names; `emotion` alone takes the other two from the run's folder."""
    config, utterances, accelerator = _configured(args)
    stages = STAGES if args.stage == "all" else (args.stage,)
    train_run(stages, config, utterances, args.output, accelerator, args.resume, args.init_from)
    if accelerator.is_main_process:
        print(f"Trained: {args.output}. Next: maeum-train export --run {args.output} --name NAME --version 1.0.0")
    return 0


def folds(args: argparse.Namespace) -> int:
    """Trains, exports and evaluates each fold, and says where the report is."""
    config, utterances, accelerator = _configured(args)
    report = train_folds(config, utterances, args.output, accelerator, args.resume)
    if accelerator.is_main_process:
        print(f"Written: {report}")
    return 0


def export(args: argparse.Namespace) -> int:
    """Writes a version and says where."""
    utterances = list(read_utterances(args.data / UTTERANCES_FILE)) if args.data else []
    about = args.about.read_text(encoding="utf-8") if args.about else ""
    release = Release(args.name, args.version, args.license, about)
    written = export_run(args.source, args.store, release, args.precisions, utterances, args.weights)
    print(f"Written: {written}")
    return 0


def starter(args: argparse.Namespace) -> int:
    """Makes the starter and says where it is."""
    print(f"Written: {make_starter(args.source, args.work, args.store, args.version)}")
    return 0


def smoke(args: argparse.Namespace) -> int:
    """Goes the whole way once, in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="maeum-smoke-") as folder:
        print(json.dumps(run_smoke(Path(folder)), ensure_ascii=False, indent=1))
    return 0


def _override(text: str) -> tuple[str, object]:
    """`key=value` with the value read as TOML, or as a plain string where it is none."""
    key, separator, value = text.partition("=")
    if not separator:
        raise ConfigError(f"--set {text}: write KEY=VALUE.")
    try:
        return key, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key, value
