"""Utterances become batches: nothing lost, little padded, the same order from the same seed."""

from pathlib import Path

import numpy as np
import pytest
import torch

from app.text import TextTokenizer
from training.config import Augmentation
from training.data.batches import NO_CLASS, Bucketed, by_length, collate, loader
from training.data.examples import DataError, Examples, TrainingExamples
from training.data.utterance import Utterance
from training.recipes.smoke import TRANSCRIPTS, make_encoder

CLASSES = tuple(TRANSCRIPTS)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> TextTokenizer:
    return TextTokenizer(make_encoder(tmp_path_factory.mktemp("encoder")) / "tokenizer.json", 64)


def spoken(number: int, duration_s: float = 1.0) -> Utterance:
    return Utterance(id=f"u{number}", corpus="c", transcript="좋" * number, duration_s=duration_s)


def test_a_batch_marks_missing_values(tmp_path: Path, wav: bytes, tokenizer: TextTokenizer) -> None:
    (tmp_path / "a.wav").write_bytes(wav)
    both = Utterance(id="both", corpus="c", audio=tmp_path / "a.wav", transcript="너무 좋아", emotion="sad", arousal=2)
    text = Utterance(id="text", corpus="c", transcript="그냥", emotion="fear", valence=3)
    batch = collate([Examples([both, text], tokenizer, 512)[i] for i in (0, 1)], CLASSES)
    assert batch.ids == ["both", "text"]
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
    for name, message in (("a.wav", "u1.*a.wav"), ("none.wav", "u1.*none.wav")):
        with pytest.raises(DataError, match=message):
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


def test_collate_needs_no_audio_at_all(tokenizer: TextTokenizer) -> None:
    batch = collate([Examples([spoken(3)], tokenizer, 512)[0]], CLASSES)
    assert batch.waveform.shape == (1, 1)
    assert torch.equal(batch.waveform_length, torch.tensor([0]))


def test_of_several_processes_each_takes_its_own_batches() -> None:
    utterances = [spoken(i) for i in range(100)]
    orders = [list(Bucketed(utterances, 8, seed=1, process=rank, processes=3)) for rank in range(3)]
    assert len({len(order) for order in orders}) == 1
    met = [i for order in orders for batch in order for i in batch]
    assert len(met) == len(set(met)) == 96


def test_an_epoch_goes_on_where_it_stopped() -> None:
    utterances = [spoken(i) for i in range(100)]
    order = Bucketed(utterances, 8, seed=1)
    whole = list(order)
    order.start = 5
    assert list(order) == whole[5:]
    assert len(order) == len(whole) - 5


def test_balanced_order_draws_the_classes_equally_often() -> None:
    emotions = ["neutral"] * 900 + ["angry"] * 100
    utterances = [Utterance(id=str(i), corpus="c", emotion=emotion) for i, emotion in enumerate(emotions)]
    met = [i for batch in Bucketed(utterances, 10, seed=1, balanced=("neutral", "angry")) for i in batch]
    assert len(met) == 1000
    assert 0.4 < np.mean([emotions[i] == "angry" for i in met]) < 0.6


def test_a_tie_is_learned_by_its_votes() -> None:
    tie = Utterance(id="t", corpus="c", transcript="좋", votes={"happy": 0.3, "neutral": 0.3, "fear": 0.4})
    batch = collate([Examples([tie], None, 512)[0]], CLASSES)
    shares = dict(zip(CLASSES, batch.votes[0].tolist(), strict=True))
    assert shares["happy"] == shares["neutral"] == pytest.approx(0.5)
    assert batch.emotion.tolist() == [NO_CLASS]


def test_a_batch_in_parts_holds_the_same_utterances(tokenizer: TextTokenizer) -> None:
    examples = Examples([spoken(i + 1) for i in range(7)], tokenizer, 512)
    (parts,) = loader(examples, CLASSES, [list(range(7))], parts=3)
    assert [len(part.ids) for part in parts] == [3, 3, 1]
    assert [name for part in parts for name in part.ids] == [f"u{i + 1}" for i in range(7)]


@pytest.fixture
def rare(tmp_path: Path, wav: bytes) -> list[Utterance]:
    (tmp_path / "a.wav").write_bytes(wav)
    transcript = "그냥 있어 너무 슬퍼 정말 좋아 아니 뭐야 진짜 화나"
    return [
        Utterance(id=f"{emotion}{i}", corpus="c", audio=tmp_path / "a.wav", transcript=transcript, emotion=emotion)
        for i in range(4)
        for emotion in ("neutral", "angry")
    ]


def test_fixed_copies_of_the_rare_classes_stay_the_same(rare: list[Utterance], tokenizer: TextTokenizer) -> None:
    examples = TrainingExamples(rare, tokenizer, 512, Augmentation(mode="copies"), seed=1)
    assert len(examples) == 8 + 3 * 4
    plain = examples[0].input_ids
    swapped, masked, deleted = (examples[8 + 4 * k] for k in range(3))
    assert sorted(swapped.input_ids) == sorted(plain)
    moved = (swapped.input_ids != plain).sum()
    assert 0 < moved <= round(0.3 * (len(plain) - 2)) + 1
    assert swapped.band is None
    assert masked.input_ids.tolist() == plain.tolist()
    assert masked.band is not None and deleted.band is not None
    assert len(deleted.input_ids) == len(plain) - round(0.3 * (len(plain) - 2))
    assert deleted.input_ids[0] == plain[0] and deleted.input_ids[-1] == plain[-1]
    other = examples[8 + 4 + 1].band  # each copy has a draw of its own
    assert other is not None and (other.start, other.noise.shape) != (masked.band.start, masked.band.noise.shape)
    examples.epoch = 1
    again = examples[8 + 4].band
    assert again is not None and np.array_equal(again.noise, masked.band.noise)


def test_on_the_fly_each_epoch_is_drawn_anew(rare: list[Utterance], tokenizer: TextTokenizer) -> None:
    examples = TrainingExamples(rare, tokenizer, 512, Augmentation(mode="on_the_fly", share=1.0), seed=1)
    assert len(examples) == 8

    def seen() -> list[tuple[list[int], int]]:
        found = [examples[i] for i in range(8)]
        return [(e.input_ids.tolist(), -1 if e.band is None else e.band.start) for e in found]

    first = seen()
    assert seen() == first
    examples.epoch = 1
    assert seen() != first
    plain = Examples(rare, tokenizer, 512)[0].input_ids.tolist()
    assert all(first[i] == (plain, -1) for i in range(0, 8, 2))  # neutral is not rare


def test_band_is_as_published(rare: list[Utterance]) -> None:
    examples = TrainingExamples(rare * 40, None, 512, Augmentation(mode="on_the_fly", share=1.0), seed=1)
    bands = [band for i in range(len(examples)) if (band := examples[i].band) is not None]
    assert {band.noise.shape[0] for band in bands} == {1 + 16_000 // 512}
    assert all(band.noise.shape[1] >= 10 or band.start + band.noise.shape[1] == 128 for band in bands)
    assert max(band.noise.shape[1] for band in bands) <= 29
    assert all((band.noise >= -80).all() and (band.noise <= 0).all() for band in bands)


def test_ties_are_no_class_of_their_own() -> None:
    ties = [Utterance(id=f"t{i}", corpus="c", votes={"neutral": 0.5, "angry": 0.5}) for i in range(100)]
    plain = [Utterance(id=str(i), corpus="c", emotion="angry" if i % 9 == 0 else "neutral") for i in range(900)]
    met = [i for batch in Bucketed([*ties, *plain], 10, seed=1, balanced=("neutral", "angry")) for i in batch]
    assert np.mean([i < 100 for i in met]) < 0.35
    angry = np.mean([0.5 if i < 100 else plain[i - 100].emotion == "angry" for i in met])
    assert 0.4 < angry < 0.6


@pytest.mark.parametrize("count", [2, 3, 4, 5, 19, 20, 33, 64, 65])
@pytest.mark.parametrize("processes", [1, 2, 3])
def test_every_process_has_as_many_batches_as_the_others(count: int, processes: int) -> None:
    if count < processes:
        with pytest.raises(ValueError, match="too few for 3 processes"):
            Bucketed([spoken(i) for i in range(count)], 32, seed=1, processes=processes)
        return
    orders = [
        list(Bucketed([spoken(i) for i in range(count)], 32, seed=1, process=rank, processes=processes))
        for rank in range(processes)
    ]
    (steps,) = {len(order) for order in orders}
    assert steps >= 1
    assert all(batch for order in orders for batch in order)
