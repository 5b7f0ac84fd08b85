"""A `paper` run on a made-up KEMDy20 of the real one's proportions, and the curves of its three stages.

    python -m benchmarks.curves --output runs/curves

13,462 utterances in 40 sessions, split as published; 88 % of those with one of the five emotions are neutral. The
training is the `paper` preset's. Only the networks are smaller, the text encoder is a random one, and the clips last
0.3 to 0.5 s, so that one core suffices. The figures mean nothing: loudness and pitch follow the arousal, the transcript
follows the emotion. The run shows whether the losses fall, where the best epoch is, and how early stopping behaves with
so many neutral utterances.
"""

import argparse
import json
import shutil
import time
from collections import Counter
from pathlib import Path

import numpy as np
from accelerate import Accelerator

from app.store.versions import load_manifest
from tests.support.synthetic_kemdy20 import EMOTIONS, write_tree
from training.cli import main as maeum_train
from training.config import STAGES, load_preset
from training.data.utterance import UTTERANCES_FILE, read_utterances
from training.export.version import Release, export
from training.learning.run import train
from training.recipes.smoke import make_encoder

from .harness.machine import save

SESSIONS = range(1, 41)
# Of 13,462: as many as the published split and its augmented rows imply; 738 have no single one of the five emotions.
LABELS = {
    "neutral": 11_159,
    "happy": 1_157,
    "sad": 136,
    "angry": 136,
    "surprise": 136,
    "happy;neutral": 560,
    "fear": 90,
    "disqust": 88,
}
WIDTH = 96
LAYERS = {"audio": 2, "text": 2, "emotion": 1}
SMALL: dict[str, object] = {
    "audio.channels": [3, WIDTH // 32],
    **{f"{part}.block.layers": layers for part, layers in LAYERS.items()},
    **{f"{part}.block.feed_forward": 128 for part in LAYERS},
}
"""The sizes that differ from the published ones, by dotted key. Everything else is the preset's."""


def main() -> None:
    """Prepares, trains and exports, prints the curves, and saves them to `results/curves.json`."""
    parser = argparse.ArgumentParser(description="The curves of a paper run on a made-up KEMDy20. About an hour.")
    parser.add_argument("--output", type=Path, required=True, help="folder for the corpus and the run")
    parser.add_argument("--share", type=float, default=1.0, help="of the corpus, to try it (default: %(default)s)")
    options = parser.parse_args()
    began = time.monotonic()
    data = prepare(options.output, options.share)
    utterances = list(read_utterances(data / UTTERANCES_FILE))
    encoder = make_encoder(options.output / "encoder", [text for _, _, text in EMOTIONS.values()], WIDTH)
    config = load_preset("paper", {**SMALL, "text.encoder": str(encoder)})
    run = options.output / "run"
    scores = train(STAGES, config, utterances, run, Accelerator(cpu=True), resume=True)

    rows = [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    for stage in STAGES:
        print(f"\n{stage}: the best epoch has a score of {scores[stage]:.3f}")
        print("epoch  loss    validation loss  score")
        for row in (row for row in rows if row["stage"] == stage):
            print(f"{row['epoch']:5}  {row['loss']:.4f}  {row['validation_loss']:.4f}           {row['score']:.4f}")
    store = options.output / "store"
    shutil.rmtree(store, ignore_errors=True)
    version = export(run, store, Release("curves", "0.0.0", "Apache-2.0"), ["int8", "fp32"], utterances)
    figures = load_manifest(version).evaluation
    emotion = next(value for name, value in figures.items() if name.startswith("emotion") and name.endswith("both"))
    print(json.dumps(emotion, ensure_ascii=False, indent=1))
    splits = Counter(utterance.split for utterance in utterances)
    about = {"utterances": len(utterances), "splits": splits, "minutes": round((time.monotonic() - began) / 60, 1)}
    if options.share == 1:
        print(save("curves", [about, *rows, {"test": emotion}]))


def prepare(folder: Path, share: float) -> Path:
    """The folder of the prepared corpus, which is made once."""
    data = folder / "data"
    if not (data / UTTERANCES_FILE).is_file():
        labels = [label for label, count in LABELS.items() for _ in range(round(share * count))]
        np.random.default_rng(0).shuffle(labels)
        by_session = {session: labels[session - 1 :: len(SESSIONS)] for session in SESSIONS}
        write_tree(folder, SESSIONS, labels=by_session)
        source = str(folder / "KEMDy20_v1_1")
        given = ["--source", source, "--output", str(data), "--split", "original"]
        if maeum_train(["prepare", "kemdy20", *given]):
            raise SystemExit("The made-up corpus cannot be prepared.")
    return data


if __name__ == "__main__":
    main()
