from collections import Counter

import pytest

from training.corpora.splits import fold_of, group_split, original_split, session_split, stable_hash

SESSIONS = range(1, 41)


def test_original_split_has_the_published_sizes() -> None:
    assert Counter(original_split(12_724)) == {"train": 9_161, "validation": 1_018, "test": 2_545}


def test_original_split_is_scikit_learns_with_random_state_1() -> None:
    # train_test_split(range(11), test_size=0.2, random_state=1), then test_size=0.1 of the rest, scikit-learn 1.9
    splits = original_split(11)
    assert [number for number, split in enumerate(splits) if split == "test"] == [2, 3, 4]
    assert [number for number, split in enumerate(splits) if split == "validation"] == [5]


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_original_split_of_a_handful(count: int) -> None:
    assert len(original_split(count)) == count


def test_every_session_is_tested_once_in_five_folds_of_eight() -> None:
    assert Counter(fold_of(session) for session in SESSIONS) == dict.fromkeys(range(5), 8)
    tested = [session for fold in range(5) for session in SESSIONS if session_split(session, fold) == "test"]
    assert sorted(tested) == list(SESSIONS)


@pytest.mark.parametrize("fold", range(5))
def test_a_fold_trains_on_28_sessions_and_validates_on_4(fold: int) -> None:
    splits = Counter(session_split(session, fold) for session in SESSIONS)
    assert splits == {"train": 28, "validation": 4, "test": 8}


def test_numbers_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="session 41"):
        session_split(41, 0)
    with pytest.raises(ValueError, match="fold 5"):
        session_split(1, 5)


def test_group_split_holds_out_a_tenth_and_at_least_one_of_three() -> None:
    assert Counter(group_split(map(str, range(50))).values()) == {"train": 40, "validation": 5, "test": 5}
    assert Counter(group_split("abc").values()) == {"train": 1, "validation": 1, "test": 1}
    assert set(group_split("ab").values()) == {"train"}
    assert group_split("abc") == group_split("cab")


def test_stable_hash_is_the_same_in_every_process() -> None:
    assert stable_hash("29354") == 2781135882340265741
