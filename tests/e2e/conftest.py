"""The service behind a real socket: in a thread of this process, or in a process of its own."""

import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from app.settings import Settings
from app.web.server import Server

MAEUM = Path(sys.executable).with_name("maeum")


@dataclass
class Running:
    """A service in a process of its own, and where it listens."""

    process: subprocess.Popen[str]
    address: str
    log: Path

    def client(self, **options: Any) -> httpx.Client:
        return httpx.Client(base_url=self.address, timeout=30, **options)

    def children(self) -> list[int]:
        """The processes that it has started and that still run."""
        listed = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        threads = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        return sorted(
            {int(child) for path in threads for child in path.read_text().split()} | set(map(int, listed.split()))
        )


@pytest.fixture
def start_service(store: Path, tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Starts `maeum serve` on the tiny version with these settings, such as `drain_s`, and waits until it is ready.

    `first` is run by the shell before it, such as `ulimit -n 100`.
    """
    with ExitStack() as stack:

        def start(environment: dict[str, str] | None = None, first: str = "", **settings: Any) -> Running:
            given = {"model_store": store, "threads": 1, "decoders": 1, "port": 0, "drain_s": 0, **settings}
            variables = {f"MAEUM_{name.upper()}": str(value) for name, value in given.items()}
            log = tmp_path / f"service-{len(list(tmp_path.glob('service-*')))}.log"
            with log.open("w") as output:
                process = subprocess.Popen(
                    ["sh", "-c", f'{first}\nexec "$0" serve', str(MAEUM)],
                    cwd=tmp_path,
                    env={**os.environ, "PYTHONUNBUFFERED": "1", **variables, **(environment or {})},
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    text=True,
                )
            stack.callback(process.wait)
            stack.callback(process.kill)
            return Running(process, _address(process, log), log)

        yield start


def _address(process: subprocess.Popen[str], log: Path) -> str:
    deadline = time.monotonic() + 60
    while not (found := re.search(r"curl -F audio=@\S+ (http://\S+)/predict", log.read_text())):
        assert process.poll() is None and time.monotonic() < deadline, log.read_text()
        time.sleep(0.02)
    return found[1]


@pytest.fixture
def listen() -> Iterator[Callable[[FastAPI, Settings], tuple[str, int]]]:
    """Serves an app on a free port from a thread, and returns its host and port."""
    with ExitStack() as stack:

        def start(app: FastAPI, settings: Settings) -> tuple[str, int]:
            listener = stack.enter_context(closing(socket.create_server(("127.0.0.1", 0))))
            server = Server(app, settings)
            thread = threading.Thread(target=server.run, args=([listener],))
            thread.start()
            stack.callback(thread.join)
            stack.callback(setattr, server, "should_exit", True)
            address: tuple[str, int] = listener.getsockname()
            with httpx.Client(base_url="http://{}:{}".format(*address)) as client:
                deadline = time.monotonic() + 20
                while client.get("/health/ready").status_code != 200:
                    assert time.monotonic() < deadline
                    time.sleep(0.01)
            return address

        yield start
