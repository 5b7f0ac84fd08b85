"""The tokenizer of an encoder as `tokenizer.json`, the one file that serving reads: copied, or built if missing.

A tokenizer that cannot read Hangul is refused: training would run without an error, and learn nothing.
"""

import re
import shutil
from collections.abc import Iterable, Sequence
from itertools import chain, islice
from pathlib import Path

from tokenizers import Tokenizer

from app.text import TextTokenizer

from .kobert import build_tokenizer
from .text_encoder import TOKENIZER, TOKENIZER_FILE, EncoderError, find_encoder

MAX_UNKNOWN = 0.2  # a suitable tokenizer has 1 or 2 % on chat, a wrongly converted one 100 %
CHECKED_WORDS = 10_000
LONGEST = 64  # tokens of a word that are checked

_HANGUL = re.compile("[가-힣]+")
_SAMPLE = (
    "오늘은 날씨가 정말 좋아서 기분이 너무 좋아요",
    "아니 그게 왜 갑자기 그렇게 됐는지 모르겠어",
    "어제 친구랑 싸웠는데 아직도 화가 나고 속상해",
    "네 알겠습니다 내일 오전까지 보내 드릴게요",
)


def write_tokenizer(name: str, folder: Path, size: int, transcripts: Iterable[str] | None = None) -> Path:
    """Writes the `tokenizer.json` of the encoder `name`, which embeds `size` tokens, into `folder`; returns its path.

    It must read the Hangul of `transcripts`, or of a few built-in sentences if none are given. Raises EncoderError.
    """
    source = find_encoder(name, parts=(TOKENIZER,))
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / TOKENIZER_FILE
    if (source / TOKENIZER_FILE).is_file():
        shutil.copyfile(source / TOKENIZER_FILE, target)
    else:
        _build(source, size).save(str(target))
    try:
        tokenizer = TextTokenizer(target, LONGEST)
    except ValueError as error:
        raise EncoderError(f"The text encoder {name}: {error}.") from error
    unknown = unknown_share(tokenizer, _SAMPLE if transcripts is None else transcripts)
    if unknown > MAX_UNKNOWN:
        raise EncoderError(
            f"The tokenizer of the text encoder {name} knows no Korean: {unknown:.0%} of the Hangul becomes its unknown"
            f" token; {MAX_UNKNOWN:.0%} is allowed. If its {TOKENIZER_FILE} was converted, use the encoder's own files."
        )
    return target


def unknown_share(tokenizer: TextTokenizer, texts: Iterable[str]) -> float:
    """The share of unknown tokens in the Hangul words of `texts`; 0 if there are none."""
    words = chain.from_iterable(_HANGUL.findall(text) for text in texts)
    around = len(tokenizer.encode("").ids)
    tokens = unknown = 0
    for word in islice(words, CHECKED_WORDS):
        ids = tokenizer.encode(word).ids
        tokens += len(ids) - around
        unknown += int((ids == tokenizer.unknown_id).sum())
    return unknown / tokens if tokens else 0.0


def _build(folder: Path, size: int) -> Tokenizer:
    """From KoBERT's SentencePiece model in `folder`."""
    path = _sentencepiece(sorted(folder.glob("*.model")), folder)
    try:
        tokenizer = build_tokenizer(path)
    except (OSError, ValueError) as error:
        raise EncoderError(f"{path} cannot be read: {error}.") from error
    # The ids follow KoBERT's rule. They would be wrong for the model of another encoder, which also has another size.
    if tokenizer.get_vocab_size() != size:
        raise EncoderError(
            f"{path} has {tokenizer.get_vocab_size()} tokens by KoBERT's rule, but its encoder embeds {size}: it is "
            f"not KoBERT's, or incomplete. Put the encoder's {TOKENIZER_FILE} into the same folder."
        )
    return tokenizer


def _sentencepiece(paths: Sequence[Path], folder: Path) -> Path:
    """The SentencePiece model among `paths`: the one with the hub's name, or the only one."""
    usual = [path for path in paths if path.name == "spiece.model"]
    if chosen := usual or (paths if len(paths) == 1 else ()):
        return chosen[0]
    found = ", ".join(path.name for path in paths) or "neither"
    raise EncoderError(f"{folder} needs a {TOKENIZER_FILE} or one SentencePiece model (*.model); it has {found}.")
