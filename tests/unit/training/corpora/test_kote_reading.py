import pytest

from training.corpora.kote import READING, emotion_from, votes_from


def test_the_ids_are_the_corpus_s() -> None:
    labels = list(READING)
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
