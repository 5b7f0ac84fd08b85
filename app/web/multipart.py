"""Reads multipart/form-data (RFC 7578) of a body in memory: strictly, and whole or not at all.

The framework's reader takes the end of the body for the end of the form, so that a form which was cut loses its last
part silently; it takes a part without `filename` for text, reads only the last of two names, and ignores encodings.
"""

import re
from dataclasses import dataclass

from ..errors import InvalidRequest

# More parts than a valid form has, so that its error can be named; few enough to cost nothing.
MAX_PARTS = 16
MAX_PART_HEADER_BYTES = 8192

# The search holds the interpreter, so it goes in steps, between which the event loop gets its turns.
_STEP = 1 << 18
# A body may be full of lines that only begin like its boundary.
_MAX_ALIKE = 1000
_NOT_ENCODED = ("7bit", "8bit", "binary")

_PARAMETER = re.compile(
    rb"""[ \t]*;[ \t]*([!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"[ \t]*|([^;"]*))(?=;|$)""",
    re.DOTALL,
)
_ANY_FILE_NAME = re.compile(rb"[ \t]*;[ \t]*filename\*?[ \t]*=", re.IGNORECASE)
_ANY_NAME = re.compile(rb"[;\s\"]name\*?[ \t]*=", re.IGNORECASE)
_LINE_END = re.compile(rb"[ \t]*\r\n")
_BEGINNING = re.compile(rb"(?:\r\n){0,8}")
_BLANK = re.compile(rb"[ \t\r\n]*\Z")
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)


@dataclass(frozen=True)
class Part:
    """A field of a form."""

    name: str
    content: bytes
    has_file_name: bool
    """Whether it names a file with at least one character."""
    content_type: str
    """As sent; empty without one."""


def parameters(header: bytes) -> tuple[list[tuple[str, bytes]], bytes]:
    """The parameters of a header such as `form-data; name="audio"`, and what cannot be read of it, from there on.

    Names are in lower case, quotes and their escapes removed.
    """
    found = []
    at = len(header.partition(b";")[0])
    while match := _PARAMETER.match(header, at):
        name, quoted, token = match.groups()
        found.append((name.decode().lower(), token.strip() if quoted is None else _ESCAPED.sub(rb"\1", quoted)))
        at = match.end()
    return found, header[at:].rstrip(b" \t;")


def boundary_of(content_type: bytes) -> bytes:
    """The boundary that a header `Content-Type: multipart/form-data` names. Raises InvalidRequest."""
    found, rest = parameters(content_type)
    boundaries = [value for name, value in found if name == "boundary"]
    if rest or len(boundaries) != 1 or not 0 < len(boundaries[0]) <= 256:
        raise InvalidRequest(
            "The header Content-Type must name one boundary, as in `multipart/form-data; boundary=X`; HTTP clients "
            "write the header themselves when they are left to."
        )
    return boundaries[0]


def read_parts(body: bytes, boundary: bytes) -> list[Part]:
    """The parts of a complete form. Raises InvalidRequest, with a sentence that names the fault.

    A line that begins with the boundary and goes on is content. Nothing but blank lines may follow the end.
    """
    opening, delimiter = b"--" + boundary, b"\r\n--" + boundary
    beginning = _BEGINNING.match(body)
    at = beginning.end() if beginning else 0
    if not body.startswith(opening, at):
        raise InvalidRequest(
            "The form does not begin with the boundary that Content-Type names; send the body as the client made it."
        )
    at += len(opening)
    parts: list[Part] = []
    alike = 0
    while not body.startswith(b"--", at):
        line = _LINE_END.match(body, at)
        if line is None:
            raise InvalidRequest("The line of the form's boundary does not end in CRLF.")
        if len(parts) == MAX_PARTS:
            raise InvalidRequest(f"The form has more than {MAX_PARTS} parts.")
        headers, begins = _part_headers(body, line.end())
        ends = begins - 2  # the CRLF of a boundary may be the one that ends the headers
        while True:
            ends = _find(body, delimiter, ends)
            if ends < 0:
                raise InvalidRequest(
                    "The form ends without its closing boundary: it was cut on the way. Send the whole form again."
                )
            at = ends + len(delimiter)
            if body.startswith(b"--", at) or _LINE_END.match(body, at):
                break
            alike += 1
            if alike > _MAX_ALIKE:
                raise InvalidRequest("The form's content is full of its boundary; choose another one.")
            ends += 1
        parts.append(_part(headers, body[begins : max(begins, ends)]))
    if not _BLANK.match(body, at + 2):
        raise InvalidRequest(
            "More follows the closing boundary of the form; send one form, with a boundary of its own."
        )
    return parts


def _find(body: bytes, wanted: bytes, at: int) -> int:
    """Where `wanted` next is in `body`, from `at` on; -1 where it is not."""
    while at < len(body):
        found = body.find(wanted, at, at + _STEP + len(wanted) - 1)
        if found >= 0:
            return found
        at += _STEP
    return -1


def _part_headers(body: bytes, at: int) -> tuple[dict[str, bytes], int]:
    """The headers of the part that begins at `at`, by their names in lower case, and where its content begins."""
    # From the line before: a part without headers begins with the empty line.
    end = body.find(b"\r\n\r\n", at - 2, at + MAX_PART_HEADER_BYTES)
    if end < 0:
        raise InvalidRequest(
            "The headers of a part of the form do not end in an empty line; the form is damaged or was cut."
        )
    headers: dict[str, bytes] = {}
    for line in body[at:end].split(b"\r\n") if end > at else []:
        name, colon, value = line.partition(b":")
        key = name.decode("latin-1").lower()
        if not colon or not name or name.strip() != name or b"\n" in line or b"\r" in line:
            raise InvalidRequest("A part of the form has a header that cannot be read; write each as `Name: value`.")
        if key in headers:
            raise InvalidRequest("A part of the form has a header twice.")
        headers[key] = value.strip()
    return headers, end + 4


def _part(headers: dict[str, bytes], content: bytes) -> Part:
    encoding = headers.get("content-transfer-encoding", b"binary").decode("latin-1").lower()
    if encoding not in _NOT_ENCODED:
        raise InvalidRequest(
            "A part of the form has a Content-Transfer-Encoding; send its bytes as they are, without base64 or "
            "quoted-printable."
        )
    disposition = headers.get("content-disposition", b"")
    if disposition.partition(b";")[0].strip().lower() != b"form-data":
        raise InvalidRequest(
            'Each part of the form needs a header as in `Content-Disposition: form-data; name="audio"`.'
        )
    found, rest = parameters(disposition)
    names = [value for name, value in found if name == "name"]
    # What stands in a file's name never matters, even quotes and backslashes, as long as no field's name may be in it.
    readable = not rest or (_ANY_FILE_NAME.match(rest) and not _ANY_NAME.search(rest))
    if len(names) != 1 or not readable or any(name == "name*" for name, _ in found):
        raise InvalidRequest(
            "The Content-Disposition of a part cannot be read: it must have `name=` once, with the field's name in "
            "quotes."
        )
    files = [value for name, value in found if name in ("filename", "filename*")]
    return Part(
        names[0].decode("utf-8", "replace"),
        content,
        has_file_name=bool(rest) or any(files),
        content_type=headers.get("content-type", b"").decode("latin-1"),
    )
