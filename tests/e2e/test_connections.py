"""Clients that keep to HTTP and mean no good: none may hold a connection, or make the service grow."""

import re
import socket
import time
from collections.abc import Callable, Iterator

import httpx
import pytest
from fastapi import FastAPI

from app.engine.load import Model
from app.settings import Settings
from app.web.api import create_app
from app.web.lingering import MAX_DISCARDED_BYTES

Serve = Callable[..., httpx.Client]
HEALTH = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"
LAST = HEALTH[:-2] + b"Connection: close\r\n\r\n"
CHUNKED = (
    b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=X\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)
TRANSCRIPT = b'--X\r\nContent-Disposition: form-data; name="transcript"\r\n\r\nhm\r\n--X--\r\n'


@pytest.fixture
def serve(listen: Callable[[FastAPI, Settings], tuple[str, int]], settings: Settings, model: Model) -> Serve:
    def start(**changed: float) -> httpx.Client:
        own = settings.model_copy(update=changed)
        host, port = listen(create_app(own, model), own)
        return httpx.Client(base_url=f"http://{host}:{port}", timeout=20)

    return start


@pytest.fixture
def connect() -> Iterator[Callable[..., socket.socket]]:
    made: list[socket.socket] = []

    def start(client: httpx.Client, receive_bytes: int = 0) -> socket.socket:
        connection = socket.socket()
        made.append(connection)
        connection.settimeout(20)
        if receive_bytes:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        connection.connect((client.base_url.host, client.base_url.port))
        return connection

    yield start
    for connection in made:
        connection.close()


def test_empty_lines_after_a_request_do_not_keep_a_connection(
    serve: Serve, connect: Callable[..., socket.socket]
) -> None:
    with serve(header_timeout_s=0.3) as client:
        idle = connect(client)
        idle.sendall(HEALTH)
        assert idle.recv(10_000).startswith(b"HTTP/1.1 200")
        idle.sendall(b"\r\n")
        assert idle.recv(100) == b""


def test_a_client_that_reads_nothing_is_not_waited_for(serve: Serve, connect: Callable[..., socket.socket]) -> None:
    with serve(header_timeout_s=0.3) as client:
        before = _open_files(client)
        deaf = connect(client, receive_bytes=4096)
        deaf.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 400)
        _until(lambda: _open_files(client) == before + 2)  # both ends of the connection are in this process
        _until(lambda: _open_files(client) == before + 1)
        assert 'reason="internal_error"} 0.0' in client.get("/metrics").text


@pytest.mark.parametrize("trailer", [b"a: b\r\n" * 1000, b"a" * 6000], ids=["many", "endless"])
def test_bytes_after_a_body_are_bounded(serve: Serve, connect: Callable[..., socket.socket], trailer: bytes) -> None:
    with serve() as client:
        for request in (CHUNKED, CHUNKED.replace(b"POST /predict", b"GET /health/live")):
            endless = connect(client)
            endless.sendall(request + b"0\r\n")
            sent = 0
            with pytest.raises(OSError):
                while sent < 2 * MAX_DISCARDED_BYTES:
                    endless.sendall(trailer)
                    sent += len(trailer)
        assert client.get("/health/live").status_code == 200


def test_a_body_in_the_smallest_chunks_with_a_trailer_is_taken(
    serve: Serve, connect: Callable[..., socket.socket]
) -> None:
    with serve() as client:
        small = connect(client)
        body = TRANSCRIPT.replace(b"hm", b"hm" * 900) + b"\r\n" * 20_000
        small.sendall(CHUNKED)
        small.sendall(b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\nX-Request-ID: late\r\n\r\n")
        answer = small.recv(10_000)
        assert answer.startswith(b"HTTP/1.1 200") and b"late" not in answer


@pytest.mark.parametrize("together", [True, False])
def test_an_offer_of_another_protocol_is_declined_and_the_body_is_read(
    serve: Serve, connect: Callable[..., socket.socket], together: bool
) -> None:
    offer = b"POST /predict HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
    form = b"Content-Type: multipart/form-data; boundary=X\r\nContent-Length: %d\r\n\r\n" % len(TRANSCRIPT)
    with serve() as client:
        offering = connect(client)
        if together:
            offering.sendall(offer + form + TRANSCRIPT)
        else:
            offering.sendall(offer)
            offering.sendall(form)
            client.get("/health/live")  # so that what was sent has been read
            offering.sendall(TRANSCRIPT)
        assert offering.recv(10_000).startswith(b"HTTP/1.1 200")
        offering.sendall(HEALTH)
        assert offering.recv(10_000).startswith(b"HTTP/1.1 200")


def test_the_body_of_such_an_offer_is_no_request(serve: Serve, connect: Callable[..., socket.socket]) -> None:
    with serve() as client:
        offering = connect(client)
        offering.sendall(HEALTH[:-2] + b"Connection: Upgrade\r\nUpgrade: x\r\nContent-Length: %d\r\n\r\n" % len(HEALTH))
        assert offering.recv(10_000).startswith(b"HTTP/1.1 200")
        offering.sendall(HEALTH + b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n")
        assert offering.recv(10_000).startswith(b"HTTP/1.1 404")


def test_any_number_of_offers_is_declined(serve: Serve, connect: Callable[..., socket.socket]) -> None:
    with serve() as client:
        offering = connect(client)
        offering.sendall((HEALTH[:-2] + b"Connection: Upgrade\r\nUpgrade: x\r\n\r\n") * 2000 + LAST)
        assert _all(offering).count(b"HTTP/1.1 200 OK\r\n") == 2001


def test_connect_is_no_request(serve: Serve, connect: Callable[..., socket.socket]) -> None:
    with serve() as client:
        tunnel = connect(client)
        tunnel.sendall(b"CONNECT other:80 HTTP/1.1\r\nHost: other\r\n\r\n")
        assert tunnel.recv(10_000).startswith(b"HTTP/1.1 400")
        assert tunnel.recv(10_000) == b""


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
@pytest.mark.parametrize(("path", "limit", "status"), [(b"/predict", 1000, 413), (b"/nothing", 25_000_000, 404)])
def test_a_client_that_sends_on_gets_its_last_answer(
    serve: Serve, connect: Callable[..., socket.socket], version: bytes, path: bytes, limit: int, status: int
) -> None:
    size = 8_000_000  # more than the buffers of both sides
    with serve(max_body_bytes=limit) as client:
        for _ in range(5):
            sending = connect(client)
            sending.sendall(b"POST %s HTTP/%s\r\nHost: x\r\nContent-Length: %d\r\n" % (path, version, size))
            sending.sendall(b"Connection: close\r\n\r\n" + bytes(size))
            assert _all(sending).startswith(b"HTTP/1.1 %d" % status)


def test_a_client_that_sends_on_after_bytes_that_are_no_http_gets_its_answer(
    serve: Serve, connect: Callable[..., socket.socket]
) -> None:
    with serve() as client:
        sending = connect(client)
        sending.sendall(bytes(8_000_000))
        assert _all(sending).startswith(b"HTTP/1.1 400")


def test_a_client_that_does_not_end_its_side_is_not_waited_for(
    serve: Serve, connect: Callable[..., socket.socket]
) -> None:
    with serve(header_timeout_s=0.3) as client:
        before = _open_files(client)
        staying = connect(client)
        staying.sendall(LAST)
        assert _all(staying).startswith(b"HTTP/1.1 200")
        _until(lambda: _open_files(client) == before + 1)  # this process' own end


def test_a_client_that_has_ended_its_side_gets_its_answers(serve: Serve, connect: Callable[..., socket.socket]) -> None:
    form = b"Content-Type: multipart/form-data; boundary=X\r\nContent-Length: %d\r\n\r\n" % len(TRANSCRIPT)
    request = b"POST /predict HTTP/1.1\r\nHost: x\r\n" + form + TRANSCRIPT
    with serve() as client:
        before = _open_files(client)
        for sent, count in ((request, 1), (HEALTH + request * 3, 4), (request.replace(b"/1.1", b"/1.0"), 1)):
            ending = connect(client)
            ending.sendall(sent)
            ending.shutdown(socket.SHUT_WR)
            assert _all(ending).count(b"HTTP/1.1 200 OK\r\n") == count
            ending.close()
        _until(lambda: _open_files(client) == before)


@pytest.mark.parametrize(
    "broken",
    [
        b"no http\r\n\r\n",
        CHUNKED + b"no length\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nLong: " + b"x" * 1_000_000,
    ],
    ids=["head", "body", "endless head"],
)
def test_what_cannot_be_read_is_refused_after_the_answers_before_it(
    serve: Serve, connect: Callable[..., socket.socket], broken: bytes
) -> None:
    form = b"Content-Type: multipart/form-data; boundary=X\r\nContent-Length: %d\r\n\r\n" % len(TRANSCRIPT)
    request = b"POST /predict HTTP/1.1\r\nHost: x\r\n" + form + TRANSCRIPT
    with serve() as client:
        sending = connect(client)
        sending.sendall(request + HEALTH + broken)
        statuses = re.findall(rb"HTTP/1.1 (\d+)", _all(sending))
        assert statuses[:2] == [b"200", b"200"] and statuses[2:] in ([b"400"], [b"431"])


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /health/live HTTP/1.1\r\n\r\n", 400),
        (b"GET /health/live HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
        (b"GET /health/live HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
        (b"GET /health/live\r\n\r\n", 400),
        (b"GET /health/live HTTP/1.0\r\n\r\n", 200),
        (CHUNKED.replace(b"chunked", b"gzip, chunked") + b"0\r\n\r\n", 501),
        (CHUNKED.replace(b"chunked", b"chunked, gzip") + b"0\r\n\r\n", 400),
        (CHUNKED.replace(b"HTTP/1.1", b"HTTP/1.0") + b"0\r\n\r\n", 400),
        (HEALTH[:-2] + b"Content-Length: " + b"0" * 5000 + b"\r\nConnection: close\r\n\r\n", 200),
    ],
)
def test_heads_that_http_forbids(serve: Serve, connect: Callable[..., socket.socket], head: bytes, status: int) -> None:
    with serve() as client:
        sending = connect(client)
        sending.sendall(head)
        answer = _all(sending)
        assert answer.startswith(b"HTTP/1.1 %d" % status)
        assert status == 200 or b"application/problem+json" in answer


def _all(connection: socket.socket) -> bytes:
    """What arrives on `connection` until the server ends its side."""
    with connection.makefile("rb") as stream:
        return stream.read()


def _open_files(client: httpx.Client) -> int:
    found = re.search(r"^process_open_fds (\S+)", client.get("/metrics").text, re.MULTILINE)
    assert found is not None
    return int(float(found[1]))


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
