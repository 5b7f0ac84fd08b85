"""Token ids: limits, special tokens, and what a user's text must not become."""

from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from app.tokenizer import TextTokenizer
from tests.support import SHARED

KOREAN = SHARED / "encoders" / "multilingual-e5-small-ko" / "tokenizer.json"


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
