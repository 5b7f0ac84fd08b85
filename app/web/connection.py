"""One connection of the server: uvicorn's, with the bounds that it lacks.

uvicorn waits forever for the headers of a request, for the rest of a body that is already answered, and for a client to
read its answer; with each, a few slow clients fill the table of open files. It keeps everything that a client sends
after a body (trailers). It takes the body of a request that offers another protocol (`Upgrade: h2c`, as curl's --http2
and Java do) for the next request. Its answer to invalid HTTP is not a problem document.
"""

import asyncio
import sys
import uuid
from collections.abc import Callable
from typing import Any

from httptools import HttpParserUpgrade, HttpRequestParser
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from ..errors import HeadersTooLarge, HttpInvalid, MaeumError
from .door import Door
from .problems import problem_response

MAX_HEADER_BYTES = 65_536
# Bytes of chunked framing allowed per byte of body; the smallest chunk has 5 around its one.
_AROUND = 8
# How long an idle connection stays open when the server stops: its client may be sending a request already.
_LAST_S = 1.0


class Connection(HttpToolsProtocol):
    """Closes a client that does not send its headers, or the rest of an answered body, within `header_timeout_s`, and
    one that reads nothing of its answer for that long.

    While `draining()`, every answer also closes its connection, so that clients move to another server. `refused` gets
    the code of each problem answered here, as these requests never reach the app.
    """

    def __init__(
        self,
        *args: Any,
        header_timeout_s: float,
        draining: Callable[[], bool],
        refused: Callable[[str], None],
        door: Door,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._header_timeout_s, self._draining, self._refused = header_timeout_s, draining, refused
        self._door = door
        self._turned_away = self._closes = False  # the request that arrives; the connection after it
        self._timer: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None
        self._in_headers = False
        self._data = b""
        self._spare_bytes = MAX_HEADER_BYTES  # that may still arrive outside a body
        self._running: RequestResponseCycle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._wait_no_more()
        self._read_again()
        super().connection_lost(exc)
        # uvicorn tells only the latest request, and an earlier one may still be running.
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()

    def data_received(self, data: bytes) -> None:
        self._spare_bytes -= len(data)
        self._data = data
        super().data_received(data)
        self._data = b""
        if self.transport.is_closing():
            return
        if self._spare_bytes < 0:
            self._refuse(HeadersTooLarge())
        elif self._is_idle() and self._timer is None and self.timeout_keep_alive_task is None:
            self._wait()  # nothing of a request yet, such as empty lines

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_headers = True
        self._wait()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_headers:  # trailers are dropped
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_headers = False
        self._wait_no_more()
        if self._is_idle() and not self.parser.should_upgrade():
            refusal = self._door.refusal(self.parser.get_method(), self.url, self.headers)
            if refusal is not None:
                self._turn_away(*refusal)
                return
        super().on_headers_complete()
        if self._draining() and not self.parser.should_upgrade():
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        self._spare_bytes = min(MAX_HEADER_BYTES, self._spare_bytes + (1 + _AROUND) * len(body))
        if not self._turned_away:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if not self._turned_away:
            super().on_message_complete()
        self._spare_bytes = MAX_HEADER_BYTES
        self._wait_no_more()
        self._turned_away = False
        if self._closes:
            self._close()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.cycle.response_complete and self.cycle.more_body:
            self._wait()
        if self.transport.is_closing() and self.transport.get_write_buffer_size():
            self.pause_writing()

    def timeout_keep_alive_handler(self) -> None:
        self._close()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._unread is None:
            self._unread = self.loop.call_later(self._header_timeout_s, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self.transport.is_closing():  # else the rest must be read in time too
            self._read_again()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, self._door.counted(cycle.scope["raw_path"], app))

    def shutdown(self) -> None:
        if self._is_idle():
            self.loop.call_later(_LAST_S, self._close_if_idle)
        else:
            super().shutdown()

    def send_400_response(self, msg: str) -> None:
        self._refuse(HttpInvalid())

    def _should_upgrade(self) -> bool:
        return True  # called where a request has such a header; `handle_websocket_upgrade` declines it

    def handle_websocket_upgrade(self) -> None:
        """Declines the offer by parsing the request again without it: the parser reads no body after an offer."""
        offered = sys.exception()
        if self.parser.get_method() == b"CONNECT" or not isinstance(offered, HttpParserUpgrade):
            self._refuse(HttpInvalid())
            return
        kept = [name + b": " + value for name, value in self.headers if name != b"upgrade"]
        version = b"HTTP/" + self.parser.get_http_version().encode()
        head = b"\r\n".join([b" ".join([self.parser.get_method(), self.url, version]), *kept, b"", b""])
        self.parser = HttpRequestParser(self)
        self.data_received(head + self._data[offered.args[0] :])

    def _turn_away(self, head: bytes, body: bytes) -> None:
        """Answers a request of which only the headers are here; the rest is read in time, and dropped."""
        self._turned_away = True
        self._closes = self._draining() or self.expect_100_continue or not self.parser.should_keep_alive()
        usual = b"".join(name + b": " + value + b"\r\n" for name, value in self.server_state.default_headers)
        self.transport.write(head + usual + (b"connection: close\r\n\r\n" if self._closes else b"\r\n") + body)
        self._wait()

    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _close_if_idle(self) -> None:
        if self._is_idle():
            self._close()

    def _close(self) -> None:
        """Closes the connection once the client has read the rest, and aborts it if the client does not."""
        self.transport.close()
        if self.transport.get_write_buffer_size():
            self.pause_writing()

    def _refuse(self, error: MaeumError) -> None:
        answer = problem_response(error, uuid.uuid4().hex)
        answer.headers["connection"] = "close"
        head = b"".join(name + b": " + value + b"\r\n" for name, value in answer.raw_headers)
        self.transport.write(STATUS_LINE[error.status] + head + b"\r\n" + bytes(answer.body))
        self.transport.close()
        self._refused(error.code)

    def _wait(self) -> None:
        self._wait_no_more()
        self._timer = self.loop.call_later(self._header_timeout_s, self._close)

    def _wait_no_more(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _read_again(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None
