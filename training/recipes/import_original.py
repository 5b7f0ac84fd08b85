"""Imports the published checkpoints: the authors' three `.pt` files become a version with `semantics: original`.

`training.recipes.original_weights` reads the files; `training.networks.original` has the networks.
"""

import argparse
import hashlib
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from transformers import BertConfig

from app.settings import Precision

from ..config import STAGES, AudioConfig, BlockConfig, Config, TextConfig
from ..export.version import Release, export
from ..networks.files import save_config, save_stage
from ..networks.tokenizer import write_tokenizer
from .original_weights import ALONE, KOBERT, build_networks, read_checkpoints

# Inside the published classifier the audio block runs with 4 heads, though it was trained with 6. Its weights fit both.
COMBINED_HEADS, TRAINED_HEADS = 4, 6

ABOUT = """\
Imported from the checkpoints that were published with the paper (2022 ETRI Human Understanding AI competition), trained
on KEMDy20. It computes as they did, defects included: padding is seen, and every clip costs as much as the longest. The
audio block was trained with 6 heads and runs with {heads}{meaning}.
The figures of the paper were not measured again here.
"""
MEANING = {
    COMBINED_HEADS: ", as inside the published classifier; so its arousal is not the published one",
    TRAINED_HEADS: "; so its emotion is not the published one, whose classifier ran it with 4",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `import-original`."""
    parser.add_argument(
        "--classifier", type=Path, required=True, help="Multi_Modal_Classifier_ye.pt, which contains all"
    )
    parser.add_argument("--audio", type=Path, help="audio_arousal.pt: checked against the classifier's copy of it")
    parser.add_argument("--text", type=Path, help="text_valence.pt: checked in the same way")
    parser.add_argument("--name", required=True)
    parser.add_argument("--version", default="1.0.0", help="default: %(default)s")
    parser.add_argument("--store", type=Path, default=Path("model_store"), help="model store (default: %(default)s)")
    parser.add_argument("--license", default="LicenseRef-unstated", help="SPDX id of the weights' licence")
    parser.add_argument(
        "--text-encoder",
        default=TextConfig().encoder,
        help="hub name or local folder with KoBERT's SentencePiece model (default: %(default)s)",
    )
    parser.add_argument(
        "--audio-heads",
        type=int,
        choices=(COMBINED_HEADS, TRAINED_HEADS),
        default=COMBINED_HEADS,
        help="4 as in the published classifier; 6 gives the arousal as it was trained, but another emotion",
    )
    parser.add_argument("--weights", action="store_true", help="add float16 weights to fine-tune from")
    parser.add_argument("--precisions", nargs="+", choices=["fp32", "int8"], default=["fp32"])


def run(args: argparse.Namespace) -> int:
    """Writes the version and prints its folder. Raises CheckpointError, EncoderError, ExportError and ParityError."""
    files: dict[str, Path] = {role: path for role in ("classifier", *ALONE) if (path := getattr(args, role))}
    heads = args.audio_heads
    about = ABOUT.format(heads=heads, meaning=MEANING[heads])
    release = Release(args.name, args.version, args.license, about)
    config = published(heads)
    written = import_original(
        files, args.text_encoder, args.store, release, args.precisions, config, weights=args.weights
    )
    sys.stdout.write(f"Written: {written}\n")
    return 0


def import_original(
    files: Mapping[str, Path],
    text_encoder: str,
    store: Path,
    release: Release,
    precisions: Sequence[Precision],
    config: Config,
    encoder: BertConfig = KOBERT,
    weights: bool = False,
) -> Path:
    """Writes a version of the `.pt` files by role, `classifier` and optionally `audio` and `text`; returns its folder.

    They must have the sizes of `config` and `encoder`; the tokenizer is that of `text_encoder`. Raises as `run`.
    """
    store.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=store, prefix=".") as folder:
        source = Path(folder)
        write_tokenizer(text_encoder, source, encoder.vocab_size)
        networks = build_networks(read_checkpoints(files), config, encoder)
        save_config(source, networks)
        for stage in STAGES:
            save_stage(source, networks, stage)
        origin = {"imported_sha256": {role: _digest(path) for role, path in files.items()}}
        return export(source, store, replace(release, training=origin), precisions, weights=weights)


def published(audio_heads: int = COMBINED_HEADS) -> Config:
    """The published networks; the defaults of `Config` are the paper's numbers."""
    return Config(
        preset="original", semantics="original", audio=AudioConfig(block=BlockConfig(layers=7, heads=audio_heads))
    )


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
