"""Starts a service, waits for it, and measures and stops its whole process tree. Linux only: it reads /proc.

Processes of a tree share a mark in their environment. Children inherit it even as daemons that leave their parent, as
some frameworks start them; children with another environment are found by their parent.
"""

import asyncio
import os
import re
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from .client import Address, Pool

_MARK = "BENCHMARK_SERVICE"
_STOPPING_S = 20.0


def free_port() -> int:
    """A port of 127.0.0.1 that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


class Service:
    """A command that listens on `port` of 127.0.0.1 once it is up. Use it in a `with`."""

    def __init__(self, command: Sequence[str], port: int, environment: Mapping[str, str], folder: Path) -> None:
        """Starts `command` in `folder`, which also gets its log."""
        self.address: Address = ("127.0.0.1", port)
        self._log = folder / f"{port}.log"
        self._mark = f"{_MARK}={uuid.uuid4().hex}"
        self._started = time.perf_counter()
        marked = {**os.environ, **environment, _MARK: self._mark.partition("=")[2]}
        with self._log.open("wb") as file:
            self.process = subprocess.Popen(
                command, env=marked, cwd=folder, stdout=file, stderr=file, start_new_session=True
            )

    def __enter__(self) -> "Service":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(_STOPPING_S)
        while left := self.pids():
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.process.poll()  # otherwise it stays a zombie
            time.sleep(0.05)

    def wait(self, request: bytes, timeout_s: float = 120.0) -> float:
        """Sends `request` until the answer is 200; the seconds since the start. Raises RuntimeError on timeout.

        Each try makes a new connection.
        """
        while self.process.poll() is None and time.perf_counter() - self._started < timeout_s:
            if asyncio.run(_ask(self.address, request)) == "200":
                return time.perf_counter() - self._started
            time.sleep(0.02)
        raise RuntimeError(f"The service does not answer:\n{self._log.read_text(errors='replace')[-4000:]}")

    def pids(self) -> list[int]:
        """The ids of all processes of the tree: those with the mark and their descendants."""
        marked, parents = set(), {}
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit():
                with suppress(OSError):
                    # The name, in brackets, may hold any character; after it come the state and the parent.
                    parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                    if self._mark.encode() in (folder / "environ").read_bytes().split(b"\0"):
                        marked.add(int(folder.name))
        while found := {pid for pid, parent in parents.items() if parent in marked} - marked:
            marked |= found
        return sorted(marked)

    def memory(self) -> dict[str, float]:
        """In MB: `rss` and `peak_rss` of the first process; `tree` of all, a page shared by n counts 1/n (PSS)."""
        first = _kilobytes(Path(f"/proc/{self.process.pid}/status"))
        tree = 0
        for pid in self.pids():
            with suppress(OSError):
                tree += _kilobytes(Path(f"/proc/{pid}/smaps_rollup"))["Pss"]
        megabytes = {"rss": first["VmRSS"], "peak_rss": first["VmHWM"], "tree": tree}
        return {name: round(kilobytes * 1024 / 1e6, 1) for name, kilobytes in megabytes.items()}


async def _ask(address: Address, request: bytes) -> str:
    pool = Pool(address)
    try:
        return await pool.send(request)
    finally:
        pool.close()


def _kilobytes(path: Path) -> dict[str, int]:
    return {name: int(value) for name, value in re.findall(r"^(\w+):\s+(\d+) kB$", path.read_text(), re.MULTILINE)}
