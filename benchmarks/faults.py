"""Counts the requests that are lost when the service is stopped, reloaded or killed under load.

    sigterm      the service is stopped: accepted requests must be answered, and the exit code must be 0
    reload       the model is loaded again (SIGHUP)
    decoders     all decoder processes are killed (SIGKILL)
    sigkill      the service is killed and started again: only requests in flight may be lost

"lost" is a request whose connection was made and then broken without an answer; "refused" is one whose connection was
not made.

    python -m benchmarks.faults [--times 10] [--save faults]
"""

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .harness.client import READY
from .harness.machine import save
from .harness.processes import Service, free_port
from .harness.steady import SteadyClients

CLIENTS = 8
CLIP = Path(__file__).parents[1] / "examples" / "thanks.wav"
DRAIN_S = 1.0

Row = dict[str, object]


@contextmanager
def _under_load(wav: bytes, port: int | None = None) -> Iterator[tuple[Service, SteadyClients, float]]:
    """`maeum serve`, the clients that load it, and the seconds until it was ready."""
    port = port or free_port()
    command = [str(Path(sys.executable).with_name("maeum")), "serve", "--port", str(port)]
    variables = {"MAEUM_DRAIN_S": str(DRAIN_S), "MAEUM_LOG_LEVEL": "error"}
    with tempfile.TemporaryDirectory() as folder, Service(command, port, variables, Path(folder)) as service:
        ready_s = service.wait(READY)
        with SteadyClients(f"http://127.0.0.1:{port}", wav, clients=CLIENTS) as clients:
            yield service, clients, ready_s


def measure(times: int, wav: bytes) -> Iterator[Row]:
    """Yields a row for each kind of fault."""
    outcomes: Counter[str] = Counter()
    exits, seconds = Counter[str](), []
    for _ in range(times):
        with _under_load(wav) as (service, clients, _):
            clients.wait_for(50)
            signalled = time.perf_counter()
            service.process.send_signal(signal.SIGTERM)
            exits[str(service.process.wait())] += 1
            seconds.append(time.perf_counter() - signalled)
        outcomes += clients.outcomes()
    yield {
        "fault": "sigterm",
        "times": times,
        **outcomes,
        "exit_codes": dict(exits),
        "longest_s": round(max(seconds), 2),
    }

    with _under_load(wav) as (service, clients, _):
        for _ in range(times):
            clients.wait_for(150)  # by then the reload before is over
            service.process.send_signal(signal.SIGHUP)
        clients.wait_for(150)
    yield {"fault": "reload", "times": times, **clients.outcomes()}

    with _under_load(wav) as (service, clients, _):
        for _ in range(times):
            clients.wait_for(150)  # by then the new decoders have answered too
            for pid in set(service.pids()) - {service.process.pid}:
                os.kill(pid, signal.SIGKILL)
        clients.wait_for(50)
    yield {"fault": "decoders", "times": times, **clients.outcomes()}

    outcomes, ready, port = Counter(), [], free_port()
    for _ in range(times):
        with _under_load(wav, port) as (service, clients, ready_s):
            ready.append(ready_s)
            clients.wait_for(50)
            service.process.kill()
        outcomes += clients.outcomes()
    yield {"fault": "sigkill", "times": times, **outcomes, "longest_until_ready_s": round(max(ready), 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--times", type=int, default=10, help="repetitions of each fault (default: 10)")
    parser.add_argument("--save", metavar="NAME", help="write results/NAME.json")
    options = parser.parse_args()
    rows = []
    for row in measure(options.times, CLIP.read_bytes()):
        rows.append(row)
        print(json.dumps(row), flush=True)
    if options.save:
        print(save(options.save, rows))


if __name__ == "__main__":
    main()
