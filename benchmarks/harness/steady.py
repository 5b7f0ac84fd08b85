"""Clients that send one request after another while a fault happens to the service, and record every outcome."""

import threading
import time
from collections import Counter
from typing import NamedTuple

import httpx

POLL_S = 0.005


class Answer(NamedTuple):
    """`version` is the model's if `status` is 200, otherwise the body of the answer."""

    status: int
    version: str


class SteadyClients:
    """Run in a `with`. A client ends early when its connection is refused or broken.

    `answers` are in order of arrival. `lost` names the error of each request whose connection was made and then broken
    without an answer. `refused` counts the requests whose connection was not made, which the service never had.
    """

    def __init__(self, url: str, wav: bytes, transcript: str | None = None, clients: int = 4) -> None:
        self.answers: list[Answer] = []
        self.lost: list[str] = []
        self.refused = 0
        self._url, self._files = url, {"audio": wav}
        self._fields = {} if transcript is None else {"transcript": transcript}
        self._stop, self._lock = threading.Event(), threading.Lock()
        self._threads = [threading.Thread(target=self._ask) for _ in range(clients)]

    def __enter__(self) -> "SteadyClients":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def wait_for(self, count: int, timeout_s: float = 30.0) -> None:
        """Waits for `count` more answers. Raises TimeoutError, at once if all clients have ended."""
        enough, end = len(self.answers) + count, time.monotonic() + timeout_s
        while len(self.answers) < enough:
            if time.monotonic() > end or not any(thread.is_alive() for thread in self._threads):
                missing = f"{enough - len(self.answers)} of {count} answers are missing"
                raise TimeoutError(f"{missing}; refused: {self.refused}, lost: {self.lost}")
            time.sleep(POLL_S)

    def outcomes(self) -> Counter[str]:
        """The number of requests by status, "refused" and "lost"."""
        found = Counter(str(answer.status) for answer in self.answers)
        return found + Counter({"refused": self.refused, "lost": len(self.lost)})

    def _ask(self) -> None:
        with httpx.Client(base_url=self._url, timeout=30) as client:
            while not self._stop.is_set():
                try:
                    response = client.post("/predict", files=self._files, data=self._fields)
                except httpx.ConnectError:
                    with self._lock:
                        self.refused += 1
                    return
                except httpx.HTTPError as error:
                    self.lost.append(type(error).__name__)
                    return
                ok = response.status_code == 200
                version = response.json()["model"]["version"] if ok else response.text
                self.answers.append(Answer(response.status_code, version))
