"""Forms as bytes: what is read, and the fault that is named where nothing is."""

from typing import Any

import pytest

from app.errors import InvalidRequest
from app.web.multipart import MAX_PARTS, boundary_of, read_parts

CURL = b'Content-Disposition: form-data; name="audio"; filename="a.wav"\r\nContent-Type: audio/wav'


def part(headers: bytes, content: bytes) -> bytes:
    return b"--X\r\n" + headers + b"\r\n\r\n" + content + b"\r\n"


def form(*parts: bytes, end: bytes = b"--X--\r\n") -> bytes:
    return b"".join(parts) + end


def the_part(headers: bytes) -> Any:
    (found,) = read_parts(form(part(headers, b"x")), b"X")
    return found


def fault(body: bytes) -> str:
    with pytest.raises(InvalidRequest) as caught:
        read_parts(body, b"X")
    return str(caught.value)


@pytest.mark.parametrize(
    "content", [b"", b"\r\n", b"\r\n--", b"\r\n--Y\r\n", b"\r\n--Xmas\r\n", b"a--X--", bytes(300_000)]
)
def test_content_is_kept_to_the_byte(content: bytes) -> None:
    first, second = read_parts(form(part(CURL, content), part(CURL, b"next")), b"X")
    assert (first.content, second.content) == (content, b"next")


@pytest.mark.parametrize("at", range(262_100, 262_160))
def test_a_boundary_is_found_wherever_it_stands(at: int) -> None:
    """The search goes in steps of 262,144 bytes."""
    content = b"\0" * (at - len(CURL))
    assert [each.content for each in read_parts(form(part(CURL, content)), b"X")] == [content]


def test_every_cut_is_noticed() -> None:
    whole = form(part(b'Content-Disposition: form-data; name="transcript"', b"hm"), part(CURL, b"RIFF\r\n--"))
    closed = len(whole) - len(b"\r\n")
    for length in range(closed):
        assert fault(whole[:length]).endswith(".")
    assert len(read_parts(whole[:closed], b"X")) == 2


@pytest.mark.parametrize(
    "disposition",
    [
        b'form-data; name="audio"',
        b"form-data; name=audio",
        b'Form-Data ;NAME = "audio" ;',
        b'form-data; name="audio"; filename="x.wav"',
        b'form-data; filename="x.wav"; name="audio"',
        b"form-data; name=\"audio\"; filename*=UTF-8''%ED%9A%8C%EC%9D%98.wav",
        b"form-data; name=\"audio\"; filename*=euc-kr'ko'%C8%B8%C0%C7",
        'form-data; name="audio"; filename="회의 녹음.wav"'.encode(),
        'form-data; name="audio"; filename="회의 녹음.wav"'.encode("cp949"),
        'form-data; name="audio"; filename="表"'.encode("shift_jis"),  # ends in a backslash
        b'form-data; name="audio"; filename="C:\\tmp\\a.wav"',
        b'form-data; name="audio"; filename="a "b" c.wav"',
        b'form-data; name="audio"; filename="a\\"; name=\\"transcript.wav"',
        b'form-data; name="audio"; filename="never closed; x=',
        b'form-data; name="audio"; filename=plain name.wav; size=12',
        b'form-data; name="audio"; filename="=?UTF-8?B?7ZqM?="',
        b'form-data; name="audio"; filename="' + bytes(range(0x80, 0x100)) + b'"',
    ],
)
def test_the_name_is_read_whatever_the_file_is_called(disposition: bytes) -> None:
    found = the_part(b"Content-Disposition: " + disposition)
    assert (found.name, found.content) == ("audio", b"x")
    assert found.has_file_name == (b"filename" in disposition)


def test_an_empty_file_name_names_no_file() -> None:
    assert not the_part(b'Content-Disposition: form-data; name="audio"; filename=""').has_file_name


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        (b'Content-Disposition: form-dataX; name="audio"', "form-data"),
        (b'Content-Disposition: attachment; name="audio"', "form-data"),
        (b"Content-Type: audio/wav", "form-data"),
        (b"Content-Disposition: form-data", "once"),
        (b'Content-Disposition: form-data; filename="a.wav"', "once"),
        (b'Content-Disposition: form-data; name="audio"; name="transcript"', "once"),
        (b'Content-Disposition: form-data; name="audio"; name="audio"', "once"),
        (b"Content-Disposition: form-data; name*=UTF-8''audio", "once"),
        (b"Content-Disposition: form-data; name=\"audio\"; name*=UTF-8''transcript", "once"),
        (b'Content-Disposition: form-data; name="audio"; filename="a"; x"; name="transcript"', "once"),
        (b'Content-Disposition: form-data; name="audio', "once"),
        (b'Content-Disposition: form-data; name="audio" filename="a"', "once"),
        (b'Content-Disposition: form-data; name="a"\r\nContent-Disposition: form-data; name="b"', "twice"),
        (CURL + b"\r\nContent-Transfer-Encoding: base64", "base64"),
        (CURL + b"\r\nContent-Transfer-Encoding: Quoted-Printable", "base64"),
        (CURL + b"\r\n folded", "Name: value"),
        (CURL + b"\r\nno colon", "Name: value"),
        (CURL + b"\r\nA: b\nC: d", "Name: value"),
        (CURL.replace(b"\r\n", b"\n"), "Name: value"),
        (CURL + b"\r\nA: " + b"b" * 9000, "empty line"),
    ],
)
def test_odd_headers_are_refused(headers: bytes, said: str) -> None:
    assert said in fault(form(part(headers, b"x")))


@pytest.mark.parametrize("encoding", [b"binary", b"8bit", b"7BIT"])
def test_content_that_names_no_encoding(encoding: bytes) -> None:
    assert the_part(CURL + b"\r\nContent-Transfer-Encoding: " + encoding).content == b"x"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "begin"),
        (b"junk", "begin"),
        (b"preamble\r\n" + form(part(CURL, b"x")), "begin"),
        (form(part(CURL, b"x")).replace(b"--X", b"--Y"), "begin"),
        (form(part(CURL, b"x")).replace(b"\r\n", b"\n"), "CRLF"),
        (form(part(CURL, b"x")) + form(part(CURL, b"y")), "follows"),
        (form(part(CURL, b"x"), end=b"--X--" + part(CURL, b"y")), "follows"),
        (form(part(CURL, b"x"), end=b"--X-\r\n"), "closing"),
        (form(*[part(CURL, b"x")] * (MAX_PARTS + 1)), "16 parts"),
        (form(part(CURL, b"\r\n--Xa" * 2000)), "full of its boundary"),
    ],
)
def test_forms_that_are_none(body: bytes, said: str) -> None:
    assert said in fault(body)


@pytest.mark.parametrize("around", [(b"\r\n", b"--X--\r\n\r\n "), (b"", b"--X--"), (b"", b"--X--  \r\n")])
def test_blanks_around_a_form(around: tuple[bytes, bytes]) -> None:
    assert len(read_parts(around[0] + form(part(CURL, b"x"), end=around[1]), b"X")) == 1


def test_a_form_without_fields_and_a_part_without_content() -> None:
    assert read_parts(b"--X--", b"X") == []
    (empty,) = read_parts(b"--X\r\n" + CURL + b"\r\n\r\n--X--", b"X")
    assert empty.content == b""


@pytest.mark.parametrize(
    ("header", "boundary"),
    [
        (b"multipart/form-data; boundary=X", b"X"),
        (b'multipart/form-data; charset=utf-8; Boundary="a b;c"', b"a b;c"),
        (b"multipart/form-data;boundary=----WebKitFormBoundary7MA4YWxk ;", b"----WebKitFormBoundary7MA4YWxk"),
    ],
)
def test_the_boundary(header: bytes, boundary: bytes) -> None:
    assert boundary_of(header) == boundary


@pytest.mark.parametrize(
    "rest", [b"", b"; boundary=", b"; boundary=a; boundary=b", b'; boundary="a', b"; boundary=" + b"x" * 300]
)
def test_a_header_without_one_boundary(rest: bytes) -> None:
    with pytest.raises(InvalidRequest, match="boundary"):
        boundary_of(b"multipart/form-data" + rest)
