"""Utterances become batches: nothing lost, little padded, the same order from the same seed."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from app.tokenizer import TextTokenizer
from training.data import NO_CLASS, Borrowing, Bucketed, DataError, Examples, by_length, collate
from training.smoke import WORDS, make_encoder
from training.utterance import Utterance

CLASSES = tuple(WORDS)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> TextTokenizer:
    return TextTokenizer(make_encoder(tmp_path_factory.mktemp("encoder")) / "tokenizer.json", 64)


def spoken(number: int, duration_s: float = 1.0) -> Utterance:
    return Utterance(id=f"u{number}", corpus="c", transcript="좋" * number, duration_s=duration_s)


def test_a_batch_says_what_is_missing(tmp_path: Path, wav: bytes, tokenizer: TextTokenizer) -> None:
    (tmp_path / "a.wav").write_bytes(wav)
    both = Utterance(id="both", corpus="c", audio=tmp_path / "a.wav", transcript="너무 좋아", emotion="sad", arousal=2)
    words = Utterance(id="words", corpus="c", transcript="그냥", emotion="fear", valence=3)
    batch = collate([Examples([both, words], tokenizer, 512)[i] for i in (0, 1)], CLASSES)
    assert batch.ids == ["both", "words"]
    assert batch.waveform_length.tolist() == [16_000, 0]
    assert not batch.waveform[1].any()
    assert batch.attention_mask.sum(dim=1).tolist() == [7, 4]
    assert batch.emotion.tolist() == [CLASSES.index("sad"), NO_CLASS]
    assert batch.arousal[0] == 2
    assert batch.arousal[1].isnan()
    assert batch.valence[0].isnan()


def test_audio_is_cut_at_the_longest_utterance(tmp_path: Path, wav: bytes) -> None:
    (tmp_path / "a.wav").write_bytes(wav)
    utterance = Utterance(id="u", corpus="c", audio=tmp_path / "a.wav")
    assert len(Examples([utterance], None, max_frames=10)[0].waveform) == 10 * 512 - 1


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    for name, said in (("a.wav", "u1.*a.wav"), ("none.wav", "u1.*none.wav")):
        with pytest.raises(DataError, match=said):
            Examples([Utterance(id="u1", corpus="c", audio=tmp_path / name)], None, 512)[0]


def test_buckets_hold_every_utterance_once_and_hardly_pad() -> None:
    random = np.random.default_rng(0)
    utterances = [spoken(i, float(random.uniform(0.3, 16))) for i in range(1000)]
    order = Bucketed(utterances, batch_size=16, seed=1)
    batches = list(order)
    assert sorted(i for batch in batches for i in batch) == list(range(1000))
    assert len(batches) == len(order)
    lengths = order.lengths
    padded = sum(len(batch) * lengths[batch].max() for batch in batches)
    assert padded < 1.25 * lengths.sum()
    assert list(Bucketed(utterances, 16, seed=1)) == batches
    order.epoch = 1
    assert list(order) != batches
    assert [i for batch in by_length(utterances, 16) for i in batch] == np.argsort(lengths, kind="stable").tolist()


def test_a_limited_epoch_is_a_random_part() -> None:
    utterances = [spoken(i) for i in range(100)]
    order = Bucketed(utterances, batch_size=10, seed=1, limit=3)
    first = {i for batch in order for i in batch}
    order.epoch = 1
    assert len(first) == 30
    assert {i for batch in order for i in batch} != first


def test_voices_borrow_words_mostly_of_their_own_emotion(tmp_path: Path, wav: bytes, tokenizer: TextTokenizer) -> None:
    (tmp_path / "a.wav").write_bytes(wav)
    texts = [Utterance(id=name, corpus="t", transcript=text, emotion=name) for name, text in WORDS.items()]
    voices = [Utterance(id=f"v{i}", corpus="v", audio=tmp_path / "a.wav", emotion="happy") for i in range(600)]
    examples = Borrowing([*texts, *voices], tokenizer, 512, share=0.5, seed=1)

    def borrowed() -> list[str | None]:
        return [examples[i].utterance.transcript for i in range(len(texts), len(examples))]

    found = Counter(borrowed())
    assert 240 < found[None] < 360
    assert found[WORDS["happy"]] > found[WORDS["neutral"]] > found[WORDS["angry"]] > 0
    assert Counter(borrowed()) == found
    examples.epoch = 1
    assert Counter(borrowed()) != found
    assert all(examples[i].utterance.emotion == "happy" for i in range(len(texts), len(examples)))
    assert examples[0].utterance.transcript == texts[0].transcript


def test_collate_needs_no_audio_at_all(tokenizer: TextTokenizer) -> None:
    batch = collate([Examples([spoken(3)], tokenizer, 512)[0]], CLASSES)
    assert batch.waveform.shape == (1, 1)
    assert torch.equal(batch.waveform_length, torch.tensor([0]))
