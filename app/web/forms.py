"""Reads the form of a request: in memory, strictly, with a code for each way in which it can be wrong.

The framework's own reader writes uploads over 1 MB to disk, ignores unknown fields, takes the last of repeated fields,
and reads text that is not UTF-8 as Latin-1.
"""

import sys
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser

from ..errors import DuplicateField, InvalidRequest, MaeumError, UnknownField

# More parts than a valid form has, so that its error can be named; few enough to cost nothing.
MAX_PARTS = 16


class Refusal(HTTPException):
    """Carries `error` through the framework, which lets only an HTTPException pass while it reads a form."""

    def __init__(self, error: MaeumError) -> None:
        super().__init__(error.status)
        self.error = error


class _MemoryParser(MultiPartParser):
    spool_max_size = sys.maxsize  # never a temporary file: `app.web.limits` bounds the memory

    def on_part_end(self) -> None:
        part = self._current_part
        if part.file is None:
            self._charset = "utf-8"  # whatever codec the form names
            try:
                part.data.decode()
            except UnicodeDecodeError:
                raise MultiPartException("The transcript is not UTF-8 text.") from None
        super().on_part_end()


class FormRequest(Request):
    """A request whose form is read into memory and has each known field at most once, and no others."""

    fields: frozenset[str]

    # The framework's own returns an awaitable that is also a context manager, which is not needed here.
    async def form(self, *, max_part_size: int, **_: Any) -> FormData:  # type: ignore[override]
        """Reads the form. Raises Refusal."""
        if self._form is None:
            is_multipart = self.headers.get("content-type", "").lower().startswith("multipart/form-data")
            self._form = await (self._read(max_part_size) if is_multipart else super().form())
            names = [name for name, _ in self._form.multi_items()]
            if not self.fields.issuperset(names):
                await self._form.close()
                raise Refusal(UnknownField())
            if len(set(names)) < len(names):
                await self._form.close()
                raise Refusal(DuplicateField())
        return self._form

    async def _read(self, max_part_size: int) -> FormData:
        limits = {"max_files": MAX_PARTS, "max_fields": MAX_PARTS, "max_part_size": max_part_size}
        try:
            return await _MemoryParser(self.headers, self.stream(), **limits).parse()
        except MultiPartException as error:
            raise Refusal(InvalidRequest(f"{error.message.rstrip('.')}. {InvalidRequest.sentence}")) from error


class FormRoute(APIRoute):
    """A route whose form holds the fields of its function and no other."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        fields = frozenset(field.alias for field in self.dependant.body_params)

        async def read_strictly(request: Request) -> Response:
            strict = FormRequest(request.scope, request.receive)
            strict.fields = fields
            return await handle(strict)

        return read_strictly
