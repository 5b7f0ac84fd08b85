"""The train, validation and test splits: as published, or without common speakers."""

import hashlib
import math
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from ..data.utterance import Split

Indices = npt.NDArray[np.int64]

FOLDS = 5
SESSIONS_PER_FOLD = 8
VALIDATION_SESSIONS = 4
"""Half of the next fold: 28 sessions train, 4 validate, 8 test, near the published 72, 8 and 20 %."""


def original_split(count: int) -> list[Split]:
    """The published split of `count` utterances in corpus order: 20 % test, then 10 % of the rest validation.

    Equal to scikit-learn's `train_test_split(..., random_state=1)` called twice. It is over utterances, so speakers are
    both in train and in test: use it to compare with the published figures, not to estimate results for other speakers.
    """
    rest, test = _shuffled(np.arange(count), 0.2)
    _, validation = _shuffled(rest, 0.1)
    splits: list[Split] = ["train"] * count
    for index in test:
        splits[index] = "test"
    for index in validation:
        splits[index] = "validation"
    return splits


def _shuffled(items: Indices, held_out: float) -> tuple[Indices, Indices]:
    order = np.random.RandomState(1).permutation(len(items))
    size = math.ceil(held_out * len(items))
    return items[order[size:]], items[order[:size]]


def fold_of(session: int) -> int:
    """The fold, 0..4, that tests `session` (1..40): sessions 1 to 8 are fold 0, 9 to 16 fold 1, and so on.

    Raises ValueError for another session number.
    """
    if not 1 <= session <= FOLDS * SESSIONS_PER_FOLD:
        raise ValueError(f"session {session} is not one of 1..{FOLDS * SESSIONS_PER_FOLD}")
    return (session - 1) // SESSIONS_PER_FOLD


def session_split(session: int, fold: int) -> Split:
    """The split of `session` (1..40) in `fold` (0..4): the fold's own sessions test, the first four of the next fold
    (the first follows the last) validate, the others train. No speaker is in two sessions, so none is in two splits.
    Raises ValueError for numbers out of range.
    """
    if not 0 <= fold < FOLDS:
        raise ValueError(f"fold {fold} is not one of 0..{FOLDS - 1}")
    own = fold_of(session)
    if own == fold:
        return "test"
    if own == (fold + 1) % FOLDS and (session - 1) % SESSIONS_PER_FOLD < VALIDATION_SESSIONS:
        return "validation"
    return "train"


def group_split(groups: Iterable[str]) -> dict[str, Split]:
    """10 % of the groups (speakers, sessions) test, 10 % validate: at least one each if there are three groups."""
    ordered = sorted(set(groups), key=stable_hash)
    held_out = max(1, round(0.1 * len(ordered))) if len(ordered) >= 3 else 0
    splits: dict[str, Split] = dict.fromkeys(ordered, "train")
    splits.update(dict.fromkeys(ordered[:held_out], "test"))
    splits.update(dict.fromkeys(ordered[held_out : 2 * held_out], "validation"))
    return splits


def stable_hash(text: str) -> int:
    """A 64-bit hash of `text`, the same in every process and on every machine, unlike `hash()`."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
