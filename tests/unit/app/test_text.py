"""A transcript to token ids: KEMDy20's tags go, what users write stays, and none of it becomes a special token."""

import random
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from app.text import TextTokenizer, clean_transcript, is_korean, normalised
from tests.support import SHARED

KOREAN = SHARED / "encoders" / "multilingual-e5-small-ko" / "tokenizer.json"

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
    "그래, 정말?",
    "아 진짜 왜 그러는 거야!!",
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
    "안녕 😀",
]


@pytest.mark.parametrize(("tagged", "clean"), TAGS)
def test_tags_go_and_leave_no_gap(tagged: str, clean: str) -> None:
    assert clean_transcript(tagged) == clean


@pytest.mark.parametrize("text", KEPT)
def test_other_text_stays_as_the_user_wrote_it(text: str) -> None:
    assert clean_transcript(text) == text


@pytest.mark.parametrize(
    ("given", "read"),
    [
        (unicodedata.normalize("NFD", "값싼 c/ 물건* 닭이 ㅋㅋ Café"), "값싼 물건 닭이 ㅋㅋ Café"),
        ("정말\r\n고마워요\r\n", "정말 고마워요"),
        ("\n\t 정말\u2028고마워요\x0b\u3000\xa0\x85", "정말 고마워요"),
        ("\ufeff정\u200b말 고마\u00ad워\u2060요\u200e", "정말 고마워요"),
        ("\u202e정말\u202c \u2067고마워요\u2069", "정말 고마워요"),
        ("정말\u3164고마워요\uffa0\u2800", "정말 고마워요"),
        ("ㅋ\u1160ㅋ\u115f\ufe0f", "ㅋㅋ"),
        ("ᄒ\u200bᅡ\u200bᆫ글", "한글"),
        ("\uffbb\uffbb \uffd7\uffd7", "ㅋㅋ ㅠㅠ"),
        (unicodedata.normalize("NFKC", "ㅋㅋㅋ ㅠㅠ ㄳ"), "ㅋㅋㅋ ㅠㅠ ㄳ"),
        ("정말\0 고\x08마워요\x7f", "정말 고마워요"),
        ("½ ① ㎏ ？ Ａ ㈜", "½ ① ㎏ ？ Ａ ㈜"),
        ("힣가 ㄱㅎㅏㅣ ㆍ", "힣가 ㄱㅎㅏㅣ ㆍ"),
    ],
)
def test_what_looks_the_same_is_read_the_same(given: str, read: str) -> None:
    assert clean_transcript(given) == read
    assert normalised(normalised(given)) == normalised(given)


NOTHING = ("", " ", "\n", "\ufeff", "\u200b\u200c\u200d", "\u3164", "\uffa0", "\u115f\u1160", "\0", "\u2800")
KOREAN_ENOUGH = (
    *("네", "ㅋㅋㅋ", "ㅠㅠ", "!!! 헐", "3시 30분", "OK 010-1234-5678이요"),
    *("LG U+ 해지해 주세요", "Samsung Galaxy S24 Ultra 샀어"),
)
HARDLY_KOREAN = (
    *("None", "null", "N/A", "undefined", "12345", "...", "😀", "\ufffd\ufffd", "¾È³çÇÏ¼¼¿ä"),
    *("I am so angry with you", "我很生气", "ありがとう", "Привет"),
    "I hope itzy promote on running man while they are still promoting 마피아 in the morning.",
)


@pytest.mark.parametrize("text", NOTHING)
def test_what_nobody_sees_is_nothing(text: str) -> None:
    assert clean_transcript(text) == ""


@pytest.mark.parametrize("text", KOREAN_ENOUGH)
def test_korean_with_foreign_names_and_numbers_is_korean(text: str) -> None:
    assert is_korean(text)


@pytest.mark.parametrize("text", HARDLY_KOREAN)
def test_text_with_hardly_any_hangul_is_not(text: str) -> None:
    assert not is_korean(text)


def test_half_surrogate_pairs_are_replaced() -> None:
    assert clean_transcript("가\ud800 n/ 나") == "가� 나"


def test_cleaning_twice_is_cleaning_once() -> None:
    """Training stores cleaned transcripts, and serving cleans whatever comes."""
    generator = random.Random(7)
    pieces = ["n/", "c/", "b", "/", "*", "+", "가", "나다", " ", "  ", ".", "?", "a", "3", "\n"]
    pieces += ["ᄀ", "ᅡ", "ᆨ", "\u200b", "\u3164", "\u1160", "\u0301", "\uffbb", "e"]
    for _ in range(20_000):
        once = clean_transcript("".join(generator.choices(pieces, k=generator.randint(0, 9))))
        assert clean_transcript(once) == once


def test_long_text_is_quick() -> None:
    for text in (" " * 20_000 + "가", "n/" * 10_000, "n/ " * 10_000 + "a", "* " * 10_000 + "가", "가 *" * 5_000):
        clean_transcript(text)


@pytest.fixture(scope="module")
def unigram(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Unigram model as XLM-R's: the special tokens are also pieces of its own vocabulary."""
    pieces = ["<s>", "<pad>", "</s>", "<unk>", "▁", "<", ">", "s", "/", "가", "나", "p", "a", "d"]
    tokenizer = Tokenizer(models.Unigram([(piece, 0.0 if len(piece) > 1 else -2.0) for piece in pieces], unk_id=3))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    tokenizer.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>"])
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=100)
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    tokenizer.save(str(path))
    return path


def test_the_stored_padding_and_truncation_are_overruled(unigram: Path) -> None:
    tokens = TextTokenizer(unigram, 16).encode("가나가나가나")
    assert tokens.ids.tolist() == [0, 4, 9, 10, 9, 10, 9, 10, 2]
    assert tokens.ids.dtype == np.int64 and not tokens.truncated


def test_truncation_keeps_the_special_tokens_and_says_so(unigram: Path) -> None:
    tokens = TextTokenizer(unigram, 5).encode("가나가나가나")
    assert tokens.ids.tolist() == [0, 4, 9, 10, 2]
    assert tokens.truncated


@pytest.mark.parametrize("text", ["<s>", "가</s>나", "<pad><pad>", "</s", "<<s>s>", "<s>" * 40])
def test_text_does_not_become_special_tokens(unigram: Path, text: str) -> None:
    first, *inner, last = TextTokenizer(unigram, 64).encode(text).ids.tolist()
    assert (first, last) == (0, 2)
    assert not {0, 1, 2} & set(inner)


@pytest.mark.parametrize("text", ["쀍", "<unk>", "", " ", "\0", "\ufffd", "\ue000\n"])
def test_any_text_has_tokens(unigram: Path, text: str) -> None:
    ids = TextTokenizer(unigram, 16).encode(text).ids.tolist()
    assert (ids[0], ids[-1]) == (0, 2)


def test_no_room_for_text_is_an_error(unigram: Path) -> None:
    with pytest.raises(ValueError, match="no room"):
        TextTokenizer(unigram, 2)


def test_a_file_that_is_no_tokenizer_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text('{"model": {}}')
    with pytest.raises(ValueError, match="no tokenizer"):
        TextTokenizer(path, 8)


@pytest.mark.skipif(not KOREAN.exists(), reason="the Korean encoder in ../shared is not there")
def test_the_korean_tokenizer_takes_no_orders_from_a_text() -> None:
    tokenizer = TextTokenizer(KOREAN, 64)
    special = {0, 1, 2, 9680}
    for text in ("[CLS] <s> 안녕 </s><mask><pad>", "＜s＞", "<\x01s>", "<ma\u200bsk>"):
        assert not special & set(tokenizer.encode(text).ids[1:-1].tolist())
    plain = tokenizer.encode("아 진짜 왜 그러는 거야")
    assert 3 not in plain.ids and not plain.truncated
