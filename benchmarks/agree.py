"""Whether an engine answers as the CPU does in float32: every head, unequal lengths, a modality missing.

    python -m benchmarks.agree --preset paper --provider cuda --precision fp16

Not a benchmark of speed: what `gpu.sh` asks before it measures. Fails where an answer is off by more than the version's
manifest says, or for fp32 by more than 1e-4, and where an answer changes with its batch by as much.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace

from app.engine.engine import Prediction, Utterance
from app.engine.load import load_model

from .workload.case import add_options, read
from .workload.lengths import draw_lengths, make
from .workload.options import version

UTTERANCES = 48
FP32 = 1e-4


def main() -> int:
    """Prints the largest difference of every head; the exit code is 1 where one is too large."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add_options(parser)
    case = read(parser.parse_args())
    utterances = _utterances()
    model = load_model(case.settings())
    manifest = version(case.settings())[1]
    has_fp32 = "fp32" in manifest.graphs  # the starter has not: then the same precision on the CPU
    reference = load_model(replace(case, provider="cpu", precision="fp32" if has_fp32 else model.precision).settings())
    together = [found for at in range(0, UTTERANCES, 16) for found in model.predict(utterances[at : at + 16])]
    alone = [model.predict([utterance])[0] for utterance in utterances]
    truth = [reference.predict([utterance])[0] for utterance in utterances]

    drift = manifest.drift.get(model.precision, {})
    heads = {"arousal": "arousal", "valence": "valence", "emotion": "logits"}
    allowed = {head: FP32 if model.precision == "fp32" else drift[output] for head, output in heads.items()}
    failed = False
    for what, others in ((f"the CPU in {reference.precision}", truth), ("the same alone", alone)):
        for head, difference in _differences(together, others).items():
            good = difference <= allowed[head]
            failed |= not good
            verdict = "" if good else f"  more than {allowed[head]:.1e}"
            print(f"{model.provider} {model.precision} against {what:16} {head:8} {difference:.1e}{verdict}")
    return int(failed)


def _utterances() -> list[Utterance]:
    """Lengths of KEMDy20's; of three, one has no transcript and one no audio."""
    both = [make(length.seconds, length.tokens, 8000, seed) for seed, length in enumerate(draw_lengths(UTTERANCES))]
    kinds = ((True, True), (True, False), (False, True))
    return [
        Utterance(utterance.waveform if heard else None, utterance.input_ids if read else None)
        for utterance, (heard, read) in zip(both, kinds * (UTTERANCES // 3), strict=True)
    ]


def _differences(found: Sequence[Prediction], truth: Sequence[Prediction]) -> dict[str, float]:
    """The largest of each head; the emotion's is of probabilities, which move less than logits do."""
    pairs = list(zip(found, truth, strict=True))
    return {
        "arousal": max(abs(a.arousal - b.arousal) for a, b in pairs if a.arousal is not None and b.arousal is not None),
        "valence": max(abs(a.valence - b.valence) for a, b in pairs if a.valence is not None and b.valence is not None),
        "emotion": max(abs(p - q) for a, b in pairs for p, q in zip(a.probabilities, b.probabilities, strict=True)),
    }


if __name__ == "__main__":
    sys.exit(main())
