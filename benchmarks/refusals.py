"""Counts the early refusals that reach a client which sends its whole body before it reads, as urllib does.

Each refusal comes before the body, so that the service ends the connection, where it does, while the client still
sends. Three ways: the connection is kept (`keep-alive`), the client asks to close it (`close`), or the service is
stopping (`draining`). "lost" is a request whose connection broke without an answer.

    python -m benchmarks.refusals [--times 100] [--save refusals]
"""

import argparse
import json
import signal
import socket
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from .harness.client import READY
from .harness.machine import save
from .harness.processes import Service, free_port

# The route, the bytes of the body, and the settings with which it is refused.
REFUSALS: tuple[tuple[str, int, dict[str, str]], ...] = (
    ("/predict", 26_000_000, {}),  # 413
    ("/nothing", 5_000_000, {}),  # 404
    ("/predict", 5_000_000, {"MAEUM_KEYS_FILE": "keys"}),  # 401
    ("/predict", 5_000_000, {"MAEUM_RATE_LIMIT": "1/day"}),  # 429, but for the first
)
WAYS = ("keep-alive", "close", "draining")
_DRAIN_S = 600

Row = dict[str, object]


def measure(times: int) -> Iterator[Row]:
    """Yields a row for each refusal and way."""
    for path, size, variables in REFUSALS:
        for way in WAYS:
            port = free_port()
            command = [str(Path(sys.executable).with_name("maeum")), "serve", "--port", str(port)]
            settings = {"MAEUM_DRAIN_S": str(_DRAIN_S), "MAEUM_LOG_LEVEL": "error", **variables}
            with tempfile.TemporaryDirectory() as folder:
                (Path(folder) / "keys").write_text("nobody " + "0" * 64, encoding="utf-8")
                with Service(command, port, settings, Path(folder)) as service:
                    service.wait(READY)
                    if way == "draining":
                        service.process.send_signal(signal.SIGTERM)
                    _outcome(service.address, path, 0, way)  # the one that the rate limit lets through
                    outcomes = Counter(_outcome(service.address, path, size, way) for _ in range(times))
                    service.process.kill()
            yield {"path": path, "body_bytes": size, "connection": way, "times": times, **outcomes}


def _outcome(address: tuple[str, int], path: str, size: int, way: str) -> str:
    """The status of the answer, or "lost"."""
    head = f"POST {path} HTTP/1.1\r\nHost: benchmark\r\nContent-Type: audio/wav\r\nContent-Length: {size}\r\n"
    try:
        with socket.create_connection(address, timeout=60) as connection, connection.makefile("rb") as answer:
            connection.sendall((head + ("Connection: close\r\n" if way == "close" else "") + "\r\n").encode())
            connection.sendall(bytes(size))
            line = answer.readline().split()
            return line[1].decode() if line else "lost"
    except OSError:
        return "lost"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--times", type=int, default=100, help="requests of each kind (default: 100)")
    parser.add_argument("--save", metavar="NAME", help="write results/NAME.json")
    options = parser.parse_args()
    rows = []
    for row in measure(options.times):
        rows.append(row)
        print(json.dumps(row), flush=True)
    if options.save:
        print(save(options.save, rows))


if __name__ == "__main__":
    main()
