"""The workload of the service's benchmarks: a version, how it runs, and its utterances, from command line options."""

import argparse
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from app.settings import Settings
from app.store.manifest import Manifest
from app.text import TextTokenizer

from ..harness.processes import Service, free_port
from .lengths import Length, draw_lengths
from .options import add_shared_options, decided, version
from .spoken import Spoken, speak

_SAME_LENGTH = 16  # utterances if all have one length: a full batch


@dataclass(frozen=True)
class Subject:
    """`settings` have precision and threads decided; `given` describes the utterances."""

    settings: Settings
    folder: Path
    manifest: Manifest
    spoken: list[Spoken]
    given: str
    load_before: float  # load average of the machine: above 0.5 the figures are noise

    def serve(self, folder: Path) -> Service:
        """Starts `maeum serve` from this environment; its log goes into `folder`."""
        port, settings = free_port(), self.settings
        command = [str(Path(sys.executable).with_name("maeum")), "serve", "--port", str(port)]
        command += ["--model-store", str(Path(settings.model_store).absolute()), "--model", settings.model]
        command += ["--precision", settings.precision]
        return Service(command, port, {"MAEUM_THREADS": str(settings.threads)}, folder)

    def describe(self) -> dict[str, object]:
        """The first columns of every row."""
        return {
            "model": f"{self.manifest.name}/{self.manifest.version}",
            "precision": self.settings.precision,
            "threads": self.settings.threads,
            "utterances": self.given,
            "load_before": self.load_before,
        }


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that `read` reads."""
    parser.add_argument("--model-store", type=Path, metavar="FOLDER", help="folder that holds the models")
    parser.add_argument("--model", help="NAME or NAME/VERSION (default: starter)")
    add_shared_options(parser)
    parser.add_argument("--mix", type=int, metavar="N", help="N utterances with KEMDy20's lengths, instead")


def read(options: argparse.Namespace) -> Subject:
    """The subject that `options` describe. Raises MaeumError if the version does not exist."""
    names = ("model_store", "model", "precision", "threads")
    load = round(os.getloadavg()[0], 2)
    settings = Settings.load(**{name: getattr(options, name) for name in names})
    folder, manifest = version(settings)
    tokenizer = TextTokenizer(folder / manifest.text.tokenizer.file, manifest.text.max_tokens)
    if options.mix:
        lengths, given = draw_lengths(options.mix), f"{options.mix} as long as KEMDy20's"
    else:
        lengths = [Length(options.seconds, options.tokens)] * _SAME_LENGTH
        given = f"{options.seconds:g} s, {options.tokens} tokens"
    return Subject(decided(settings, manifest), folder, manifest, speak(lengths, tokenizer), given, load)
