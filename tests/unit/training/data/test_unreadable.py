"""Texts for a classifier to be unsure of."""

from app.text import is_korean
from training.data.batches import label_shares
from training.data.unreadable import unreadable

CLASSES = ("neutral", "sad", "happy")


def test_unreadable_texts_speak_for_no_emotion() -> None:
    texts = unreadable(200, CLASSES, 1)
    assert all(label_shares(text, CLASSES) == [1 / 3] * 3 and text.emotion is None for text in texts)
    assert len({text.transcript for text in texts}) > 190
    foreign = [text for text in texts if not is_korean(text.transcript or "")]
    assert 100 < len(foreign) < 180  # the others are of Hangul that says nothing


def test_unreadable_texts_follow_from_the_seed() -> None:
    assert unreadable(5, CLASSES, 1) == unreadable(5, CLASSES, 1) != unreadable(5, CLASSES, 2)
