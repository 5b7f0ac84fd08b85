"""One connection of the server: uvicorn's, with bounds on what it leaves open.

uvicorn waits forever for the headers of a request, and for the rest of a body whose answer is already given; both let a
few slow clients fill the table of open files. Its own answer to what is no HTTP is not a problem document.
"""

import asyncio
import uuid
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from app.errors import HeadersTooLarge, HttpInvalid, MaeumError
from app.problems import problem_response

MAX_HEADER_BYTES = 65_536
# How long an idle connection stays when the server stops: its client may be about to send what it thinks is taken.
_LAST_S = 1.0


class Connection(HttpToolsProtocol):
    """Closes what does not send its headers, or the rest of its body after the answer, within `header_timeout_s`.

    While `draining()`, every answer also ends its connection, so that clients look for another server. `refused` is
    told the code of what is answered here, as such requests never reach the app.
    """

    def __init__(
        self,
        *args: Any,
        header_timeout_s: float,
        draining: Callable[[], bool],
        refused: Callable[[str], None],
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._header_timeout_s, self._draining, self._refused = header_timeout_s, draining, refused
        self._timer: asyncio.TimerHandle | None = None
        self._header_bytes: int | None = 0  # None while no headers are awaited

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._wait_no_more()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._header_bytes is not None and not self.transport.is_closing():
            self._header_bytes += len(data)
            if self._header_bytes > MAX_HEADER_BYTES:
                self._refuse(HeadersTooLarge())

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._header_bytes = 0
        self._wait()

    def on_headers_complete(self) -> None:
        self._header_bytes = None
        self._wait_no_more()
        super().on_headers_complete()
        if self._draining():
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._wait_no_more()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.cycle.response_complete and self.cycle.more_body:
            self._wait()

    def shutdown(self) -> None:
        if self._is_idle():
            self.loop.call_later(_LAST_S, self._close_if_idle)
        else:
            super().shutdown()

    def send_400_response(self, msg: str) -> None:
        self._refuse(HttpInvalid())

    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _close_if_idle(self) -> None:
        if self._is_idle():
            self.transport.close()

    def _refuse(self, error: MaeumError) -> None:
        answer = problem_response(error, uuid.uuid4().hex)
        answer.headers["connection"] = "close"
        head = b"".join(name + b": " + value + b"\r\n" for name, value in answer.raw_headers)
        self.transport.write(STATUS_LINE[error.status] + head + b"\r\n" + bytes(answer.body))
        self.transport.close()
        self._refused(error.code)

    def _wait(self) -> None:
        self._wait_no_more()
        self._timer = self.loop.call_later(self._header_timeout_s, self.transport.close)

    def _wait_no_more(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
