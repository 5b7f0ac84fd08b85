"""`maeum-train`: prepare, train, evaluate, export, smoke. Reads the arguments and says what went wrong."""

import argparse
import json
import shutil
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path

import torch

from app.errors import MaeumError
from app.model import load_model
from app.settings import Settings
from training.config import STAGES, ConfigError, load_preset, preset_names
from training.corpora import prepare
from training.data import DataError
from training.encoder import TOKENIZER_FILE, EncoderError, load_encoder, tokenizer_file
from training.evaluate import evaluate as evaluate_model
from training.export import ExportError, Release
from training.export import export as export_run
from training.networks import CONFIG_FILE, Networks, RunError, load_stage, save_config
from training.parity import ParityError
from training.smoke import smoke as run_smoke
from training.train import train_stage
from training.utterance import ManifestError, read_manifest

MANIFEST = "manifest.jsonl"
FAILURES = (ConfigError, DataError, EncoderError, ExportError, MaeumError, ManifestError, ParityError, RunError)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit status."""
    args = parser().parse_args(arguments)
    try:
        status: int = args.run(args)
    except FAILURES as error:
        sys.stderr.write(f"maeum-train: {error}\n")
        return 1
    return status


def parser() -> argparse.ArgumentParser:
    """Every command and its options."""
    top = argparse.ArgumentParser(prog="maeum-train", description="Makes the checkpoints that `maeum` serves.")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    command = commands.add_parser("prepare", help="turn a corpus into a manifest")
    prepare.add_arguments(command)
    command.set_defaults(run=prepare.run)

    command = commands.add_parser("train", help="train one stage, or all three in their order")
    command.add_argument("stage", choices=[*STAGES, "all"])
    command.add_argument("--preset", choices=preset_names(), default="paper")
    command.add_argument("--data", type=Path, required=True, help="folder with manifest.jsonl")
    command.add_argument("--output", type=Path, required=True, help="the run's folder")
    command.add_argument("--text-encoder", help="hub name or local folder, instead of the preset's")
    command.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="e.g. train.audio.epochs=3")
    command.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    command.set_defaults(run=train)

    command = commands.add_parser("evaluate", help="measure a version on a manifest's test split")
    command.add_argument("model", help="NAME or NAME/VERSION")
    command.add_argument("--store", type=Path, default=Settings.model_fields["model_store"].default, help="model store")
    command.add_argument("--data", type=Path, required=True, help="folder with manifest.jsonl")
    command.add_argument("--output", type=Path, help="write the figures to this file too")
    command.set_defaults(run=evaluate)

    command = commands.add_parser("export", help="make a version of a run: graphs, manifest, tokenizer, card")
    command.add_argument("--run", dest="source", type=Path, required=True, help="the run's folder")
    command.add_argument("--store", type=Path, default=Path("model_store"), help="model store (default: %(default)s)")
    command.add_argument("--name", required=True)
    command.add_argument("--version", required=True, help="such as 1.0.0")
    command.add_argument("--license", default="LicenseRef-unstated", help="SPDX id of the weights' licence")
    command.add_argument(
        "--about", type=Path, help="Markdown for the card: what the weights learned from, and its terms"
    )
    command.add_argument("--precisions", nargs="+", choices=["fp32", "int8"], default=["int8", "fp32"])
    command.add_argument("--data", type=Path, help="folder with manifest.jsonl: calibrates and measures the version")
    command.set_defaults(run=export)

    command = commands.add_parser("smoke", help="train, export and predict on a tiny made-up corpus, in under a minute")
    command.set_defaults(run=smoke)
    return top


def train(args: argparse.Namespace) -> int:
    """Trains the stage that `args` names; `emotion` alone takes the other two from the run's folder."""
    overrides = dict(_override(text) for text in args.set)
    if args.text_encoder:
        overrides["text.encoder"] = args.text_encoder
    config = load_preset(args.preset, overrides)
    utterances = list(read_manifest(args.data / MANIFEST))
    networks = Networks(config, load_encoder(config.text.encoder))
    save_config(args.output, networks)
    shutil.copyfile(tokenizer_file(config.text.encoder), args.output / TOKENIZER_FILE)
    if args.stage == "emotion":
        load_stage(args.output, networks, "audio")
        load_stage(args.output, networks, "text")
    for stage in STAGES if args.stage == "all" else (args.stage,):
        train_stage(stage, networks, utterances, args.output, torch.device(args.device))
    print(f"Trained: {args.output}/{CONFIG_FILE} and its checkpoints.")
    return 0


def evaluate(args: argparse.Namespace) -> int:
    """Prints the figures of a version as JSON."""
    model = load_model(Settings.load(model_store=args.store, model=args.model))
    figures = json.dumps(evaluate_model(model, list(read_manifest(args.data / MANIFEST))), indent=1, ensure_ascii=False)
    print(figures)
    if args.output:
        args.output.write_text(figures + "\n", encoding="utf-8")
    return 0


def export(args: argparse.Namespace) -> int:
    """Writes a version and says where."""
    utterances = list(read_manifest(args.data / MANIFEST)) if args.data else []
    about = args.about.read_text(encoding="utf-8") if args.about else ""
    release = Release(args.name, args.version, args.license, about)
    print(f"Written: {export_run(args.source, args.store, release, args.precisions, utterances)}")
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
