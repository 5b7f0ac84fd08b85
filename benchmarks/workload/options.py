"""Options that the benchmarks of the engine and of the service share: how a version runs, how long utterances are."""

import argparse
from pathlib import Path
from typing import get_args

from app.engine.load import choose_precision, physical_cores
from app.settings import Precision, Settings
from app.store.manifest import Manifest
from app.store.versions import find_version, load_manifest


def add_shared_options(parser: argparse.ArgumentParser) -> None:
    """--precision and --threads, None if not given; --seconds and --tokens."""
    parser.add_argument("--precision", choices=["auto", *get_args(Precision)], help="default: auto")
    parser.add_argument("--threads", type=int, help="threads inside an operator (default: physical cores)")
    parser.add_argument("--seconds", type=float, default=3.2, help="length of each utterance (default: 3.2)")
    parser.add_argument(
        "--tokens", type=int, default=20, help="tokens of each transcript, with special ones (default: 20)"
    )


def version(settings: Settings) -> tuple[Path, Manifest]:
    """The folder and the manifest of the version that `settings` load. Raises MaeumError if it does not exist."""
    folder = find_version(Path(settings.model_store), settings.model)
    return folder, load_manifest(folder)


def decided(settings: Settings, manifest: Manifest) -> Settings:
    """`settings` with the precision and the number of threads that loading would choose."""
    return settings.model_copy(
        update={
            "precision": choose_precision(manifest, settings),
            "threads": settings.threads or physical_cores(),
        }
    )
