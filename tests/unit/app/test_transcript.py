"""KEMDy20's tags go, what users write stays."""

import random

import pytest

from app.transcript import clean_transcript

TAGS = [
    ("c/ 네 저는 그게", "네 저는 그게"),
    ("네 n/ 저는 b/ 그게", "네 저는 그게"),
    ("n/ N/ u/ l/ b/", ""),
    ("c/n/ 네", "네"),
    ("저는c/ 그게", "저는 그게"),
    ("저는 c/그게", "저는 그게"),
    ("저는c/그게", "저는 그게"),
    ("네.n/ 응", "네. 응"),
    ("네 l/.", "네."),
    ("b/, 네", ", 네"),
    ("정말u/?", "정말?"),
    ("  n/  ", ""),
    ("그+ 그러니까", "그 그러니까"),
    ("먹었어* 그래서", "먹었어 그래서"),
    ("어/ 그게 음/, 맞아", "어 그게 음, 맞아"),
    ("음/ n/ 저*+ 저는요+.", "음 저 저는요."),
    ("*", ""),
    ("n/ * b/", ""),
    ("+ 그러니까", "그러니까"),
    ("그래서 /", "그래서"),
]

KEPT = [
    "",
    " ",
    "그래, 정말?",
    "아 진짜  왜\n그러는 거야!!",
    "and/or n/a N/A b/c w/ c/o in/out",
    "3/4 24/7 09/01 2*3 1+1은 2",
    "C++ C/C++ A/S TV/라디오",
    "https://example.com/n/ http://a.b/ file:///c/ 참고",
    "재미+감동 공포/스릴러 살았다/죽었다",
    "**** ^^* *^^* *_* +_+ ㅋㅋ//",
    "매력넘친다*.* 좋아",
    "시티 + 도시 / 2 * 3",
    "C/ U/ x/ 5n/ n/5",
    "그래//",
    "\0",
    "안녕 😀",
]


@pytest.mark.parametrize(("tagged", "clean"), TAGS)
def test_tags_go_and_leave_no_gap(tagged: str, clean: str) -> None:
    assert clean_transcript(tagged) == clean


@pytest.mark.parametrize("text", KEPT)
def test_other_text_stays_as_the_user_wrote_it(text: str) -> None:
    assert clean_transcript(text) == text


def test_half_surrogate_pairs_are_replaced() -> None:
    assert clean_transcript("가\ud800 n/ 나") == "가� 나"


def test_cleaning_twice_is_cleaning_once() -> None:
    """Training stores cleaned transcripts, and serving cleans whatever comes."""
    generator = random.Random(7)
    pieces = ["n/", "c/", "b", "/", "*", "+", "가", "나다", " ", "  ", ".", "?", "a", "3", "\n"]
    for _ in range(20_000):
        once = clean_transcript("".join(generator.choices(pieces, k=generator.randint(0, 9))))
        assert clean_transcript(once) == once


def test_long_text_is_quick() -> None:
    for text in (" " * 20_000 + "가", "n/" * 10_000, "n/ " * 10_000 + "a", "* " * 10_000 + "가", "가 *" * 5_000):
        clean_transcript(text)
