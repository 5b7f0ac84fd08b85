"""Turns a transcript into the token ids that the text graph takes. Cleaning it is `app.transcript`'s."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer


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
