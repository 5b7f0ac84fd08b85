"""A server that reads requests and answers 200 with a fixed body. The load generator's own limit is measured on it."""

import asyncio
from multiprocessing.connection import Connection

_BODY = b'{"emotion":{"label":"neutral"}}'
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(_BODY), _BODY)


class _Sink(asyncio.Protocol):
    def __init__(self) -> None:
        self._head = b""
        self._left = 0  # bytes of the body that have not arrived

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if not self._left:
            self._head += data
            end = self._head.find(b"\r\n\r\n")
            if end < 0:
                return
            length = int(self._head.lower().split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
            self._left, data, self._head = length, self._head[end + 4 :], b""
        self._left -= len(data)
        if not self._left:
            self._transport.write(_ANSWER)


def sink(pipe: "Connection[tuple[str, int], None]") -> None:
    """Serves until the process ends; sends its address to `pipe` first."""

    async def serve() -> None:
        server = await asyncio.get_running_loop().create_server(_Sink, "127.0.0.1", 0)
        pipe.send(server.sockets[0].getsockname())
        await server.serve_forever()

    asyncio.run(serve())
