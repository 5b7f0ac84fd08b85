"""Checks that an engine agrees with the CPU in float32: every head, unequal lengths, missing modalities.

    python -m benchmarks.agree --preset paper --provider cuda --precision fp16

This measures no speed; `gpu.sh` runs it first. It fails if an answer differs from the reference, or from the same
utterance alone, by more than the drift in the version's manifest (fp32: more than 1e-4).
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace

from app.engine.engine import ModelInput, Prediction
from app.engine.load import load_model

from .workload.case import add_options, read
from .workload.lengths import draw_lengths, make
from .workload.options import version

UTTERANCES = 48
FP32 = 1e-4


def main() -> int:
    """Prints the largest difference of every head; returns exit code 1 if one is too large."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add_options(parser)
    case = read(parser.parse_args())
    utterances = _utterances()
    model = load_model(case.settings())
    manifest = version(case.settings())[1]
    has_fp32 = "fp32" in manifest.graphs  # the starter has none: compare with the same precision on the CPU
    reference = load_model(replace(case, provider="cpu", precision="fp32" if has_fp32 else model.precision).settings())
    together = [found for at in range(0, UTTERANCES, 16) for found in model.predict(utterances[at : at + 16])]
    alone = [model.predict([utterance])[0] for utterance in utterances]
    truth = [reference.predict([utterance])[0] for utterance in utterances]

    drift = manifest.drift.get(model.precision, {})
    heads = {"arousal": "arousal", "valence": "valence", "emotion": "logits"}
    allowed = {head: FP32 if model.precision == "fp32" else drift[output] for head, output in heads.items()}
    failed = False
    for name, others in ((f"the CPU in {reference.precision}", truth), ("the same alone", alone)):
        for head, difference in _differences(together, others).items():
            good = difference <= allowed[head]
            failed |= not good
            verdict = "" if good else f"  more than {allowed[head]:.1e}"
            print(f"{model.provider} {model.precision} against {name:16} {head:8} {difference:.1e}{verdict}")
    return int(failed)


def _utterances() -> list[ModelInput]:
    """KEMDy20's lengths. Every second of three has no transcript, every third no audio."""
    both = [make(length.seconds, length.tokens, 8000, seed) for seed, length in enumerate(draw_lengths(UTTERANCES))]
    kinds = ((True, True), (True, False), (False, True))
    return [
        ModelInput(utterance.waveform if audio else None, utterance.input_ids if text else None)
        for utterance, (audio, text) in zip(both, kinds * (UTTERANCES // 3), strict=True)
    ]


def _differences(found: Sequence[Prediction], truth: Sequence[Prediction]) -> dict[str, float]:
    """The largest difference of each head. Emotion compares probabilities, which move less than logits do."""
    pairs = list(zip(found, truth, strict=True))
    return {
        "arousal": max(abs(a.arousal - b.arousal) for a, b in pairs if a.arousal is not None and b.arousal is not None),
        "valence": max(abs(a.valence - b.valence) for a, b in pairs if a.valence is not None and b.valence is not None),
        "emotion": max(abs(p - q) for a, b in pairs for p, q in zip(a.probabilities, b.probabilities, strict=True)),
    }


if __name__ == "__main__":
    sys.exit(main())
