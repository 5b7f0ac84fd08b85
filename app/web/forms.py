"""Reads the fields of a request: in memory, strictly, with a sentence for each way in which they can be wrong.

A form is multipart/form-data, application/json with the audio in base64, or, for a transcript alone,
application/x-www-form-urlencoded. Nothing is guessed, and nothing is dropped: the end of a body is not the end of its
message, and a field, query parameter or key that the address does not know is refused.
"""

import asyncio
import difflib
import io
from collections.abc import Callable, Collection, Coroutine, Iterable
from contextlib import suppress
from typing import Any, TypeVar
from urllib.parse import unquote_plus, unquote_to_bytes

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.params import Form
from fastapi.routing import APIRoute
from starlette.datastructures import FormData, Headers, UploadFile
from starlette.exceptions import HTTPException

from ..errors import (
    BodyTooLarge,
    ChannelInvalid,
    ContentTypeUnsupported,
    DuplicateField,
    InvalidRequest,
    MaeumError,
    UnknownField,
)
from .json_body import bytes_of, read_object, text_of
from .multipart import Part, boundary_of, parameters, read_parts

MULTIPART = "multipart/form-data"
URLENCODED = "application/x-www-form-urlencoded"
JSON = "application/json"

MAX_URLENCODED_BYTES = 65_536

# A larger body is read in a thread: on the event loop reading it would take a millisecond or more.
_AT_ONCE = {MULTIPART: 1_000_000, URLENCODED: 4096, JSON: 65_536}
_MAX_NAMES = 16  # of a query or an urlencoded form
_MAX_CHANNEL_DIGITS = 4
_MAX_NAME = 200
_SHOWN = 40
_UTF_8 = frozenset({"utf-8", "utf8", "us-ascii", "ascii"})
_FORM_TYPES = f"Send {MULTIPART} (`curl -F`), or {JSON} with the audio in base64; {URLENCODED} for a transcript alone."
_AUDIO_ELSEWHERE = f"It takes a transcript alone: send audio as {MULTIPART}, as in `curl -F audio=@clip.wav`."

Fields = dict[str, UploadFile | str]
Read = TypeVar("Read")


class Refusal(HTTPException):
    """Carries `error` through the framework, which lets only an HTTPException pass while it reads a body."""

    def __init__(self, error: MaeumError) -> None:
        super().__init__(error.status)
        self.error = error


def channel_number(text: str | None) -> int | None:
    """The channel that `channel` of a form names, from 0; None for `mix` and without one. Raises ChannelInvalid."""
    if text is None or text == "mix":
        return None
    plain = text.isascii() and text.isdecimal() and len(text) <= _MAX_CHANNEL_DIGITS
    if not plain or str(int(text)) != text:
        raise ChannelInvalid
    return int(text)


class StrictRequest(Request):
    """A request whose body has each of `fields` at most once, and no others."""

    fields: frozenset[str]

    # The framework's own returns an awaitable that is also a context manager, which is not needed here.
    async def form(self, **_: Any) -> FormData:  # type: ignore[override]
        """The fields: `audio` is a file, all others are text. Raises Refusal."""
        if self._form is None:
            try:
                self._form = FormData(await self._read_fields())
            except MaeumError as error:
                raise Refusal(error) from error
        return self._form

    async def json(self) -> Any:
        """The JSON object of the body. Raises Refusal."""
        body = await self.body()
        try:
            value = await _read(read_object, [body], _AT_ONCE[JSON])
            _check_names(value, self.fields, "key")
            return value
        except MaeumError as error:
            raise Refusal(error) from error

    async def _read_fields(self) -> Fields:
        kind = media_type(self.headers)
        check_not_encoded(self.headers)
        if not kind:
            async for chunk in self.stream():
                if chunk:
                    raise ContentTypeUnsupported(f"The request has no Content-Type. {_FORM_TYPES}")
            return {}
        if kind not in _AT_ONCE:
            raise ContentTypeUnsupported(f"{ContentTypeUnsupported.sentence} {_FORM_TYPES}")
        read = self._reader(kind)
        most = MAX_URLENCODED_BYTES if kind == URLENCODED else None
        chunks, size = [], 0
        async for chunk in self.stream():
            chunks.append(chunk)
            size += len(chunk)
            if most is not None and size > most:
                raise BodyTooLarge(
                    f"A form of the type {URLENCODED} may have at most {most:,} bytes. {_AUDIO_ELSEWHERE}"
                )
        return await _read(read, chunks, _AT_ONCE[kind])

    def _reader(self, kind: str) -> Callable[[bytes], Fields]:
        """Reads the fields of a whole body of that kind."""
        header = self.headers["content-type"]
        if kind == MULTIPART:
            boundary = boundary_of(header.encode("latin-1"))
            return lambda body: _of_parts(read_parts(body, boundary), self.fields)
        if kind == JSON:
            return lambda body: _of_json(read_object(body), self.fields)
        charset = _charset(header)
        return lambda body: _of_urlencoded(body, charset, self.fields)


class StrictRoute(APIRoute):
    """A route that knows the fields, query parameters and JSON keys of its function, and refuses all others."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        is_form = self.body_field is not None and isinstance(self.body_field.field_info, Form)
        takes_json = self.body_field is not None and not is_form
        if takes_json:  # one pydantic model
            (body,) = self.dependant.body_params
            fields = frozenset(getattr(body.field_info.annotation, "model_fields", ()))
        else:
            fields = frozenset(field.alias for field in self.dependant.body_params)
        parameters = frozenset(field.alias for field in self.dependant.query_params)

        async def read_strictly(request: Request) -> Response:
            _check_query(
                request.scope["query_string"].decode("utf-8", "replace"), parameters, fields if is_form else frozenset()
            )
            strict = StrictRequest(request.scope, request.receive)
            strict.fields = fields
            if takes_json:
                check_not_encoded(request.headers)
                if media_type(request.headers) != JSON:
                    raise ContentTypeUnsupported(f"Send {JSON} here, and name it in `Content-Type`.")
            try:
                return await handle(strict)
            except RequestValidationError as error:
                raise _invalid(error) from error

        return read_strictly


def media_type(headers: Headers) -> str:
    """The content type in lower case without parameters, empty without one. Raises InvalidRequest for two."""
    named = headers.getlist("content-type")
    if len(named) > 1:
        raise InvalidRequest("The request has the header Content-Type twice.")
    return named[0].partition(";")[0].strip().lower() if named else ""


def check_not_encoded(headers: Headers) -> None:
    """Raises ContentTypeUnsupported for a compressed body."""
    if headers.get("content-encoding", "identity").strip().lower() not in ("identity", ""):
        raise ContentTypeUnsupported("The body has a Content-Encoding; send it as it is, without compression.")


async def _read(read: Callable[[bytes], Read], chunks: list[bytes], at_once: int) -> Read:
    """What `read` makes of the joined chunks, in a thread where they have more than `at_once` bytes."""

    def joined() -> Read:
        body = b"".join(chunks)
        chunks.clear()  # so that the body is not in memory twice while it is read
        return read(body)

    return joined() if sum(map(len, chunks)) <= at_once else await asyncio.to_thread(joined)


def _check_query(query: str, known: Collection[str], fields: Collection[str]) -> None:
    """Raises UnknownField, DuplicateField."""
    parts = [part for part in query.split("&", _MAX_NAMES) if part]
    # Cut before they are decoded: a query may have 64 KB of escapes.
    names = [unquote_plus(part.partition("=")[0][:_MAX_NAME]) for part in parts]
    for name in names:
        if name in fields and name not in known:
            raise UnknownField(f"`{name}` is a field of the body, not a query parameter; send it in the body.")
    _check_names(names, known, "query parameter")


def _check_names(names: Iterable[str], known: Collection[str], what: str) -> None:
    """Raises UnknownField, DuplicateField."""
    seen = set()
    for name in names:
        if name not in known:
            raise _unknown(name, known, what)
        if name in seen:
            raise DuplicateField(f"The {what} `{name}` is given twice. {DuplicateField.sentence}")
        seen.add(name)


def _unknown(name: str, known: Collection[str], what: str) -> UnknownField:
    """The error that names the unknown field, the one that it resembles, and all that there are."""
    shown = "".join(sign if sign.isprintable() and sign != "`" else "?" for sign in name[:_SHOWN])
    near = difflib.get_close_matches(name[:_SHOWN].strip().casefold(), sorted(known), n=1)
    asked = f"; did you mean `{near[0]}`?" if near else "."
    *most, last = [f"`{each}`" for each in sorted(known)] or ["none"]
    taken = f"{', '.join(most)} and {last}" if most else last
    return UnknownField(f"There is no {what} `{shown}`{asked} This address takes: {taken}.")


def _invalid(error: RequestValidationError) -> MaeumError:
    """The problem of fields that do not fit the types of the route's function."""
    # Only the names of the fields: the messages may quote what was sent.
    names = sorted({str(found["loc"][-1]) for found in error.errors()})
    return InvalidRequest(f"Invalid: {', '.join(names)}. Send the fields or the JSON object that /docs describes.")


def _of_parts(parts: list[Part], known: Collection[str]) -> Fields:
    _check_names((part.name for part in parts), known, "form field")
    fields: Fields = {}
    for part in parts:
        if part.name != "audio":
            fields[part.name] = _text(part.content, part.name, _charset(part.content_type))
        elif part.content or part.has_file_name:  # else a browser's field in which no file was chosen
            fields[part.name] = _File(part.content)
    return _checked(fields)


def _of_json(given: dict[str, Any], known: Collection[str]) -> Fields:
    _check_names(given, known, "key")
    fields: Fields = {}
    for name, value in given.items():
        if value is None:
            continue
        if name == "audio":
            fields[name] = _File(bytes_of(value, name))
        elif name == "channel" and not isinstance(value, str):
            if type(value) is not int:  # a bool is one too
                raise ChannelInvalid
            fields[name] = str(value)
        else:
            fields[name] = text_of(value, name)
    return _checked(fields)


def _of_urlencoded(body: bytes, charset: str | None, known: Collection[str]) -> Fields:
    pairs = []
    for pair in filter(None, body.split(b"&", _MAX_NAMES)):
        key, _, content = pair.replace(b"+", b" ").partition(b"=")
        pairs.append((unquote_to_bytes(key).decode("utf-8", "replace"), unquote_to_bytes(content)))
    _check_names((name for name, _ in pairs), known, "form field")
    fields: Fields = {}
    for name, content in pairs:
        if name == "transcript":
            fields[name] = _text(content, name, charset)
        elif content:
            raise InvalidRequest(f"`{name}` cannot be sent as {URLENCODED}. {_AUDIO_ELSEWHERE}")
    return fields


def _checked(fields: Fields) -> Fields:
    if "channel" in fields:  # also an empty one, which the framework would take for none
        channel_number(str(fields["channel"]))
    return fields


class _File(UploadFile):
    """An upload in memory. The framework closes one in a thread, during which the request is not counted yet."""

    def __init__(self, content: bytes) -> None:
        super().__init__(io.BytesIO(content), size=len(content))

    async def close(self) -> None:
        self.file.close()


def _charset(content_type: str) -> str | None:
    """The charset that a content type names, None without one."""
    named = [value for name, value in parameters(content_type.encode("latin-1", "replace"))[0] if name == "charset"]
    return named[0].decode("latin-1") if named else None


def _text(content: bytes, name: str, charset: str | None) -> str:
    """The text of a field. Raises InvalidRequest where it is not UTF-8, or its label says so."""
    if charset is None or charset.lower() in _UTF_8:
        with suppress(UnicodeDecodeError):
            return content.decode()
    raise InvalidRequest(f"The {name} is not UTF-8 text; encode it as UTF-8 and send it again.")
