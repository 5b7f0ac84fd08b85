"""Texts that no Korean reader can judge, so that a classifier learns to be unsure of them.

Letters of other scripts, syllables at random and digits. Real English and mistyped Korean look like this to a tokenizer
that was cut to Korean.
"""

from collections.abc import Sequence

import numpy as np

from .utterance import Utterance

CORPUS = "unreadable"
_LATIN = "abcdefghijklmnopqrstuvwxyz"
_OFTEN = "etaoinshrdlu"  # the letters that make up most English text
_DIGITS = "0123456789"
_FIRST_SYLLABLE, _SYLLABLES = 0xAC00, 11_172


def unreadable(count: int, classes: Sequence[str], seed: int) -> list[Utterance]:
    """`count` texts of one to twelve words for training, each emotion of `classes` as likely as the others."""
    random = np.random.default_rng(seed)
    votes = dict.fromkeys(classes, 1 / len(classes))
    return [
        Utterance(id=f"{CORPUS}-{number}", corpus=CORPUS, transcript=_text(random), votes=votes, split="train")
        for number in range(count)
    ]


def _text(random: np.random.Generator) -> str:
    letters = (_LATIN + 3 * _OFTEN, _syllables(random), _DIGITS)[random.choice(3, p=(0.6, 0.3, 0.1))]
    words = ["".join(random.choice(list(letters), size=random.integers(1, 9))) for _ in range(random.integers(1, 13))]
    text = " ".join(words)
    return text.capitalize() + random.choice(["", ".", "?", "!"])


def _syllables(random: np.random.Generator) -> str:
    return "".join(chr(_FIRST_SYLLABLE + int(k)) for k in random.integers(_SYLLABLES, size=40))
