"""A transcript to token ids for the text graph: normalised, cleaned, encoded. Serving and training share it.

Normalising gives the same letters the same code points: macOS decomposes Hangul (NFD), old systems have half-width
forms, copied text brings invisible characters, editors end lines in four ways. It goes no further, as NFKC would, which
makes ㅋㅋ and ㅠㅠ, that Koreans type, leading consonants and vowels that nobody types.

Cleaning removes the tags of KEMDy20's transcribers: `c/ n/ N/ u/ l/ b/` for pauses and noises between words; after a
word `*` (partly understood), `+` (stammered) or `/` (a filler). It changes nothing else. The published system also
removed every comma, and for training every question mark; here they stay, because they carry tone and users type them.

Users type these signs too, so they are removed only where they stand as tags: `and/or`, `n/a`, `3/4`, a URL, `C++`,
`재미+감동`, `공포/스릴러`, `****` and `^^*` stay. A sign that looks exactly like a tag (`단어+ 단어`, `좋아요*`) is
removed.
"""

import json
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

# Neither seen nor spoken: controls, marks of direction, zero-width signs, soft hyphens, variation selectors, and the
# fillers inside a syllable.
_INVISIBLE = re.compile(
    r"[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\xad\u034f\u061c\u115f\u1160\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    r"\u2060-\u206f\ufe00-\ufe0f\ufeff\ufff9-\ufffb\U000e0000-\U000e01ef]+"
)
# They look like a space: the fillers between syllables, and braille without dots. Sent where a form demands some text.
_BLANK = re.compile("[\u3164\uffa0\u2800]")


def _plain(first: int, last: int) -> dict[int, int]:
    """What Unicode says that each form from `first` to `last` stands for."""
    stands_for = {form: unicodedata.decomposition(chr(form)) for form in range(first, last + 1)}
    return {form: int(plain.split()[1], 16) for form, plain in stands_for.items() if plain}


_HALF_WIDTH_JAMO = _plain(0xFFA1, 0xFFDC)  # ﾻ to ㅅ
_LONE_JAMO = {part: jamo for jamo, part in _plain(0x3131, 0x3163).items()}  # ᄏ, where no vowel follows, to ㅋ

_HANGUL = re.compile("[가-힣ㄱ-ㆎ]")
# A letter of Latin or Cyrillic script tells a third of what a syllable of Hangul does, roughly.
_SHORT_LETTERS = re.compile("[A-Za-zÀ-ԯ]")
_SHORT_LETTER = 1 / 3
_MIN_HANGUL = 0.15

# Next to a Latin letter, a digit or a sign of a URL, `n/` is part of something longer.
_NOISE = r"(?<![A-Za-z0-9/_@~=-])(?<![A-Za-z0-9]\.)(?:[cnNulb]/)+(?![A-Za-z0-9/])"
_NOISES = re.compile(rf"{_NOISE}(?:\s*{_NOISE})*")
# At the end of a Hangul word, before any punctuation.
_AFTER_WORD = re.compile(r"(?<=[가-힣])(?:\*\+|\+\*|[*+/])(?=[.,?!…]*(?:\s|$))")
_MARKS = ("*", "+", "/")
_PUNCTUATION = (".", ",", "?", "!", "…")


def normalised(text: str) -> str:
    """`text` with one spelling for what looks the same: composed (NFC), without invisible characters, with the jamo of
    a keyboard, one space for any white space between words and none at either end. Empty if nothing is left.

    Idempotent. Lone surrogates become U+FFFD, since no tokenizer accepts them.
    """
    whole = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    seen = _BLANK.sub(" ", _INVISIBLE.sub("", whole)).translate(_HALF_WIDTH_JAMO)
    return " ".join(unicodedata.normalize("NFC", seen).translate(_LONE_JAMO).split())


def clean_transcript(text: str) -> str:
    """`text` normalised, without KEMDy20's tags and the gaps they leave. Empty if it held nothing else. Idempotent."""
    return _without_lone_marks(_AFTER_WORD.sub("", _without_noises(normalised(text))))


def is_korean(text: str) -> bool:
    """Whether the model, which reads Korean, can make something of `text`, which is normalised.

    English names and quotations in a Korean sentence are no doubt; a text without Hangul is, whatever it has instead.
    """
    hangul = len(_HANGUL.findall(text))
    short = len(_SHORT_LETTERS.findall(text))
    letters = sum(map(str.isalpha, text)) - short + _SHORT_LETTER * short
    return hangul > 0 and hangul >= _MIN_HANGUL * letters


def _without_noises(text: str) -> str:
    """Removes the tags between words, leaving one space; none at either end or before punctuation."""
    pieces = _NOISES.split(text)
    if len(pieces) == 1:
        return text
    joined = ""
    for piece in filter(None, map(str.strip, pieces)):
        joined += piece if not joined or piece.startswith(_PUNCTUATION) else f" {piece}"
    return joined


def _without_lone_marks(text: str) -> str:
    """Removes marks that stand alone at the beginning or the end; between two words (`A + B`) the user typed them."""
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
    """`ids`: int64 [tokens], special tokens included. `of_text`: how many of them are the text's own. `truncated`:
    whether they are only the beginning of the text.
    """

    ids: NDArray[np.int64]
    of_text: int
    truncated: bool


class TextTokenizer:
    """A `tokenizer.json`, without the padding and truncation stored in it. Safe to share between threads.

    `unknown_id`: the token for unknown pieces of text, if there is one.
    """

    def __init__(self, path: Path, max_tokens: int) -> None:
        """Raises ValueError where `path` is no tokenizer, or `max_tokens` leaves no room next to its special tokens."""
        try:
            text = path.read_text(encoding="utf-8")
            self._tokenizer = Tokenizer.from_str(text)
        except OSError as error:
            raise ValueError(f"{path.name} cannot be read: {error.strerror}") from error
        except Exception as error:  # tokenizers raises bare Exception
            raise ValueError(f"{path.name} is no tokenizer: {error}") from error
        self._added = self._tokenizer.num_special_tokens_to_add(is_pair=False)
        if max_tokens <= self._added:
            raise ValueError(f"max_tokens of {max_tokens} leaves no room for a token of the text")
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_tokens)
        # "[CLS]" or "</s>" in a transcript are plain letters. This keeps them from being matched as one token; `encode`
        # handles those that are also pieces of the vocabulary.
        self._tokenizer.encode_special_tokens = True
        model = json.loads(text)["model"]
        self.unknown_id: int | None = model.get("unk_id", self._tokenizer.token_to_id(model.get("unk_token") or ""))
        added = self._tokenizer.get_added_tokens_decoder()
        # A word may rightly become the unknown token.
        self._special = {index for index, token in added.items() if token.special} - {self.unknown_id}

    def encode(self, text: str) -> Tokens:
        """The ids of `text`, at most `max_tokens`. None of its letters becomes a special token."""
        encoding = self._tokenizer.encode(text)
        while spans := self._forged(encoding):
            for start in reversed(spans):
                text = f"{text[: start + 1]} {text[start + 1 :]}"
            encoding = self._tokenizer.encode(text)
        ids = np.asarray(encoding.ids, dtype=np.int64)
        return Tokens(ids, len(ids) - self._added, truncated=bool(encoding.overflowing))

    def _forged(self, encoding: Encoding) -> list[int]:
        """Where the text spells a special token: the offsets in it. A space inside breaks the token up."""
        pieces = zip(encoding.ids, encoding.special_tokens_mask, encoding.offsets, strict=True)
        return [
            start for index, added, (start, end) in pieces if not added and index in self._special and end - start > 1
        ]
