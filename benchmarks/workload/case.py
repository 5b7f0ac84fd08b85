"""The workload of the engine's benchmarks: a preset, how it runs, and its utterances, from command line options."""

import argparse
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from tokenizers import Tokenizer

from app.engine.engine import ModelInput
from app.settings import Precision, Provider, Settings
from app.store.manifest import GraphName
from app.store.versions import load_manifest

from ..harness.work import Feeds, flops
from .lengths import Length, draw_lengths, make
from .options import add_shared_options, decided, version
from .paper import MODEL, ensure_paper

Preset = Literal["starter", "paper"]
MIXED = 64  # utterances of a mix; a few more if they fill the last batch


@dataclass(frozen=True)
class Case:
    """`length` is None for a mix of KEMDy20's lengths. Every call gets `batch` utterances."""

    preset: Preset = "starter"
    precision: Precision | Literal["auto"] = "auto"
    provider: Provider = "cpu"
    threads: int = 0
    length: Length | None = None
    batch: int = 1

    def settings(self) -> Settings:
        """Settings that load the model, with precision and threads decided."""
        place = {"model_store": ensure_paper(), "model": MODEL} if self.preset == "paper" else {"model": "starter"}
        how = {"precision": self.precision, "provider": self.provider, "threads": self.threads}
        settings = Settings.load(
            **place, **how, max_batch=self.batch
        )  # on a GPU the warm-up prepares batches of this size
        return decided(settings, version(settings)[1])

    def lengths(self) -> list[Length]:
        """The lengths of one pass, in order: a mix is not sorted by length."""
        if self.length is not None:
            return [self.length] * self.batch
        return draw_lengths(self.batch * -(-MIXED // self.batch))

    def batches(self) -> list[list[ModelInput]]:
        """The utterances of one pass, call by call."""
        folder, manifest = version(self.settings())
        tokenizer = Tokenizer.from_file(str(folder / manifest.text.tokenizer.file))
        vocabulary = tokenizer.get_vocab_size()
        lengths = enumerate(self.lengths())
        made = [make(length.seconds, length.tokens, vocabulary, seed) for seed, length in lengths]
        return [made[begin : begin + self.batch] for begin in range(0, len(made), self.batch)]

    def padding(self) -> float:
        """Frames and tokens with each batch padded to its longest, divided by those without padding.

        On a GPU the engine pads further, to a few fixed sizes.
        """
        lengths = self.lengths()
        batches = [lengths[begin : begin + self.batch] for begin in range(0, len(lengths), self.batch)]
        padded = sum(len(rows) * (max(r.frames for r in rows) + max(r.tokens for r in rows)) for rows in batches)
        return padded / sum(length.frames + length.tokens for length in lengths)

    def arguments(self) -> list[str]:
        """The options from which `read` makes this case."""
        given = ["--preset", self.preset, "--precision", self.precision, "--provider", self.provider]
        given += ["--threads", str(self.threads), "--batch", str(self.batch)]
        if self.length is None:
            return [*given, "--mix"]
        return [*given, "--seconds", str(self.length.seconds), "--tokens", str(self.length.tokens)]


def gflop_per_utterance(case: Case) -> float:
    """The useful work: each utterance alone and unpadded, in the fp32 graphs, or in int8 if there are no others."""
    folder, manifest = version(case.settings())
    precision: Precision = "fp32" if "fp32" in manifest.graphs else "int8"
    lengths = case.lengths() if case.length is None else [case.length]
    return _flops(folder, precision, tuple(lengths)) / len(lengths) / 1e9


@cache
def _flops(folder: Path, precision: Precision, lengths: tuple[Length, ...]) -> int:
    manifest = load_manifest(folder)
    feeds = [_feeds(length, manifest.width) for length in lengths]
    graphs = manifest.graphs[precision].items()
    return sum(flops(folder / stored.file, *(given[name] for given in feeds)) for name, stored in graphs)


def _feeds(length: Length, width: int) -> dict[GraphName, Feeds]:
    """Inputs of the right shapes; their values do not change the work."""
    utterance = make(length.seconds, length.tokens, vocabulary=100)
    assert utterance.waveform is not None and utterance.input_ids is not None
    ids = utterance.input_ids[None]
    return {
        "audio_arousal": {
            "waveform": utterance.waveform[None],
            "waveform_length": np.array([len(utterance.waveform)]),
        },
        "text_valence": {"input_ids": ids, "attention_mask": np.ones_like(ids)},
        "emotion": {
            "audio_embedding": np.zeros((1, length.frames, width), dtype=np.float32),
            "audio_mask": np.ones((1, length.frames), dtype=np.bool_),
            "text_embedding": np.zeros((1, length.tokens, width), dtype=np.float32),
            "text_mask": np.ones((1, length.tokens), dtype=np.bool_),
        },
    }


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that `read` reads."""
    parser.add_argument("--preset", choices=get_args(Preset), default="starter", help="default: starter")
    parser.add_argument("--provider", choices=get_args(Provider), default="cpu", help="default: cpu")
    add_shared_options(parser)
    parser.add_argument("--mix", action="store_true", help="use KEMDy20's lengths instead")
    parser.add_argument("--batch", type=int, default=1, help="utterances per call (default: 1)")


def read(options: argparse.Namespace) -> Case:
    """The case that `options` describe."""
    length = None if options.mix else Length(options.seconds, options.tokens)
    precision: Precision | Literal["auto"] = options.precision or "auto"
    return Case(options.preset, precision, options.provider, options.threads or 0, length, options.batch)
