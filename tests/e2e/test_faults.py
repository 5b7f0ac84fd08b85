"""Faults of a running service: stopped, killed, exchanged, without a disk or its decoders."""

import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.harness.steady import SteadyClients
from tests.support.tiny_version import make_endless

MAEUM = Path(sys.executable).with_name("maeum")
Start = Callable[..., Any]


def test_sigterm_loses_nothing(start_service: Start, wav: bytes) -> None:
    service = start_service(drain_s=3)
    with SteadyClients(service.address, wav, "정말") as clients, service.client() as client:
        clients.wait_for(20)
        service.process.send_signal(signal.SIGTERM)
        while (ready := client.get("/health/ready")).status_code == 200:
            time.sleep(0.01)
        assert (ready.status_code, ready.json()["code"]) == (503, "not_ready")
        clients.wait_for(20)  # others are still answered
        assert client.get("/health/live").status_code == 200
        assert service.process.wait(timeout=30) == 0
    assert clients.lost == [] and {status for status, _ in clients.answers} == {200}
    assert "Traceback" not in service.log.read_text()


def test_it_starts_and_stops_where_nothing_can_be_written(store: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = {"MAEUM_MODEL_STORE": str(store), "MAEUM_PORT": str(port), "MAEUM_DRAIN_S": "0", "MAEUM_THREADS": "1"}
    with Path("/dev/full").open("w") as full:
        process = subprocess.Popen([str(MAEUM), "serve"], env={**os.environ, **settings}, stdout=full, stderr=full)
    try:
        while _status(f"http://127.0.0.1:{port}/health/ready") != 200:
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()


def _status(address: str) -> int:
    try:
        return httpx.get(address).status_code
    except httpx.ConnectError:
        return 0


def test_a_limit_on_memory_bounds_decoders_too(start_service: Start, wav: bytes) -> None:
    """They ask for more than the system allows, and take what it does."""
    service = start_service(first="ulimit -v 1500000", decode_memory_bytes=2_000_000_000)
    with service.client() as client:
        assert client.post("/predict", files={"audio": wav}).status_code == 200


def test_nothing_leaves_a_core_dump(start_service: Start, wav: bytes, tmp_path: Path) -> None:
    """It would hold people's audio. One byte is Linux's sign for none at all."""
    service = start_service(first="ulimit -c unlimited 2>/dev/null")
    with service.client() as client:
        assert client.post("/predict", files={"audio": wav}).status_code == 200
    for pid in (service.process.pid, *service.children()):
        assert all(limit <= 1 for limit in resource.prlimit(pid, resource.RLIMIT_CORE))
        os.kill(pid, signal.SIGSEGV)
    assert service.process.wait(20) == -signal.SIGSEGV
    assert not list(tmp_path.glob("core*"))


@pytest.mark.parametrize("level", ["1", "2"])
def test_it_serves_under_python_that_leaves_out_assertions(start_service: Start, wav: bytes, level: str) -> None:
    service = start_service(environment={"PYTHONOPTIMIZE": level})
    with service.client() as client:
        assert client.post("/predict", files={"audio": wav, "transcript": (None, "정말")}).status_code == 200
        assert client.post("/predict", files={"audio": b"junk"}).status_code == 415
        assert client.get("/openapi.json").status_code == 200


def test_sigterm_is_heard_while_the_store_does_not_answer(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        store = f"ftp://127.0.0.1:{silent.getsockname()[1]}/models"
        settings = {"MAEUM_MODEL_STORE": store, "MAEUM_PORT": "0", "MAEUM_DRAIN_S": "0", "HOME": str(tmp_path)}
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
        with subprocess.Popen([str(MAEUM), "serve"], env={**os.environ, **settings}, **quiet) as process:
            try:
                with silent.accept()[0]:
                    process.send_signal(signal.SIGTERM)
                    said = process.communicate(timeout=20)[1]  # FTP would wait for 30 s
                assert (process.returncode, said) == (0, b"")
            finally:
                process.kill()


def test_sigterm_ends_it_in_order_where_no_file_is_left(start_service: Start) -> None:
    service = start_service()
    files = len(list(Path(f"/proc/{service.process.pid}/fd").iterdir()))
    resource.prlimit(service.process.pid, resource.RLIMIT_NOFILE, (files + 3, files + 3))
    address = service.address.removeprefix("http://").split(":")
    with ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(socket.create_connection((address[0], int(address[1]))))
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(20) == 0


def test_a_request_half_sent_at_sigterm_is_answered(start_service: Start, wav: bytes) -> None:
    service = start_service()
    sent, go_on = threading.Event(), threading.Event()

    def slowly() -> Iterator[bytes]:
        yield b'--X\r\nContent-Disposition: form-data; name="audio"; filename="a"\r\n\r\n' + wav[:5000]
        sent.set()
        assert go_on.wait(timeout=20)
        yield wav[5000:] + b"\r\n--X--"

    headers = {"content-type": "multipart/form-data; boundary=X"}
    with service.client() as client, ThreadPoolExecutor(1) as threads:
        answer = threads.submit(client.post, "/predict", content=slowly(), headers=headers)
        assert sent.wait(timeout=20)
        service.process.send_signal(signal.SIGTERM)
        with pytest.raises(httpx.ConnectError):
            while httpx.get(service.address + "/health/live"):
                time.sleep(0.01)
        go_on.set()
        assert answer.result().status_code == 200
    assert service.process.wait(timeout=20) == 0


def test_an_answer_during_the_drain_closes_its_connection(start_service: Start) -> None:
    """Also one to a request that had begun before, and one that comes before the body."""
    service = start_service(drain_s=60)
    host, port = service.address.removeprefix("http://").split(":")
    begun, late = (socket.create_connection((host, int(port)), timeout=20) for _ in range(2))
    with begun, late, service.client() as client:
        begun.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n")
        begun.sendall(b"Content-Length: 2\r\n\r\n{")
        assert client.get("/health/live").status_code == 200  # so that what was sent has been read
        service.process.send_signal(signal.SIGTERM)
        while client.get("/health/ready").status_code == 200:
            time.sleep(0.01)
        begun.sendall(b"}")
        late.sendall(b"POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 8000000\r\n\r\n" + bytes(8_000_000))
        for connection, status in ((begun, b"422"), (late, b"404")):
            with connection.makefile("rb") as stream:
                answer = stream.read()
            assert answer.startswith(b"HTTP/1.1 " + status) and b"\r\nconnection: close\r\n" in answer
        service.process.send_signal(signal.SIGTERM)


def test_sigkill_leaves_nothing_behind_and_it_starts_again(start_service: Start, wav: bytes) -> None:
    service = start_service()
    with service.client() as client:
        assert client.post("/predict", files={"audio": wav}).status_code == 200
    children = service.children()
    assert children
    service.process.kill()
    service.process.wait()
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{child}").exists() for child in children):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    again = start_service(port=int(service.address.rpartition(":")[2]))
    with again.client() as client:
        assert client.post("/predict", files={"audio": wav}).status_code == 200


def test_killed_decoders_lose_no_request(start_service: Start, wav: bytes) -> None:
    service = start_service(decoders=2)
    with SteadyClients(service.address, wav, "정말") as clients:
        for _ in range(3):
            clients.wait_for(100)  # by then those that were started have answered too
            for child in service.children():
                os.kill(child, signal.SIGKILL)
        clients.wait_for(20)
    statuses = [status for status, _ in clients.answers]
    assert clients.lost == [] and set(statuses) <= {200, 503}
    assert (
        statuses.count(503) <= 4
    )  # a clip that was killed twice: a decoder that was still starting, on a busy machine


def test_a_new_version_is_served_without_a_failed_request(
    start_service: Start, store: Path, tmp_path: Path, make_version: Callable[..., Path], wav: bytes
) -> None:
    growing = Path(shutil.copytree(store, tmp_path / "growing"))
    service = start_service(model_store=growing)
    with SteadyClients(service.address, wav, "정말") as clients:
        clients.wait_for(20)
        make_version(growing, version="0.2.0")
        service.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + 30
        while (200, "0.2.0") not in clients.answers:
            assert time.monotonic() < deadline, service.log.read_text()
            time.sleep(0.01)
        clients.wait_for(20)
    assert clients.lost == [] and set(clients.answers) == {(200, "0.1.0"), (200, "0.2.0")}
    first_new = clients.answers.index((200, "0.2.0"))
    assert clients.answers[first_new:].count((200, "0.1.0")) < 4  # each other client had one under way
    assert "starter/0.2.0 is served now" in service.log.read_text()


def test_admin_reload(
    start_service: Start, store: Path, tmp_path: Path, make_version: Callable[..., Path], wav: bytes
) -> None:
    growing = Path(shutil.copytree(store, tmp_path / "growing"))
    service = start_service(model_store=growing, admin=True)
    broken = make_version(growing, version="0.3.0")
    (broken / "emotion.int8.onnx").write_bytes(b"x")
    make_version(growing, name="other", version="1.0.0")
    with SteadyClients(service.address, wav, "정말") as clients, service.client() as client:
        clients.wait_for(10)
        for asked, message in [({}, "emotion"), ({"model": "absent"}, "absent"), ({"model": "../x"}, "NAME/VERSION")]:
            refused = client.post("/admin/reload", json=asked)
            assert (refused.status_code, refused.json()["code"]) == (409, "reload_failed")
            assert message in refused.json()["detail"] and str(tmp_path) not in refused.text
        assert client.get("/health/ready").status_code == 200
        answer = client.post("/admin/reload", json={"model": "other"})
        assert answer.json() == {"model": {"name": "other", "version": "1.0.0"}}
        assert client.get("/model").json()["manifest"]["name"] == "other"
        assert client.post("/admin/reload", json={"modle": "other"}).json()["code"] == "unknown_field"
        clients.wait_for(10)
    assert clients.lost == [] and {status for status, _ in clients.answers} == {200}


def test_a_model_that_never_answers_is_not_exchanged(
    start_service: Start, store: Path, tmp_path: Path, make_version: Callable[..., Path], wav: bytes
) -> None:
    growing = Path(shutil.copytree(store, tmp_path / "growing"))
    service = start_service(model_store=growing, admin=True, warm_up_timeout_s=1)
    make_endless(make_version(growing, version="0.2.0"))
    with service.client() as client:
        refused = client.post("/admin/reload", json={})
        assert refused.json()["code"] == "reload_failed" and "did not end within 1 s" in refused.json()["detail"]
        assert client.get("/health/ready").status_code == 200
        assert client.post("/predict", files={"audio": wav}).json()["model"]["version"] == "0.1.0"
    service.process.terminate()
    assert service.process.wait(20) == 0


def test_admin_is_off_unless_switched_on(start_service: Start) -> None:
    with start_service(metrics=False).client() as client:
        assert client.post("/admin/reload").json()["code"] == "not_found"
        assert client.get("/metrics").json()["code"] == "not_found"


def test_a_full_disk_disturbs_nobody(start_service: Start, wav: bytes) -> None:
    """No file may grow by a byte, and there is no folder for temporary files."""

    service = start_service(environment={"TMPDIR": "/nonexistent"})
    resource.prlimit(service.process.pid, resource.RLIMIT_FSIZE, (0, 0))
    with service.client() as client:
        for content in (wav, wav + bytes(8_000_000)):
            assert client.post("/predict", files={"audio": content}).status_code == 200
        assert client.post("/predict", files={"audio": b"junk"}).status_code == 415
        assert client.get("/health/ready").status_code == 200
