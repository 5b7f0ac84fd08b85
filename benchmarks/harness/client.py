"""A minimal HTTP/1.1 client for load tests: prebuilt requests, keep-alive connections, hardly any parsing of answers.

Answers must have a Content-Length, as those of all the services compared here do.
"""

import asyncio

Address = tuple[str, int]

TIMEOUT_S = 60.0  # a later answer counts as a failure
READY = b"GET /health/ready HTTP/1.1\r\nHost: benchmark\r\n\r\n"
_BOUNDARY = "maeum-benchmark-boundary-4d592675"


def predict_request(wav: bytes | None, transcript: str | None) -> bytes:
    """A whole POST /predict with `wav` as a file and `transcript` as a field, as a browser or curl sends it."""
    parts = []
    if wav is not None:
        disposition = b'Content-Disposition: form-data; name="audio"; filename="clip.wav"'
        parts.append(disposition + b"\r\nContent-Type: audio/wav\r\n\r\n" + wav)
    if transcript is not None:
        parts.append(f'Content-Disposition: form-data; name="transcript"\r\n\r\n{transcript}'.encode())
    body = b"".join(b"--" + _BOUNDARY.encode() + b"\r\n" + part + b"\r\n" for part in parts)
    body += f"--{_BOUNDARY}--\r\n".encode()
    head = f"POST /predict HTTP/1.1\r\nHost: benchmark\r\nContent-Type: multipart/form-data; boundary={_BOUNDARY}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


class Connection(asyncio.Protocol):
    """One keep-alive connection with at most one request in flight. Answers must carry a Content-Length."""

    def __init__(self) -> None:
        self.open = False
        self.used = False
        self.body = b""
        self._received = bytearray()
        self._waiter: asyncio.Future[str] | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport, self.open = transport, True

    def connection_lost(self, error: Exception | None) -> None:
        self.open = False
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(error or ConnectionResetError("closed before it answered"))

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end < 0 or self._waiter is None or self._waiter.done():
            return
        head = self._received[:end].lower()
        name = head.find(b"\r\ncontent-length:")
        if name < 0:
            self._waiter.set_exception(ValueError("an answer has no Content-Length"))
            return
        length = int(head[name + 17 :].split(b"\r\n", 1)[0])
        if len(self._received) >= end + 4 + length:
            self.body = bytes(self._received[end + 4 : end + 4 + length])
            self._received.clear()
            self.open = b"\r\nconnection: close" not in head
            self._waiter.set_result(head[9:12].decode())

    async def send(self, request: bytes) -> str:
        """Sends `request` and returns the status of the answer. Raises OSError, TimeoutError or ValueError."""
        assert self._transport is not None
        self._waiter = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        async with asyncio.timeout(TIMEOUT_S):
            status = await self._waiter
        self.used = True
        return status

    def close(self) -> None:
        self.open = False
        if self._transport is not None:
            self._transport.abort()


class Pool:
    """Connections to `address`. Opens another when none is free, so that a slow server never delays a request."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._free: list[Connection] = []

    async def send(self, request: bytes) -> str:
        """The status of the answer, or "failed". Replaces a connection that the server closed while it was idle."""
        while True:
            connection = self._free.pop() if self._free else None
            try:
                if connection is None:
                    _, connection = await asyncio.get_running_loop().create_connection(Connection, *self._address)
                elif not connection.open:
                    continue
                reused = connection.used
                status = await connection.send(request)
            except (OSError, TimeoutError, ValueError) as error:
                if connection is not None:
                    connection.close()
                    if reused and isinstance(error, ConnectionError):
                        continue
                return "failed"
            if connection.open:
                self._free.append(connection)
            else:
                connection.close()
            return status

    def close(self) -> None:
        for connection in self._free:
            connection.close()
