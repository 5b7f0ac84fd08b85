"""KoBERT's tokenizer against SentencePiece itself, and what is refused before a training starts."""

import csv
import json
import time
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertModel

from app.text import TextTokenizer
from tests.support import SHARED
from training.networks.kobert import SPECIAL, build_tokenizer
from training.networks.text_encoder import TOKENIZER, EncoderError, find_encoder, load_encoder
from training.networks.tokenizer import unknown_share, write_tokenizer

KOBERT = SHARED / "kobert" / "kobert_sentencepiece.model"
GOLDEN = SHARED / "kobert" / "golden.json"
KOTE = SHARED / "corpora" / "kote" / "test.tsv"
NOWHERE = "http://127.0.0.1:9"  # nothing listens on the port of the discard service

SENTENCES = (
    "오늘은 날씨가 정말 좋아서 기분이 너무 좋아요.",
    "아니 그게 왜 갑자기 그렇게 됐는지 모르겠어?",
    "어제 친구랑 싸웠는데 아직도 화가 나고 속상해!",
    '네 알겠습니다, 내일 오전까지 "꼭" 보내 드릴게요.',
    "CLS SEP 1,000원 12,345 [가] ㅋㅋㅋ ㅠㅠ",
)

sentencepiece = pytest.importorskip("sentencepiece", reason="the reference is not installed")
Reference = Callable[[str], list[int]]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small SentencePiece model, named and made as KoBERT's."""
    folder = tmp_path_factory.mktemp("sentencepiece")
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES * 20),
        model_prefix=str(folder / "spiece"),
        vocab_size=150,
        hard_vocab_limit=False,
        character_coverage=1.0,
        minloglevel=2,
    )
    return folder / "spiece.model"


@pytest.fixture(scope="module")
def size(model: Path) -> int:
    return build_tokenizer(model).get_vocab_size()


@pytest.fixture(scope="module")
def folder(model: Path, size: int) -> Path:
    """An encoder as the hub has KoBERT: no `tokenizer.json`."""
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=size, hidden_size=24, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, pad_token_id=1
    )
    BertModel(config, add_pooling_layer=False).save_pretrained(model.parent)
    return model.parent


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """An empty cache, and a hub that cannot be reached; gives the cache."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "ENDPOINT", NOWHERE)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    yield tmp_path / "cache"


def _reference(path: Path) -> Reference:
    """KoBERT's own tokenizer, in Python, on SentencePiece."""
    processor = sentencepiece.SentencePieceProcessor(model_file=str(path))
    pieces = sorted(
        processor.id_to_piece(index)
        for index in range(processor.get_piece_size())
        if not processor.is_control(index) and not processor.is_unknown(index)
    )
    ids = {piece: index for index, piece in enumerate([*SPECIAL, *pieces])}

    def encode(text: str) -> list[int]:
        text = " ".join(text.split()).replace("``", '"').replace("''", '"')
        letters = unicodedata.normalize("NFKD", text)
        text = "".join(letter for letter in letters if not unicodedata.combining(letter))
        return [2, *(ids.get(piece, 0) for piece in processor.encode(text, out_type=str)), 3]

    return encode


def _agreement(tokenizer: TextTokenizer, encode: Reference, texts: list[str]) -> list[str]:
    """The texts whose ids differ."""
    return [text for text in texts if tokenizer.encode(text).ids.tolist() != encode(text)]


def _written(name: Path, folder: Path, size: int) -> TextTokenizer:
    return TextTokenizer(write_tokenizer(str(name), folder, size), 10_000)


def test_ids_are_the_special_tokens_and_then_the_pieces_by_code_point(model: Path) -> None:
    tokenizer = build_tokenizer(model)
    tokens = [tokenizer.id_to_token(index) for index in range(tokenizer.get_vocab_size())]
    assert tokens[:5] == ["[UNK]", "[PAD]", "[CLS]", "[SEP]", "[MASK]"]
    assert tokens[5:] == sorted(tokens[5:])
    assert not {"<unk>", "<s>", "</s>"} & set(tokens)


@pytest.mark.parametrize(
    "text",
    [
        *SENTENCES,
        "",
        " \t\n ",
        "  앞뒤\u3000여백  ",
        "``따옴표''",
        "１２３ ＡＢＣ ㈜",
        unicodedata.normalize("NFD", "오늘은 날씨가 좋아요"),
        "café 쀍 😀",
        "ㅋㅋㅋㅋ ㅠㅠ",
    ],
)
def test_a_text_has_the_ids_that_sentencepiece_gives_it(folder: Path, size: int, tmp_path: Path, text: str) -> None:
    assert _agreement(_written(folder, tmp_path, size), _reference(folder / "spiece.model"), [text]) == []


@pytest.mark.parametrize("token", ["[CLS]", "[SEP]", "[PAD]", "[MASK]", "안[CLS]녕", "[CLS][SEP]" * 9])
def test_the_name_of_a_special_token_stays_text(folder: Path, size: int, tmp_path: Path, token: str) -> None:
    first, *inner, last = _written(folder, tmp_path, size).encode(token).ids.tolist()
    assert (first, last) == (2, 3)
    assert inner and not {1, 2, 3, 4} & set(inner)


def test_a_local_encoder_needs_no_hub(folder: Path, size: int, tmp_path: Path, no_hub: Path) -> None:
    assert load_encoder(str(folder)).config.vocab_size == size
    assert _written(folder, tmp_path / "run", size).encode("오늘은").ids.tolist()[0] == 2
    assert not no_hub.exists()


def test_a_cached_encoder_needs_no_hub(folder: Path, no_hub: Path) -> None:
    cached = no_hub / "models--skt--kobert-base-v1"
    (cached / "snapshots").mkdir(parents=True)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("0" * 40)
    (cached / "snapshots" / ("0" * 40)).symlink_to(folder)
    assert load_encoder("skt/kobert-base-v1").config.hidden_size == 24
    assert (find_encoder("skt/kobert-base-v1", parts=(TOKENIZER,)) / "spiece.model").is_file()


def test_a_hub_out_of_reach_is_an_error_at_once(no_hub: Path) -> None:
    started = time.monotonic()
    with pytest.raises(EncoderError, match=r"skt/kobert-base-v1 cannot be loaded: .*refused"):
        load_encoder("skt/kobert-base-v1")
    assert time.monotonic() - started < 10  # the hub's own client tries for 23 s


def test_the_hub_is_left_alone_where_that_was_asked_for(no_hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(EncoderError, match="HF_HUB_OFFLINE"):
        load_encoder("skt/kobert-base-v1")


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path, no_hub: Path) -> None:
    with pytest.raises(EncoderError, match="neither a folder nor a valid name"):
        load_encoder(str(tmp_path / "none"))


def test_a_tokenizer_that_knows_no_hangul_is_refused(tmp_path: Path) -> None:
    """Like the one that `transformers` 5 makes of KoBERT: every word in Hangul is unknown."""
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "yes": 3}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    for transcripts in (None, ["그래", "yes"]):
        with pytest.raises(EncoderError, match="100% of the Hangul"):
            write_tokenizer(str(tmp_path), tmp_path / "run", 4, transcripts)
    write_tokenizer(str(tmp_path), tmp_path / "run", 4, ["yes", "no", "ㅋㅋ"])  # nothing in Hangul to be read


def test_another_encoders_sentencepiece_model_is_refused(folder: Path, size: int, tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="it is not KoBERT's"):
        write_tokenizer(str(folder), tmp_path, size + 2)


def test_a_broken_model_is_refused(model: Path, size: int, tmp_path: Path) -> None:
    for name, content in (("half", model.read_bytes()[:-7000]), ("noise", b"\x07 no model"), ("nothing", b"")):
        source = tmp_path / name
        source.mkdir()
        (source / "kobert.model").write_bytes(content)
        with pytest.raises(EncoderError, match=r"kobert\.model"):
            write_tokenizer(str(source), tmp_path / "run", size)


def test_one_model_must_be_found(model: Path, size: int, tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="it has neither"):
        write_tokenizer(str(tmp_path), tmp_path / "run", size)
    for name in ("a.model", "b.model"):
        (tmp_path / name).write_bytes(model.read_bytes())
    with pytest.raises(EncoderError, match=r"it has a\.model, b\.model"):
        write_tokenizer(str(tmp_path), tmp_path / "run", size)
    (tmp_path / "spiece.model").write_bytes(model.read_bytes())
    assert write_tokenizer(str(tmp_path), tmp_path / "run", size, []).is_file()


@pytest.fixture(scope="module")
def kobert(tmp_path_factory: pytest.TempPathFactory) -> TextTokenizer:
    if not KOBERT.exists():
        pytest.skip("KoBERT's SentencePiece model in ../shared is not there")
    return _written(KOBERT.parent, tmp_path_factory.mktemp("kobert"), 8002)


def test_kobert_has_its_published_ids(kobert: TextTokenizer) -> None:
    ids = kobert.encode("한국어 모델을 공유합니다.").ids.tolist()
    assert ids == [2, 4958, 6855, 2046, 7088, 1050, 7843, 54, 3]


def test_kobert_agrees_with_the_golden_file(kobert: TextTokenizer) -> None:
    cases = json.loads(GOLDEN.read_text(encoding="utf-8"))["cases"]
    differ = [case for case in cases if kobert.encode(case["text"]).ids.tolist() != case["ids"]]
    assert len(differ) <= 1
    for case in differ:  # a run of dots, cut elsewhere into the same dots
        ids = kobert.encode(case["text"]).ids.tolist()
        assert sorted(ids) == sorted(case["ids"]) and "...." in case["text"]


@pytest.mark.skipif(not KOTE.exists(), reason="the KOTE texts in ../shared are not there")
def test_kobert_agrees_with_sentencepiece_on_four_thousand_texts(kobert: TextTokenizer) -> None:
    with KOTE.open(encoding="utf-8", newline="") as file:
        texts = [row[1] for row in csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)][:4000]
    assert len(texts) == 4000
    assert len(_agreement(kobert, _reference(KOBERT), texts)) <= 20  # 99.5 %
    assert unknown_share(kobert, texts) < 0.02
