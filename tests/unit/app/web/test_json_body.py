"""JSON with audio in it: what is read, the fault that is named where nothing is, and how long others wait."""

import base64
import json
import os
import threading
import time
from typing import Any

import pytest

from app.errors import DuplicateField, InvalidRequest
from app.web.json_body import bytes_of, read_object, text_of


def fault(body: bytes) -> str:
    with pytest.raises(InvalidRequest) as caught:
        read_object(body)
    return str(caught.value)


def audio_fault(text: str) -> str:
    with pytest.raises(InvalidRequest) as caught:
        bytes_of(read_object(json.dumps({"audio": text}).encode())["audio"], "audio")
    return str(caught.value)


@pytest.mark.parametrize("size", [0, 1, 2, 3, 48_000, 49_150, 49_151, 49_152, 49_153, 98_303, 98_304, 500_000])
@pytest.mark.parametrize("slash", [b"/", b"\\/"])
def test_audio_of_any_length(size: int, slash: bytes) -> None:
    audio = os.urandom(size)
    body = b'{"transcript": "\\"hm\\\\", "audio": "' + base64.b64encode(audio).replace(b"/", slash) + b'"}'
    found = read_object(body)
    assert bytes_of(found["audio"], "audio") == audio
    assert found["transcript"] == '"hm\\'


def test_a_long_text() -> None:
    text = '정말 "고마워요"\\ \n' * 20_000
    for body in (json.dumps({"t": text}), json.dumps({"t": text}, ensure_ascii=False)):
        assert text_of(read_object(body.encode())["t"], "t") == text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("data:audio/wav;base64,UklGRg==", "`data:` prefix"),
        ("https://example.org/a.wav", "nothing is fetched"),
        ("s3://bucket/a.wav", "nothing is fetched"),
        ("UklG-g==", "standard alphabet"),
        ("UklG_g==", "standard alphabet"),
        ("UklG\nRg==", "one line"),
        ("UklG Rg==", "one line"),
        ("UklGRg=", "padding"),
        ("UklGRg", "padding"),
        ("UklGR", "multiple of 4"),
        ("UklGRg===", "padding"),
        ("UklGRg==UklG", "follows"),
        ("Ukl=RgAA", "follows"),
        ("====", "padding"),
        ("UklG!g==", "none of"),
        ("정말", "none of"),
        ("UklGRg==%", "none of"),
        ("Ukl\\/", "none of"),
    ],
)
def test_audio_that_is_not_base64(text: str, said: str) -> None:
    assert said in audio_fault(text)
    if "prefix" not in said and "fetched" not in said:  # the same where it is read in blocks
        assert said in audio_fault("QUJD" * 50_000 + text)
        assert said in audio_fault("QUJD" * 16_383 + "QU" + text if said == "one line" else "QUJD" * 16_383 + text)


@pytest.mark.parametrize("value", [1, True, [], {}, 1.5])
def test_audio_and_text_that_are_no_strings(value: Any) -> None:
    for read in (bytes_of, text_of):
        with pytest.raises(InvalidRequest, match="`audio` must be a JSON string"):
            read(value, "audio")


def test_half_a_surrogate_pair() -> None:
    assert text_of(read_object(b'{"t": "\\ud83d\\ude00"}')["t"], "t") == "\U0001f600"
    with pytest.raises(InvalidRequest, match="surrogate"):
        text_of(read_object(b'{"t": "\\ud83d"}')["t"], "t")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b'{"audio": "QUJD', "does not end"),
        (b'{"audio": "' + b"QUJD" * 300_000, "does not end"),
        (b'{"audio": "' + b"QUJD" * 300_000 + b'"', "not JSON"),
        (b"{'a': 1}", "not JSON"),
        (b'{"a": 1,}', "not JSON"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": -Infinity}', "Infinity"),
        (b'{"a": 1} {}', "not JSON"),
        (b"\xef\xbb\xbf{}", "not JSON"),
        (b'{"a": "a\nb"}', "not JSON"),
        (b"[]", "object"),
        (b'"x"', "object"),
        ('{"transcript": "정말"}'.encode("cp949"), "UTF-8"),
        ('{"transcript": "정말"}'.encode("utf-16"), "UTF-8"),
        (b'{"t": "\xed\xa0\xbd"}', "UTF-8"),
        (b"[" * 100_000, "cannot be read"),
        (b'{"a": ' + b"1" * 5000 + b"}", "cannot be read"),
        (b'{"a": [' + b"1," * 600_000 + b"1]}", "too large"),
        (b'{"a": "' + b'\\"' * 200_000 + b'"}', "quotes"),
        (b'{"a": "' + b"\\" * 10_000 + b'"}', "backslashes"),
    ],
)
def test_bodies_that_are_no_json(body: bytes, said: str) -> None:
    assert said in fault(body)


@pytest.mark.parametrize("body", [b'{"a": 1, "a": 1}', b'{"a": 1, "\\u0061": 2}', b'{"b": {"a": 1, "a": 1}}'])
def test_a_key_given_twice(body: bytes) -> None:
    with pytest.raises(DuplicateField):
        read_object(body)


def test_others_get_their_turns_while_a_long_one_is_read() -> None:
    """Python's own reader and decoder hold the interpreter for the whole length, in a thread as well."""
    body = b'{"audio": "' + base64.b64encode(bytes(range(256)) * 80_000).replace(b"/", b"\\/") + b'"}'
    reading = threading.Thread(target=lambda: bytes_of(read_object(body)["audio"], "audio"))
    turns = 0
    reading.start()
    while reading.is_alive():
        time.sleep(0.001)
        turns += 1
    assert turns >= 5
