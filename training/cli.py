"""`maeum-train`: every command of training. Reads the arguments and reports what went wrong.

The libraries of training take seconds to import, so each command imports what it needs only when it is chosen.
"""

import argparse
import json
import sys
import tempfile
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from app import __version__
from app.errors import MaeumError

from .config import STAGES, Config, ConfigError, Stage, load_preset, preset_names
from .data.utterance import UTTERANCES_FILE, Utterance, read_utterances
from .errors import TrainingError

if TYPE_CHECKING:
    from accelerate import Accelerator

PROGRAM = "maeum-train"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status: 1 for a failure, reported in a sentence, and 2 for wrong usage."""
    try:
        args = parse(sys.argv[1:] if arguments is None else arguments)
        status: int = args.run(args)
    except (MaeumError, TrainingError) as error:
        return _fail(str(error))
    except ModuleNotFoundError as error:
        library = (error.name or "").partition(".")[0]
        if library in ("", "app", "training"):
            raise
        return _fail(f"{library} is not installed: run `make setup`, or `pip install '.[train]'`.")
    except KeyboardInterrupt:
        sys.stderr.write(f"{PROGRAM}: stopped; --resume continues a training.\n")
        return 130
    return status


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The options of the command that `arguments` begin with; `run` is the function to call with them."""
    top = argparse.ArgumentParser(prog=PROGRAM, description="Trains the models that `maeum` serves.")
    top.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (summary, _) in COMMANDS.items():
        commands.add_parser(name, help=summary)
    # Only the name is parsed here: the options of a command may need its libraries.
    chosen = top.parse_args(arguments[:1]).command
    summary, add_arguments = COMMANDS[chosen]
    command = argparse.ArgumentParser(prog=f"{PROGRAM} {chosen}", description=f"{summary[0].upper()}{summary[1:]}.")
    command.set_defaults(run=add_arguments(command))
    return command.parse_args(arguments[1:])


Run = Callable[[argparse.Namespace], int]


def _prepare(command: argparse.ArgumentParser) -> Run:
    from .corpora import prepare

    prepare.add_arguments(command)
    return prepare.run


def _biosignals(command: argparse.ArgumentParser) -> Run:
    from .biosignals import command as biosignals

    biosignals.add_arguments(command)
    return biosignals.run


def _train(command: argparse.ArgumentParser) -> Run:
    command.add_argument("stage", choices=[*STAGES, "all"])
    _add_training_options(command)
    command.add_argument(
        "--init-from",
        type=Path,
        metavar="VERSION",
        help="start from the weights of a version that was exported with --weights, such as model_store/NAME/1.0.0",
    )
    return train


def _folds(command: argparse.ArgumentParser) -> Run:
    _add_training_options(command)
    return folds


def _evaluate(command: argparse.ArgumentParser) -> Run:
    from .evaluation import command as evaluation

    evaluation.add_arguments(command)
    return evaluation.run


def _export(command: argparse.ArgumentParser) -> Run:
    command.add_argument("--run", dest="source", type=Path, required=True, help="the run's folder")
    command.add_argument("--store", type=Path, default=Path("model_store"), help="model store (default: %(default)s)")
    command.add_argument("--name", required=True)
    command.add_argument("--version", required=True, help="such as 1.0.0")
    command.add_argument("--license", default="LicenseRef-unstated", help="SPDX id of the weights' licence")
    command.add_argument("--about", type=Path, help="Markdown for the card: training data and terms")
    command.add_argument("--precisions", nargs="+", choices=["fp32", "fp16", "int8"], default=["int8", "fp32"])
    command.add_argument("--weights", action="store_true", help="add float16 weights to fine-tune from")
    command.add_argument(
        "--data", type=Path, help=f"folder with {UTTERANCES_FILE}, to calibrate and measure the version"
    )
    return export


def _starter(command: argparse.ArgumentParser) -> Run:
    command.add_argument("--source", type=Path, required=True, help="the folder that holds the corpora")
    command.add_argument("--work", type=Path, default=Path("runs/starter"), help="for runs (default: %(default)s)")
    command.add_argument("--store", type=Path, default=Path("model_store"), help="model store (default: %(default)s)")
    command.add_argument("--version", required=True, help="such as 1.0.0")
    command.add_argument(
        "--init-from",
        type=Path,
        metavar="VERSION",
        help="folder of a version whose encoders to begin with, such as model_store/starter/0.3.0; without it the "
        "preset's pretrained encoders, which lie outside the project",
    )
    return starter


def _import_original(command: argparse.ArgumentParser) -> Run:
    from .recipes import import_original

    import_original.add_arguments(command)
    return import_original.run


def _smoke(command: argparse.ArgumentParser) -> Run:
    return smoke


COMMANDS: dict[str, tuple[str, Callable[[argparse.ArgumentParser], Run]]] = {
    "prepare": (f"turn a corpus into {UTTERANCES_FILE}", _prepare),
    "biosignals": ("analyse KEMDy20's biosignals and labels", _biosignals),
    "train": ("train one stage, or all three in their order", _train),
    "folds": ("train, export and evaluate every fold of KEMDy20", _folds),
    "evaluate": ("measure a version on the test split of a corpus", _evaluate),
    "export": ("make a version of a run: graphs, manifest, tokenizer, card", _export),
    "starter": ("make the starter model from its corpora: train, leave out each speaker, measure, export", _starter),
    "import-original": ("make a version of the published checkpoints", _import_original),
    "smoke": ("train, export and predict on a tiny made-up corpus, in under a minute", _smoke),
}
"""By name: what it does, and a function that adds its options to a parser and returns the function to run."""


def _add_training_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--preset", choices=preset_names(), default="paper", help="default: %(default)s")
    command.add_argument("--data", type=Path, required=True, help=f"folder with {UTTERANCES_FILE}")
    command.add_argument("--output", type=Path, required=True, help="the run's folder")
    command.add_argument("--text-encoder", help="hub name or local folder, instead of the preset's")
    command.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="e.g. train.audio.epochs=3; can be repeated",
    )
    command.add_argument("--cpu", action="store_true", help="use no GPU")
    command.add_argument("--resume", action="store_true", help="continue a run that was interrupted")


def _configured(args: argparse.Namespace) -> tuple[Config, list[Utterance], "Accelerator"]:
    """The preset with its overrides, the corpus, and the devices to train on."""
    from accelerate import Accelerator

    overrides = dict(_override(text) for text in args.set)
    if args.text_encoder:
        overrides["text.encoder"] = args.text_encoder
    config = load_preset(args.preset, overrides)
    try:
        accelerator = Accelerator(cpu=args.cpu, mixed_precision=config.train.precision)
    except ValueError as error:
        raise ConfigError(f"train.precision={config.train.precision} is not available here: {error}") from error
    return config, list(read_utterances(args.data / UTTERANCES_FILE)), accelerator


def train(args: argparse.Namespace) -> int:
    """Trains the stage named in `args`; `emotion` alone takes the other two from the run's folder."""
    from .learning.run import train as train_run

    if args.init_from is not None:
        _refuse_settings_of_the_version(args)
    stages = STAGES if args.stage == "all" else (args.stage,)
    config, utterances, accelerator = _configured(args)
    _refuse_settings_of_trained_stages(args, stages)
    text_frozen = config.text.frozen if any(key == "text.frozen" for key, _ in map(_override, args.set)) else None
    train_run(stages, config, utterances, args.output, accelerator, args.resume, args.init_from, text_frozen)
    if accelerator.is_main_process:
        print(f"Trained: {args.output}. Next: maeum-train export --run {args.output} --name NAME --version 1.0.0")
    return 0


def _refuse_settings_of_trained_stages(args: argparse.Namespace, stages: Sequence[Stage]) -> None:
    """Raises ConfigError for a --set of a stage that was trained in the run with another value, and is not now."""
    from .networks.files import CONFIG_FILE, read_config, stage_file

    path = args.output / CONFIG_FILE
    if not path.is_file():
        return
    trained = read_config(path.read_text(encoding="utf-8")).train.model_dump()
    for key, value in map(_override, args.set):
        part, _, setting = key.removeprefix("train.").partition(".")
        stage = next((stage for stage in STAGES if stage == part and stage not in stages), None)
        if stage and stage_file(args.output, stage).is_file() and trained[stage].get(setting, value) != value:
            raise ConfigError(
                f"{key}: the {stage} stage of {args.output} was trained with {trained[stage][setting]!r}, and this "
                f"command does not train it; add --set only for {' and '.join(stages)}."
            )


def _refuse_settings_of_the_version(args: argparse.Namespace) -> None:
    given = [key for key, _ in map(_override, args.set) if not key.startswith("train.") and key != "text.frozen"]
    given += ["--text-encoder"] if args.text_encoder else []
    if given:
        raise ConfigError(
            f"{', '.join(given)}: with --init-from the networks are the version's own; only train.* and text.frozen "
            "can be set."
        )


def folds(args: argparse.Namespace) -> int:
    """Trains, exports and evaluates each fold, and prints the path of the report."""
    from .recipes.kemdy20_folds import train_folds

    config, utterances, accelerator = _configured(args)
    report = train_folds(config, utterances, args.output, accelerator, args.resume)
    if accelerator.is_main_process:
        print(f"Written: {report}")
    return 0


def export(args: argparse.Namespace) -> int:
    """Writes a version and prints its folder."""
    from .export.version import Release
    from .export.version import export as export_run

    utterances = list(read_utterances(args.data / UTTERANCES_FILE)) if args.data else []
    about = args.about.read_text(encoding="utf-8") if args.about else ""
    release = Release(args.name, args.version, args.license, about)
    written = export_run(args.source, args.store, release, args.precisions, utterances, args.weights)
    print(f"Written: {written}")
    return 0


def starter(args: argparse.Namespace) -> int:
    """Makes the starter and prints its folder."""
    from .recipes.starter import make_starter

    print(f"Written: {make_starter(args.source, args.work, args.store, args.version, init_from=args.init_from)}")
    return 0


def smoke(args: argparse.Namespace) -> int:
    """Goes the whole way once, in a temporary folder."""
    from .recipes.smoke import smoke as run_smoke

    with tempfile.TemporaryDirectory(prefix="maeum-smoke-") as folder:
        print(json.dumps(run_smoke(Path(folder)), ensure_ascii=False, indent=1))
    return 0


def _fail(sentence: str) -> int:
    sys.stderr.write(f"{PROGRAM}: {sentence}\n")
    return 1


def _override(text: str) -> tuple[str, object]:
    """`key=value` with the value read as TOML, or as a plain string where it is none."""
    key, separator, value = text.partition("=")
    if not separator:
        raise ConfigError(f"--set {text}: write KEY=VALUE.")
    try:
        return key, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key, value
