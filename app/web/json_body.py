"""Reads JSON with audio in it: strictly, and so that a long one stops nothing else.

Python's reader and base64 hold the interpreter for as long as they run, a tenth of a second for 25 MB, in a thread
too. Here long strings are cut out first, and base64 is decoded in blocks.
"""

import binascii
import json
import re
import secrets
from typing import Any

from ..errors import DuplicateField, InvalidRequest

# A longer string stays as it was sent until somebody knows what it should hold.
_LONG = 65_536
# Of everything else: numbers, short strings, blanks.
_MAX_REST = 1_000_000
_MAX_QUOTES = 100_000
_MAX_BACKSLASHES = 4096
_BLOCK = 65_536

_OUTSIDE = re.compile(rb"[^A-Za-z0-9+/=]")
_ESCAPED_BLANK = re.compile(rb"\\[nrt]")
_DATA_ADDRESS = re.compile(r"data:", re.IGNORECASE)
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)

LongText = memoryview
"""A string of more than 64 KB as it stands in the document, without its quotes."""


def read_object(body: bytes) -> dict[str, Any]:
    """The JSON object in `body`; its strings over 64 KB are LongText.

    Raises InvalidRequest unless it is one object in UTF-8, DuplicateField where a key is given twice.
    """
    text, long = _without_long_strings(body)
    if len(text) > _MAX_REST:
        raise InvalidRequest("The JSON is too large for what it holds beside the audio.")
    try:
        value = json.loads(text.decode(), object_pairs_hook=_unique, parse_constant=_no_constant)
    except UnicodeDecodeError:
        raise InvalidRequest("The JSON is not UTF-8 text; encode it as UTF-8 and send it again.") from None
    except json.JSONDecodeError as error:
        raise InvalidRequest(
            f"The body is not JSON: {error.msg}, line {error.lineno}. Send it whole, as a JSON library writes it."
        ) from None
    except (ValueError, RecursionError):  # a number of thousands of digits; thousands of brackets
        raise InvalidRequest("The JSON has a value that cannot be read.") from None
    if not isinstance(value, dict):
        raise InvalidRequest('The JSON must be an object, as in {"transcript": "..."}.')
    return {key: long.get(given, given) if isinstance(given, str) else given for key, given in value.items()}


def text_of(value: Any, name: str) -> str:
    """The text that `value` of the field `name` is. Raises InvalidRequest."""
    if isinstance(value, LongText):
        try:
            value = json.loads(f'"{bytes(value).decode()}"')
        except ValueError:
            raise InvalidRequest(f"The `{name}` is not a JSON string in UTF-8.") from None
    if not isinstance(value, str):
        raise InvalidRequest(f"The `{name}` must be a JSON string.")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidRequest(f"The `{name}` has half of a surrogate pair, which is no character.") from None
    return value


def bytes_of(value: Any, name: str) -> bytes:
    """The bytes that `value` of the field `name` is as base64, in the standard alphabet. Raises InvalidRequest."""
    if not isinstance(value, str | LongText):
        raise InvalidRequest(f"The `{name}` must be a JSON string: the file in base64.")
    beginning = bytes(value[:64]).decode("latin-1") if isinstance(value, LongText) else value[:64]
    if _DATA_ADDRESS.match(beginning):
        raise InvalidRequest(f"The `{name}` must be base64 alone, without a `data:` prefix.")
    if _ADDRESS.match(beginning):
        raise InvalidRequest(f"The `{name}` is an address, and nothing is fetched; send the file itself in base64.")
    is_raw = isinstance(value, LongText)
    if isinstance(value, str):
        value = memoryview(value.encode("utf-8", "replace"))
    decoded = []
    rest = b""
    for at in range(0, len(value), _BLOCK):
        block = rest + value[at : at + _BLOCK]
        if is_raw:
            block = block.replace(b"\\/", b"/")  # as some libraries write it
        # The last ones wait: they may be padding, or half of an escape.
        ready = max(0, (len(block) - 2) // 4 * 4)
        decoded.append(_decoded(block[:ready], name, last=False))
        rest = block[ready:]
    decoded.append(_decoded(rest, name, last=True))
    return b"".join(decoded)


def _decoded(block: bytes, name: str, last: bool) -> bytes:
    if last or b"=" not in block:
        try:
            return binascii.a2b_base64(block, strict_mode=True)
        except binascii.Error:
            pass
    raise InvalidRequest(f"The `{name}` is not base64: {_wrong_in(block, last)}.")


def _wrong_in(block: bytes, last: bool) -> str:
    wrong = _OUTSIDE.search(block)
    if wrong is None and b"=" in (block.rstrip(b"=") if last else block):
        return "more follows its padding"
    if wrong is None:
        return "its length is not a multiple of 4, or its padding (`=`) is wrong; it may have been cut"
    sign = wrong[0]
    if sign in b"-_":
        return "it has `-` or `_`; use the standard alphabet, with `+` and `/`"
    if sign.isspace() or _ESCAPED_BLANK.match(block, wrong.start()):
        return "it has line breaks or blanks; write it in one line (`base64 -w0`)"
    return "it has a character that is none of A-Z, a-z, 0-9, `+`, `/` and `=`"


def _without_long_strings(body: bytes) -> tuple[bytes, dict[str, LongText]]:
    """`body` with a stand-in for each long string, and the strings by their stand-ins."""
    pieces, long = [], dict[str, LongText]()
    unlikely = secrets.token_hex(16)
    kept = at = quotes = 0
    while (start := body.find(b'"', at)) >= 0:
        end = start
        while True:
            quotes += 1
            if quotes > _MAX_QUOTES:
                raise InvalidRequest("The JSON has too many strings and quotes.")
            before, end = end, body.find(b'"', end + 1)
            if end < 0:
                raise InvalidRequest("The body is not JSON: a string in it does not end. Send it whole.")
            tail = body[max(before + 1, end - _MAX_BACKSLASHES) : end]
            backslashes = len(tail) - len(tail.rstrip(b"\\"))
            if backslashes == _MAX_BACKSLASHES:
                raise InvalidRequest("The JSON has too many backslashes in a row.")
            if backslashes % 2 == 0:
                break
        at = end + 1
        if end - start > _LONG:
            name = f"{unlikely}:{len(long)}"
            long[name] = memoryview(body)[start + 1 : end]
            pieces += [body[kept:start], f'"{name}"'.encode()]
            kept = at
    pieces.append(body[kept:])
    return b"".join(pieces), long


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise DuplicateField(f"The JSON has a key twice. {DuplicateField.sentence}")
    return found


def _no_constant(name: str) -> None:
    raise InvalidRequest(f"The body is not JSON: {name} is no value of JSON.")
