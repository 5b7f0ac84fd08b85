"""The service under load while it is stopped, killed, robbed of its decoders and given another model: what is lost.

    sigterm      stopped while clients ask; an accepted request must be answered, and the exit code be 0
    reload       the model loaded anew (SIGHUP) while clients ask
    decoders     all decoder processes killed (SIGKILL) while clients ask
    sigkill      the service killed and started again; what was under way is lost, and nothing else

"lost" is a request whose connection was made and broken without an answer; "refused" one whose connection was not made.

    python -m benchmarks.faults [--times 10] [--save faults]
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from .harness.machine import save
from .harness.processes import free_port

CLIENTS = 8
CLIP = Path(__file__).parents[1] / "examples" / "thanks.wav"
DRAIN_S = 1.0

Row = dict[str, object]


class Load:
    """Clients that ask one request after another, until told to stop or until nobody listens any more."""

    def __init__(self, url: str, wav: bytes) -> None:
        self.outcomes: Counter[str] = Counter()
        self._url, self._wav = url, wav
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._ask) for _ in range(CLIENTS)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def wait_for_more(self, count: int) -> None:
        """Until `count` more were answered."""
        enough = self.outcomes.total() + count
        while self.outcomes.total() < enough:
            time.sleep(0.005)

    def _ask(self) -> None:
        with httpx.Client(base_url=self._url, timeout=30) as client:
            while not self._stop.is_set():
                try:
                    outcome = str(client.post("/predict", files={"audio": self._wav}).status_code)
                except httpx.ConnectError:
                    outcome = "refused"
                except httpx.HTTPError:
                    outcome = "lost"
                with self._lock:
                    self.outcomes[outcome] += 1
                if outcome in ("refused", "lost"):
                    return


@contextmanager
def _service(port: int) -> Iterator[tuple[subprocess.Popen[bytes], str, float]]:
    """`maeum serve`, its address, and the seconds until it was ready."""
    environment = {**os.environ, "MAEUM_DRAIN_S": str(DRAIN_S), "MAEUM_LOG_LEVEL": "error"}
    command = [str(Path(sys.executable).with_name("maeum")), "serve", "--port", str(port)]
    started = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        while not _is_ready(url):
            time.sleep(0.02)
        yield process, url, time.perf_counter() - started
    finally:
        process.kill()
        process.wait()


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(url + "/health/ready").status_code == 200
    except httpx.HTTPError:
        return False


def measure(times: int, wav: bytes) -> Iterator[Row]:
    """Yields a row for each kind of fault."""
    outcomes: Counter[str] = Counter()
    exits, seconds = Counter[str](), []
    for _ in range(times):
        with _service(free_port()) as (process, url, _), Load(url, wav) as load:
            load.wait_for_more(50)
            told = time.perf_counter()
            process.send_signal(signal.SIGTERM)
            exits[str(process.wait())] += 1
            seconds.append(time.perf_counter() - told)
        outcomes += load.outcomes
    yield {
        "fault": "sigterm",
        "times": times,
        **outcomes,
        "exit_codes": dict(exits),
        "longest_s": round(max(seconds), 2),
    }

    with _service(free_port()) as (process, url, _), Load(url, wav) as load:
        for _ in range(times):
            load.wait_for_more(150)  # by then the one before is over
            process.send_signal(signal.SIGHUP)
        load.wait_for_more(150)
    yield {"fault": "reload", "times": times, **load.outcomes}

    with _service(free_port()) as (process, url, _), Load(url, wav) as load:
        for _ in range(times):
            load.wait_for_more(150)  # by then those that were started anew have answered too
            for child in _children(process.pid):
                os.kill(child, signal.SIGKILL)
        load.wait_for_more(50)
    yield {"fault": "decoders", "times": times, **load.outcomes}

    outcomes, ready, port = Counter(), [], free_port()
    for _ in range(times):
        with _service(port) as (process, url, ready_s), Load(url, wav) as load:
            ready.append(ready_s)
            load.wait_for_more(50)
            process.kill()
        outcomes += load.outcomes
    yield {"fault": "sigkill", "times": times, **outcomes, "longest_until_ready_s": round(max(ready), 2)}


def _children(pid: int) -> list[int]:
    lists = (path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children"))
    return [int(child) for children in lists for child in children.split()]


def main() -> None:
    parser = argparse.ArgumentParser(description="The service under load, and what faults cost.")
    parser.add_argument("--times", type=int, default=10, help="of each fault (default: 10)")
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
