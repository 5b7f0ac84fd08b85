"""The project's own corpus of everyday sentences: whole, without repetition, and split by domain."""

import re
from collections import Counter, defaultdict

from training.corpora.spoken_ko import agreement, read_sentences, read_spoken_ko

EMOTIONS = {"neutral", "sad", "happy", "surprise", "angry"}


def test_no_two_sentences_are_alike() -> None:
    sentences = [sentence.text for sentence in read_sentences()]
    assert len(sentences) >= 3_000
    bare = Counter(re.sub(r"[\W_]", "", text) for text in sentences)
    assert not [text for text, count in bare.items() if count > 1]
    assert all(text == text.strip() and re.search("[ㄱ-ㅎ가-힣]", text) for text in sentences)


def test_labels_are_of_the_five_emotions_and_on_the_scale() -> None:
    for sentence in read_sentences():
        assert {sentence.emotion, sentence.emotion_2} <= EMOTIONS | {None} and sentence.emotion
        assert 1 <= sentence.valence <= 5 and 1 <= (sentence.valence_2 or 3.0) <= 5
        assert (sentence.emotion_2 is None) == (sentence.valence_2 is None)


def test_every_domain_has_every_emotion_in_every_split() -> None:
    found: defaultdict[tuple[str | None, str], set[str | None]] = defaultdict(set)
    for utterance in read_spoken_ko():
        found[utterance.session, utterance.split].add(utterance.emotion)
    assert len({domain for domain, _ in found}) == 17
    for domain, split in found:
        assert len(found[domain, "train"] & EMOTIONS) == 5
        if domain == "narration":  # which is nearly all neutral
            continue
        assert len(found[domain, split] & EMOTIONS) >= 3, (domain, split)
    splits = Counter(utterance.split for utterance in read_spoken_ko())
    assert splits["train"] > 0.75 * splits.total() and min(splits["test"], splits["validation"]) > 250


def test_a_sentence_that_was_read_differently_has_both_emotions() -> None:
    utterances = dict(zip(read_sentences(), read_spoken_ko(), strict=True))
    for sentence, utterance in utterances.items():
        assert utterance.valence is not None
        second = sentence.valence if sentence.valence_2 is None else sentence.valence_2
        assert abs(utterance.valence - (sentence.valence + second) / 2) < 1e-3
        if sentence.emotion_2 is None:
            assert utterance.emotion == sentence.emotion and utterance.split == "train"
        elif sentence.emotion == sentence.emotion_2:
            assert utterance.emotion == sentence.emotion and utterance.votes == {sentence.emotion: 1.0}
        else:
            assert utterance.emotion is None
            assert utterance.votes == {sentence.emotion: 0.5, sentence.emotion_2: 0.5}
    assert any(utterance.emotion is None for utterance in utterances.values())


def test_the_readings_agree_as_the_description_says() -> None:
    found = agreement()
    assert (round(found["equal"], 2), round(found["kappa"], 2)) == (0.97, 0.97)
    assert (round(found["correlation"], 2), round(found["difference"], 2)) == (0.95, 0.21)
