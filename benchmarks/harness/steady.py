"""Clients that ask one request after another while something happens to the service, and what each request came to."""

import threading
import time
from collections import Counter
from typing import NamedTuple

import httpx

POLL_S = 0.005


class Answer(NamedTuple):
    """`version` of the model where `status` is 200; else the body."""

    status: int
    version: str


class SteadyClients:
    """Start and stop them with a `with`. A client ends by itself where its connection is refused or broken.

    `answers` are in the order in which they came. `lost` holds an error for each request whose connection was made and
    broken without an answer, `refused` counts those whose connection was not made: the service never had them.
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
        """Until `count` more requests are answered. Raises TimeoutError, at once where no client asks any more."""
        enough, end = len(self.answers) + count, time.monotonic() + timeout_s
        while len(self.answers) < enough:
            if time.monotonic() > end or not any(thread.is_alive() for thread in self._threads):
                missing = f"{enough - len(self.answers)} of {count} answers did not come"
                raise TimeoutError(f"{missing}; refused: {self.refused}, lost: {self.lost}")
            time.sleep(POLL_S)

    def outcomes(self) -> Counter[str]:
        """How many requests came to each status, to "refused" and to "lost"."""
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
