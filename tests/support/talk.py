"""A corpus of rated talk."""

from collections.abc import Sequence
from pathlib import Path

from tests.support.tiny_version import CLASSES
from training.data.utterance import Split, Utterance


def rated_talk(audio: Path, splits: Sequence[Split]) -> list[Utterance]:
    """One utterance per split: six speakers, women and men in turn, every class and rating, all with the same clip."""
    return [
        Utterance(
            id=f"talk{k}",
            corpus="talk",
            speaker=f"s{k % 6}",
            gender="female" if k % 2 else "male",
            audio=audio,
            transcript="정말" * (1 + k % 3),
            emotion=CLASSES[k % 5],
            arousal=1 + k % 5,
            valence=1 + k % 4,
            split=split,
        )
        for k, split in enumerate(splits)
    ]
