"""One connection of the server: uvicorn's, with the bounds that it lacks.

uvicorn waits forever for the headers of a request, for the rest of a body that is already answered, and for a client to
read its answer; with each, a few slow clients fill the table of open files. It keeps everything that a client sends
after a body (trailers). It takes the body of a request that offers another protocol (`Upgrade: h2c`, as curl's --http2
and Java do) for the next request. Its answer to invalid HTTP is not a problem document, and comes before the answers
to the requests in front of it. It closes a connection while the client still sends, and when the client has sent its
last request, so that answers are lost.
"""

import asyncio
import uuid
from collections.abc import Callable
from typing import Any

from httptools import HttpParserError, HttpParserUpgrade
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from ..errors import HeadersTooLarge, HttpInvalid, MaeumError
from .addresses import unmapped
from .door import Door
from .head import check_head
from .lingering import LingeringTransport
from .problems import problem_response

MAX_HEADER_BYTES = 65_536
# Bytes of chunked framing allowed per byte of body; the smallest chunk has 5 around its one.
_AROUND = 8
# How long an idle connection stays open when the server stops: its client may be sending a request already.
_LAST_S = 1.0
_INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n"
# When interim answers are sent, in seconds after the end of the client's side. Go's client takes five of them.
_PROBES_S = (0.1, 0.3, 0.7, 1.5, 3.1)


class Connection(HttpToolsProtocol):
    """Closes a client that does not send its headers, or the rest of an answered body, within `header_timeout_s`, and
    one that reads nothing of its answer for that long.

    While `draining()`, every answer also closes its connection, so that clients move to another server. `refused` gets
    the code of each problem answered here, as these requests never reach the app.
    """

    transport: LingeringTransport

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
        self._probes: list[asyncio.TimerHandle] = []
        self._in_headers = False
        self._spare_bytes = MAX_HEADER_BYTES  # that may still arrive outside a body
        self._running: RequestResponseCycle | None = None
        self._refusal: MaeumError | None = None  # of what follows the requests that are still to be answered

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(LingeringTransport(transport, self._header_timeout_s))
        # On a socket for both families, IPv4 clients come with mapped addresses.
        if self.client is not None:
            self.client = (unmapped(self.client[0]), self.client[1])
        if self.server is not None:
            self.server = (unmapped(self.server[0]), self.server[1])
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended()
        super().connection_lost(exc)

    def ended(self) -> None:
        """Stops all clocks, and tells the request that is being answered that nobody waits for it.

        uvicorn tells only the latest one.
        """
        self._wait_no_more()
        self._unread = _cancelled(self._unread)
        for probe in self._probes:
            probe.cancel()
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()
        self.flow.resume_writing()

    def data_received(self, data: bytes) -> None:
        if self._refusal is not None:
            return
        self._unset_keepalive_if_required()
        self._spare_bytes -= len(data)
        unread = memoryview(data)
        try:
            while unread:
                try:
                    self.parser.feed_data(unread)
                    break
                except HttpParserUpgrade as offered:
                    unread = unread[offered.args[0] :]
                    self._decline_offer()
        except HttpParserError as error:
            cause = error.__context__  # what a method of this class has raised
            self._refuse(cause if isinstance(cause, MaeumError) else HttpInvalid())
            return
        if self._spare_bytes < 0:
            self._refuse(HeadersTooLarge())
        elif self._is_idle() and self._timer is None and self.timeout_keep_alive_task is None:
            self._wait()  # nothing of a request yet, such as empty lines

    def eof_received(self) -> bool:  # type: ignore[override] # uvicorn's always lets the transport close
        """Keeps the connection of a client that has ended its side and may still wait for its answer."""
        if self._refusal is None and (self._is_idle() or self.cycle.more_body):
            self.transport.close()
            return False
        self.cycle.keep_alive = False
        self._probes = [self.loop.call_later(after_s, self._probe) for after_s in _PROBES_S]
        return True

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
        check_head(self.parser.get_http_version(), self.headers)
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
            if self.cycle is not None:
                self.cycle.more_body = False  # also where the answer was complete before
        self._spare_bytes = MAX_HEADER_BYTES
        self._wait_no_more()
        self._turned_away = False
        if self._closes:
            self.transport.close()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing():
            return
        if self._refusal is not None and self._is_answered():
            self._answer(self._refusal)
        elif self._is_idle() and self.cycle.more_body:
            self._wait()

    def timeout_keep_alive_handler(self) -> None:
        self._give_up()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._unread is None:
            self._unread = self.loop.call_later(self._header_timeout_s, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._unread = _cancelled(self._unread)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, self._door.counted(cycle.scope["raw_path"], app))

    def end_after_answers(self) -> None:
        """Makes the answer to the latest request the last one. An idle connection stays for its next request."""
        if not self._is_idle():
            self.cycle.keep_alive = False

    def shutdown(self) -> None:
        self.end_after_answers()
        if self._is_idle():
            self.loop.call_later(_LAST_S, self._give_up)

    def _should_upgrade(self) -> bool:
        return True  # so that no request begins before `_decline_offer`

    def _decline_offer(self) -> None:
        """Declines an offer by parsing the request again without it: the parser reads no body after an offer.

        Raises HttpParserError for CONNECT.
        """
        if self.parser.get_method() == b"CONNECT":
            raise HttpParserError
        kept = [name + b": " + value for name, value in self.headers if name != b"upgrade"]
        version = b"HTTP/" + self.parser.get_http_version().encode()
        head = [b" ".join([self.parser.get_method(), self.url, version]), *kept, b"", b""]
        self.parser.feed_data(b"\r\n".join(head))

    def _turn_away(self, head: bytes, body: bytes) -> None:
        """Answers a request of which only the headers are here; the rest is read in time, and dropped."""
        self._turned_away = True
        self._closes = self._draining() or self.expect_100_continue or not self.parser.should_keep_alive()
        usual = b"".join(name + b": " + value + b"\r\n" for name, value in self.server_state.default_headers)
        self.transport.write(head + usual + (b"connection: close\r\n\r\n" if self._closes else b"\r\n") + body)
        self._wait()

    def _is_idle(self) -> bool:
        """Whether every request that has come is answered."""
        return self.cycle is None or self.cycle.response_complete

    def _is_answered(self) -> bool:
        """Whether no request is being answered. Others may wait behind it."""
        return self._running is None or self._running.response_complete

    def _give_up(self) -> None:
        """Ends a connection whose client had its time, after the answers that are still under way."""
        if not self._is_idle():
            self.cycle.keep_alive = False
        elif self.transport.get_write_buffer_size():
            self.transport.close()
        else:
            self.transport.close_now()

    def _refuse(self, error: MaeumError) -> None:
        """Ends the connection with an answer to what cannot be read, after those to the requests before it."""
        cycle = self.cycle
        if cycle is not None and cycle.more_body:  # it is the body of the latest request
            if cycle.response_started:
                self.transport.close()
                return
            if cycle is self._running:
                self._answer(error)
                return
            self.pipeline.popleft()
        if self._is_answered():
            self._answer(error)
        else:
            self._refusal = error
            self.flow.pause_reading()

    def _answer(self, error: MaeumError) -> None:
        answer = problem_response(error, uuid.uuid4().hex)
        answer.headers["connection"] = "close"
        head = b"".join(name + b": " + value + b"\r\n" for name, value in answer.raw_headers)
        self.transport.write(STATUS_LINE[error.status] + head + b"\r\n" + bytes(answer.body))
        self.transport.close()
        self._refused(error.code)

    def _probe(self) -> None:
        """Sends an interim answer: a client that is gone, not only done with sending, answers the first with a reset,
        on which the second fails.
        """
        cycle = self._running
        if cycle is not None and not cycle.response_started and cycle.scope["http_version"] != "1.0":
            self.transport.write(_INTERIM)

    def _wait(self) -> None:
        self._wait_no_more()
        self._timer = self.loop.call_later(self._header_timeout_s, self._give_up)

    def _wait_no_more(self) -> None:
        self._timer = _cancelled(self._timer)


def _cancelled(timer: asyncio.TimerHandle | None) -> asyncio.TimerHandle | None:
    """None, in place of `timer`."""
    if timer is not None:
        timer.cancel()
    return None
