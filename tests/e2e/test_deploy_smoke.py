"""deploy/smoke.py and the container's health check against a real service."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.harness.processes import free_port
from tests.support import ROOT

DEPLOY = ROOT / "deploy"
SMOKE = DEPLOY / "smoke.py"
IS_READY = DEPLOY / "container_is_ready.py"


def run(script: Path, *arguments: str, port: int) -> "subprocess.CompletedProcess[str]":
    # -I hides this environment, as in the container: the scripts need only Python.
    environment = {**os.environ, "MAEUM_PORT": str(port)}
    command = [sys.executable, "-I", str(script), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def service(store: Path) -> Iterator[int]:
    """The port of a running service."""
    port = free_port()
    command = [Path(sys.executable).with_name("maeum"), "serve", "--port", str(port)]
    environment = {
        **os.environ,
        "MAEUM_MODEL_STORE": str(store),
        "MAEUM_THREADS": "1",
        "MAEUM_DRAIN_S": "0",
        "PYTHONPATH": str(DEPLOY.parent),
    }
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        yield port
        process.terminate()
        process.wait(timeout=60)


def test_a_working_service(service: int) -> None:
    smoked = run(SMOKE, f"http://127.0.0.1:{service}", port=service)
    assert smoked.returncode == 0, smoked.stderr
    assert [line.partition(":")[0] for line in smoked.stdout.splitlines()] == [
        "audio",
        "text",
        "audio and text",
        "no audio",
        "metrics",
    ]
    assert run(IS_READY, port=service).returncode == 0


def test_no_service() -> None:
    port = free_port()
    smoked = run(SMOKE, f"http://127.0.0.1:{port}", "--wait", "0", port=port)
    assert smoked.returncode == 1 and "smoke: Not ready" in smoked.stderr and "Traceback" not in smoked.stderr
    checked = run(IS_READY, port=port)
    assert checked.returncode == 1 and "No answer" in checked.stderr and "Traceback" not in checked.stderr
