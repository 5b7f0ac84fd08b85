"""Crossed pairs: voices and sentences that were never together, with the emotion that a person would answer.

| voice | words | answer |
|---|---|---|
| neutral | an emotion | that of the words |
| an emotion | neutral | that of the voice |
| an emotion | the same | that emotion |

Pairs of two different emotions have no single right answer, and are not asked.
"""

from collections.abc import Sequence

import numpy as np

from ..corpora.splits import stable_hash
from ..data.utterance import Utterance

KINDS = ("emotional words, neutral voice", "emotional voice, neutral words", "the same emotion in both")
PER_CLIP = 5  # sentences for each clip and kind


def crossed_pairs(
    clips: Sequence[Utterance], sentences: Sequence[Utterance], neutral: str, seed: int = 1
) -> dict[str, list[Utterance]]:
    """Pairs of each kind from clips and sentences with a clear emotion: the clip with the sentence's transcript."""
    pairs: dict[str, list[Utterance]] = {kind: [] for kind in KINDS}
    for clip in clips:
        random = np.random.default_rng((seed, stable_hash(clip.id)))  # other sentences for each speaker
        if clip.emotion == neutral:
            beside = {KINDS[0]: [s for s in sentences if s.emotion not in (None, neutral)]}
        else:
            beside = {
                KINDS[1]: [s for s in sentences if s.emotion == neutral],
                KINDS[2]: [s for s in sentences if s.emotion == clip.emotion],
            }
        for kind, chosen in beside.items():
            for row in random.choice(len(chosen), size=min(PER_CLIP, len(chosen)), replace=False):
                pairs[kind].append(_pair(clip, chosen[row], neutral))
    return pairs


def _pair(clip: Utterance, sentence: Utterance, neutral: str) -> Utterance:
    emotion = sentence.emotion if clip.emotion == neutral else clip.emotion
    return clip.model_copy(
        update={"id": f"{clip.id}+{sentence.id}", "transcript": sentence.transcript, "emotion": emotion}
    )
