"""Cleans a transcript of the tags that KEMDy20's transcribers wrote. Serving and training call the same function.

The tags: `c/ n/ N/ u/ l/ b/` for pauses and noises between words; after a word `*` (partly understood), `+` (stammered)
or `/` (a filler). Nothing else is changed. The published system also removed every comma, and for training every
question mark; here they stay, as they carry how a thing was said and are what a user wrote.

Users write these signs too, so they are removed only where they stand as tags: `and/or`, `n/a`, `3/4`, a URL, `C++`,
`재미+감동`, `공포/스릴러`, `****` and `^^*` stay. What cannot be told from a tag (`단어+ 단어`, `좋아요*`) loses it.
"""

import re

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
