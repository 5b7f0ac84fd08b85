"""The settings of `maeum serve`: access by keys, refusals to start, and its log, traces and metrics."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.cli import main

MAEUM = Path(sys.executable).with_name("maeum")
Start = Callable[..., Any]


def test_a_key_made_by_the_command_lets_in_and_rotates_without_a_restart(
    start_service: Start, tmp_path: Path, wav: bytes
) -> None:
    def new_key(*options: str) -> str:
        made = subprocess.run([MAEUM, "key", *options], capture_output=True, text=True, check=True)
        with keys.open("a") as file:
            file.write(made.stdout)
        (key,) = (word for word in made.stderr.split() if word.startswith("maeum_"))
        return key

    keys = tmp_path / "keys"
    first = new_key("shop")
    service = start_service(keys_file=keys, admin=True, host="0.0.0.0")
    address = service.address.replace("0.0.0.0", "127.0.0.1")
    with service.client() as client:
        client.base_url = address
        for path in ("/predict", "/admin/reload"):
            assert client.post(path).json()["code"] == "key_missing"
        for path in ("/model", "/metrics", "/docs", "/openapi.json"):
            assert client.get(path).status_code == 401
        assert client.get("/health/ready").status_code == 200
        asked = {"files": {"audio": wav}}
        assert client.post("/predict", headers={"X-API-Key": first}, **asked).status_code == 200
        second = new_key("shop")
        operator = new_key("operator", "--admin")
        assert client.post("/predict", headers={"Authorization": f"Bearer {second}"}, **asked).status_code == 200
        keys.write_text("".join(keys.read_text().splitlines(keepends=True)[1:]))
        assert client.post("/predict", headers={"X-API-Key": first}, **asked).json()["code"] == "key_unknown"
        assert client.post("/admin/reload", headers={"X-API-Key": second}, json={}).json()["code"] == "key_not_admin"
        assert client.post("/admin/reload", headers={"X-API-Key": operator}, json={}).status_code == 200
    log = service.log.read_text()
    assert "key=shop" in log and not [key for key in (first, second, operator) if key in log]


def test_pages_of_other_sites_are_refused(start_service: Start) -> None:
    """Where the service has no keys, also those that point their own name at this machine."""
    with start_service().client() as client:
        port = client.base_url.port
        for host in (f"localhost:{port}", f"127.0.0.1:{port}", "[::1]", socket.gethostname(), "10.1.2.3"):
            assert client.get("/health/ready", headers={"Host": host}).status_code == 200
        rebound = client.post("/predict", data={"transcript": "하"}, headers={"Host": f"page.example:{port}"})
        assert (rebound.status_code, rebound.json()["code"]) == (421, "host_not_allowed")
        page = {"Origin": "https://page.example", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}
        posted = client.post("/predict", data={"transcript": "하"}, headers=page)
        assert (posted.status_code, posted.json()["code"]) == (403, "origin_not_allowed")
        assert 'maeum_rejected_total{reason="host_not_allowed"} 1.0' in client.get("/metrics").text


def test_a_service_for_others_takes_any_name(start_service: Start) -> None:
    service = start_service(host="0.0.0.0", without_keys="anyone")
    with service.client() as client:
        for host in ("speech.example.org", "maeum:8000", "10.1.2.3"):
            assert client.post("/predict", data={"transcript": "하"}, headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"MAEUM_ALLOWED_HOSTS": "https://example.org"}, "MAEUM_ALLOWED_HOSTS has 'https://example.org'"),
        ({"MAEUM_HOST": "0.0.0.0"}, "MAEUM_WITHOUT_KEYS=anyone"),
        ({"MAEUM_HOST": "0.0.0.0", "MAEUM_WITHOUT_KEYS": "anyone", "MAEUM_ADMIN": "true"}, "maeum key NAME --admin"),
        ({"MAEUM_KEYS_FILE": "/nonexistent"}, "MAEUM_KEYS_FILE"),
        ({"MAEUM_RATE_LIMIT": "often"}, "MAEUM_RATE_LIMIT is 'often'"),
        ({"MAEUM_CORS_ORIGINS": "example.com"}, "MAEUM_CORS_ORIGINS has 'example.com'"),
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER is 'zipkin'"),
    ],
)
def test_settings_that_it_does_not_start_with(
    options: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in options.items():
        monkeypatch.setenv(name, value)
    assert main(["serve", "--port", "0"]) == 1
    printed = capsys.readouterr().err
    assert message in printed and printed.count("\n") == 1


def test_too_few_open_files_stop_the_start() -> None:
    started = subprocess.run(
        ["sh", "-c", 'ulimit -n 50; exec "$0" serve --port 0', str(MAEUM)], capture_output=True, text=True
    )
    assert started.returncode == 1
    assert re.search(r"At most 50 files may be open, and .* needs 54 with MAEUM_DECODERS=2", started.stderr)
    assert started.stderr.count("\n") == 1


def test_a_request_is_one_line_one_trace_and_one_count(start_service: Start, wav: bytes) -> None:
    service = start_service({"OTEL_TRACES_EXPORTER": "console"}, log_format="json", rate_limit="3/hour")
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    sent = {"traceparent": f"00-{trace}-00f067aa0ba902b7-01", "X-Request-ID": "mine"}
    with service.client() as client:
        answer = client.post("/predict", files={"audio": wav}, headers=sent)
        assert trace in answer.headers["traceresponse"]
        assert [stage.partition(";")[0] for stage in answer.headers["server-timing"].split(", ")] == [
            *("decoder_queue", "decode", "queue", "inference", "total")
        ]
        counted = client.get("/metrics").text
        assert client.get("/model").status_code == 200
        late = client.get("/model")
        assert (late.status_code, late.json()["code"]) == (429, "rate_limited") and int(late.headers["retry-after"]) > 1
    assert 'maeum_requests_total{method="POST",route="/predict",status="200"} 1.0' in counted
    assert 'maeum_model_info{name="starter",precision="int8",provider="cpu",version="0.1.0"} 1.0' in counted
    assert "maeum_batch_size_count 1.0" in counted and 'maeum_stage_seconds_count{stage="decode"} 1.0' in counted
    service.process.terminate()
    assert service.process.wait(timeout=30) == 0
    written = service.log.read_text()
    lines = [json.loads(line) for line in written.splitlines() if line.startswith('{"time"')]
    (line,) = (line for line in lines if line.get("route") == "/predict")
    assert (line["request_id"], line["trace_id"], line["status"]) == ("mine", trace, 200)
    assert written.count(f'"trace_id": "0x{trace}"') >= 4  # the request's span, and one for each stage


def test_several_workers_count_together(store: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    (tmp_path / "numbers").mkdir()
    variables = {
        "PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "numbers"),
        "MAEUM_MODEL_STORE": str(store),
        "MAEUM_THREADS": "1",
    }
    command = [
        sys.executable,
        "-m",
        "uvicorn",
        "app.main:app",
        "--workers",
        "2",
        "--port",
        str(port),
    ]
    log = (tmp_path / "log").open("w")
    service = subprocess.Popen(command, env={**os.environ, **variables}, stdout=log, stderr=log)
    try:
        ready = re.compile(r"^maeum_ready 1\.0$", re.MULTILINE)  # the least of both
        deadline = time.monotonic() + 60
        while not ready.search(_got(port, "/metrics")) or len(list((tmp_path / "numbers").glob("counter_*"))) < 2:
            assert time.monotonic() < deadline and service.poll() is None
            time.sleep(0.05)
        for _ in range(20):  # each on a connection of its own, which either may take
            asked = httpx.post(f"http://127.0.0.1:{port}/predict", files={"transcript": (None, "하")}, timeout=20)
            assert asked.status_code == 200
        counted = {_got(port, "/metrics").count('route="/predict",status="200"} 20.0') for _ in range(5)}
        assert counted == {1}
    finally:
        service.terminate()
        service.wait()
        log.close()


def _got(port: int, path: str) -> str:
    try:
        return httpx.get(f"http://127.0.0.1:{port}{path}", timeout=20).text
    except httpx.TransportError:
        return ""
