"""The end of a connection from the server's side, in stages, so that its last answer is not lost.

Bytes that lie unread in a socket when it is closed, or arrive afterwards, are answered with a reset. The client's
system then throws away what the client has not read yet: the answer to a request whose body it was still sending.
RFC 9112, 9.6 therefore ends the sending side first, reads on until the client ends its own, and only then closes.
"""

import asyncio
from typing import Any, Protocol, cast

# What a client may still send after its last answer: ten of the largest bodies that are taken by default.
MAX_DISCARDED_BYTES = 250_000_000


class Ending(Protocol):
    """The protocol of a connection."""

    def ended(self) -> None:
        """Called at the first stage: nothing can be written any more."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Called at the last stage."""


class LingeringTransport(asyncio.Transport):
    """A transport whose `close` ends the connection in stages: nothing is written any more, what arrives is discarded.

    The client has `linger_s` seconds, and MAX_DISCARDED_BYTES, to read what was written and to end its side; after that
    the connection is aborted. The protocol of `transport` must be an Ending.
    """

    def __init__(self, transport: asyncio.Transport, linger_s: float) -> None:
        super().__init__()
        self._transport, self._linger_s = transport, linger_s
        self._ended = False

    def close(self) -> None:
        if self.is_closing():
            return
        self._ended = True
        protocol = cast(Ending, self._transport.get_protocol())
        self._transport.set_protocol(_Discarding(self._transport, self._linger_s, protocol))
        self._transport.write_eof()
        self._transport.resume_reading()
        protocol.ended()

    def close_now(self) -> None:
        """Closes without stages: for a connection whose client had its time, or waits for no answer."""
        if not self.is_closing():
            self._transport.close()

    def abort(self) -> None:
        self._transport.abort()

    def is_closing(self) -> bool:
        return self._ended or self._transport.is_closing()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self._ended:
            self._transport.write(data)

    def get_write_buffer_size(self) -> int:
        return self._transport.get_write_buffer_size()

    def pause_reading(self) -> None:
        if not self._ended:
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        self._transport.resume_reading()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._transport.get_extra_info(name, default)


class _Discarding(asyncio.Protocol):
    """Reads until the client ends its side, on which the transport closes itself."""

    def __init__(self, transport: asyncio.Transport, linger_s: float, protocol: Ending) -> None:
        self._transport, self._protocol = transport, protocol
        self._left = MAX_DISCARDED_BYTES
        self._timer = asyncio.get_running_loop().call_later(linger_s, transport.abort)

    def data_received(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left < 0:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        self._protocol.connection_lost(exc)
