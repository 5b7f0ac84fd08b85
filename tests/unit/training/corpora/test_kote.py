"""KOTE's 44 labels as five emotions; the real comments where they are there."""

from collections import Counter
from pathlib import Path

import pytest

from training.corpora.kote import EMOTION_OF_LABEL, emotion_from, read_kote, votes_from
from training.corpora.tally import CorpusError, Report


def test_the_ids_are_the_corpus_s() -> None:
    labels = list(EMOTION_OF_LABEL)
    assert len(labels) == 44
    assert (labels[0], labels[5], labels[24], labels[39], labels[43]) == (
        "불평/불만",
        "슬픔",
        "없음",
        "놀람",
        "안심/신뢰",
    )


@pytest.mark.parametrize(
    ("labels", "emotion"),
    [
        (["기쁨", "행복", "안타까움/실망"], "happy"),
        (["불평/불만", "짜증", "의심/불신"], "angry"),
        (["슬픔"], "sad"),
        (["없음"], "neutral"),
        (["없음", "깨달음"], "neutral"),
        (["없음", "기대감"], "neutral"),
        (["없음", "기쁨", "행복"], "happy"),
        (["놀람", "당황/난처", "어이없음"], "surprise"),
        (["당황/난처", "신기함/관심"], None),
        (["기쁨", "슬픔"], None),
        (["공포/무서움", "깨달음"], None),
    ],
)
def test_a_comment_means_what_most_of_its_labels_mean(labels: list[str], emotion: str | None) -> None:
    assert emotion_from(labels) == emotion


def test_votes_are_shares_of_the_labels_that_are_read() -> None:
    assert votes_from(["기쁨", "행복", "슬픔", "의심/불신", "놀람"]) == {"happy": 0.5, "sad": 0.25, "surprise": 0.25}
    assert votes_from(["의심/불신"]) == {}


def test_kote_is_read_into_five_emotions(tmp_path: Path) -> None:
    folder = tmp_path / "kote"
    folder.mkdir()
    comments = "".join(f'{number}\t"정말 ""좋다"" {number}"\t42,40,5\n' for number in range(200))
    (folder / "val.tsv").write_text(comments + "900\t애매하다\t42,5\n902\t \t42\n", encoding="utf-8")
    (folder / "test.tsv").write_text("901\t사실이다\t24\n", encoding="utf-8")
    report = Report()
    utterances = list(read_kote(folder, report))
    assert report.left_out == {"kote: no text": 1}
    assert utterances[0].transcript == '정말 "좋다" 0'
    assert (utterances[0].emotion, utterances[0].votes) == ("happy", {"happy": 0.6667, "sad": 0.3333})
    splits = Counter(utterance.split for utterance in utterances)
    assert splits["test"] == 1
    assert 10 <= splits["validation"] <= 30
    assert utterances[-1].emotion == "neutral"
    assert utterances[0].tags == ("기쁨", "행복", "슬픔")
    (unclear,) = (utterance for utterance in utterances if utterance.id == "kote-900")
    assert (unclear.emotion, unclear.votes) == (None, {"happy": 0.5, "sad": 0.5})
    assert unclear.tags == ("기쁨", "슬픔")


def test_a_kote_comment_with_an_unknown_label_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "kote"
    folder.mkdir()
    (folder / "val.tsv").write_text("1\t글\t44\n", encoding="utf-8")
    with pytest.raises(CorpusError, match=r"val\.tsv, comment 1"):
        list(read_kote(folder, Report()))


def test_the_real_kote_has_every_emotion_in_every_split(shared_corpora: Path) -> None:
    utterances = list(read_kote(shared_corpora / "kote", Report()))
    counts = Counter((utterance.split, utterance.emotion) for utterance in utterances)
    assert len(counts) == 18  # five emotions and none, in three splits
    assert counts["test", "neutral"] > 100
    assert counts["test", "surprise"] > 100
