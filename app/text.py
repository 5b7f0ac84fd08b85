"""A transcript to the token ids that the text graph takes: cleaned, then encoded. Serving and training share it.

Cleaning removes the tags that KEMDy20's transcribers wrote: `c/ n/ N/ u/ l/ b/` for pauses and noises between words;
after a word `*` (partly understood), `+` (stammered) or `/` (a filler). Nothing else is changed. The published system
also removed every comma, and for training every question mark; here they stay, as they carry how a thing was said and
are what a user wrote.

Users write these signs too, so they are removed only where they stand as tags: `and/or`, `n/a`, `3/4`, a URL, `C++`,
`재미+감동`, `공포/스릴러`, `****` and `^^*` stay. What cannot be told from a tag (`단어+ 단어`, `좋아요*`) loses it.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

# Standing beside a Latin letter, a digit or a sign of a URL, `n/` is a part of something longer.
_NOISE = r"(?<![A-Za-z0-9/_@~=-])(?<![A-Za-z0-9]\.)(?:[cnNulb]/)+(?![A-Za-z0-9/])"
_NOISES = re.compile(rf"{_NOISE}(?:\s*{_NOISE})*")
# After a Hangul word: at the end of it, whatever punctuation follows.
_AFTER_WORD = re.compile(r"(?<=[가-힣])(?:\*\+|\+\*|[*+/])(?=[.,?!…]*(?:\s|$))")
_MARKS = ("*", "+", "/")
_PUNCTUATION = (".", ",", "?", "!", "…")


def clean_transcript(text: str) -> str:
    """`text` without KEMDy20's tags and the gaps they leave. Blank where it held nothing else.

    Cleaning twice is cleaning once. Half surrogate pairs become U+FFFD, since no tokenizer takes them.
    """
    whole = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return _without_lone_marks(_AFTER_WORD.sub("", _without_noises(whole)))


def _without_noises(text: str) -> str:
    """Takes out the tags between words; leaves one space there, and none at either end or before punctuation."""
    pieces = _NOISES.split(text)
    if len(pieces) == 1:
        return text
    joined = ""
    for piece in filter(None, map(str.strip, pieces)):
        joined += piece if not joined or piece.startswith(_PUNCTUATION) else f" {piece}"
    return joined


def _without_lone_marks(text: str) -> str:
    """Takes out marks that stand alone at the beginning or the end; between two words (`A + B`) they are the user's."""
    while True:
        inner = text.strip()
        if inner in _MARKS:
            return ""
        if inner.startswith(_MARKS) and inner[1].isspace():
            text = inner[1:].lstrip()
        elif inner.endswith(_MARKS) and inner[-2].isspace():
            text = inner[:-1].rstrip()
        else:
            return text


@dataclass(frozen=True)
class Tokens:
    """`ids`: int64 [tokens], special tokens included. `truncated`: whether some of the text was left out."""

    ids: NDArray[np.int64]
    truncated: bool


class TextTokenizer:
    """A `tokenizer.json`, with the padding and truncation stored in it overruled. Safe to share between threads.

    `unknown_id` is the token of what it does not know, if it has one.
    """

    def __init__(self, path: Path, max_tokens: int) -> None:
        """Raises ValueError where `path` is no tokenizer or `max_tokens` leaves no room beside its special tokens."""
        try:
            text = path.read_text(encoding="utf-8")
            self._tokenizer = Tokenizer.from_str(text)
        except OSError as error:
            raise ValueError(f"{path.name} cannot be read: {error.strerror}") from error
        except Exception as error:  # tokenizers raises bare Exception
            raise ValueError(f"{path.name} is no tokenizer: {error}") from error
        if max_tokens <= self._tokenizer.num_special_tokens_to_add(is_pair=False):
            raise ValueError(f"max_tokens of {max_tokens} leaves no room for a token of the text")
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_tokens)
        # A transcript that holds "[CLS]" or "</s>" means those letters. This keeps them from being matched whole before
        # the model sees them; `encode` sees to those that are also pieces of the model's own vocabulary.
        self._tokenizer.encode_special_tokens = True
        model = json.loads(text)["model"]
        self.unknown_id: int | None = model.get("unk_id", self._tokenizer.token_to_id(model.get("unk_token") or ""))
        added = self._tokenizer.get_added_tokens_decoder()
        # The unknown token is what a word may rightly become.
        self._special = {index for index, token in added.items() if token.special} - {self.unknown_id}

    def encode(self, text: str) -> Tokens:
        """The ids of `text`, at most `max_tokens` of them. None of its letters becomes a special token."""
        encoding = self._tokenizer.encode(text)
        while spans := self._forged(encoding):
            for start in reversed(spans):
                text = f"{text[: start + 1]} {text[start + 1 :]}"
            encoding = self._tokenizer.encode(text)
        return Tokens(np.asarray(encoding.ids, dtype=np.int64), truncated=bool(encoding.overflowing))

    def _forged(self, encoding: Encoding) -> list[int]:
        """Where in the text special tokens begin that the text itself spelled. A space inside keeps them apart."""
        pieces = zip(encoding.ids, encoding.special_tokens_mask, encoding.offsets, strict=True)
        return [
            start for index, added, (start, end) in pieces if not added and index in self._special and end - start > 1
        ]
