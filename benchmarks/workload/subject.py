"""What is measured: a version of a model, how it is run, and the utterances it is given. From command line options."""

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

_SAME_LENGTH = 16  # utterances where all have one length: a full batch


@dataclass(frozen=True)
class Subject:
    """`settings` with precision and threads decided; `given`: the utterances in words."""

    settings: Settings
    folder: Path
    manifest: Manifest
    spoken: list[Spoken]
    given: str
    load_before: float  # what else kept the machine busy: over 0.5 the figures are noise

    def serve(self, folder: Path) -> Service:
        """Starts `maeum serve`, of the environment that this runs in; its log goes into `folder`."""
        port, settings = free_port(), self.settings
        command = [str(Path(sys.executable).with_name("maeum")), "serve", "--port", str(port)]
        command += ["--model-store", str(Path(settings.model_store).absolute()), "--model", settings.model]
        command += ["--precision", settings.precision]
        return Service(command, port, {"MAEUM_THREADS": str(settings.threads)}, folder)

    def describe(self) -> dict[str, object]:
        """The columns that every row begins with."""
        return {
            "model": f"{self.manifest.name}/{self.manifest.version}",
            "precision": self.settings.precision,
            "threads": self.settings.threads,
            "utterances": self.given,
            "load_before": self.load_before,
        }


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that `read` reads."""
    parser.add_argument("--model-store", type=Path, metavar="FOLDER", help="folder of the models")
    parser.add_argument("--model", help="NAME or NAME/VERSION (default: starter)")
    add_shared_options(parser)
    parser.add_argument("--mix", type=int, metavar="N", help="N utterances as long as KEMDy20's are, instead")


def read(options: argparse.Namespace) -> Subject:
    """The subject that `options` describe. Raises MaeumError where there is no such version."""
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
