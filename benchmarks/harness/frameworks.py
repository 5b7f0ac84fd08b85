"""Installs each peer into its own environment and starts it. `peers/` holds the code that they serve."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from app.settings import Settings

from .processes import Service, free_port

_ROOT = Path(__file__).parents[2]
_ENVIRONMENTS = _ROOT / "benchmarks" / ".venvs"
_REQUIREMENTS = _ROOT / "benchmarks" / "peers"
_SETTINGS = {
    "BENTOML_DO_NOT_TRACK": "True",
    "RAY_USAGE_STATS_ENABLED": "0",
    "DO_NOT_TRACK": "1",
    "RAY_worker_niceness": "0",  # Ray's default yields to every other process, such as the load generator
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    "RAY_SERVE_ENABLE_DIRECT_INGRESS": "0",  # the line above turns it on, and it needs HAProxy
}


@dataclass(frozen=True)
class Peer:
    """`peers/<name>.txt` holds its requirements; `command` takes the environment's bin and a port."""

    name: str
    command: Callable[[Path, int], list[str]]

    @property
    def _environment(self) -> Path:
        return _ENVIRONMENTS / self.name

    def install(self) -> None:
        """Makes the environment, unless it already has these requirements."""
        requirements, stamp = _REQUIREMENTS / f"{self.name}.txt", self._environment / "installed.txt"
        if stamp.exists() and stamp.read_text() == requirements.read_text():
            return
        subprocess.run([sys.executable, "-m", "venv", self._environment], check=True)
        python = self._environment / "bin" / "python"
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--requirement", requirements], check=True)
        stamp.write_text(requirements.read_text())

    def serve(self, version: Path, settings: Settings, folder: Path, batching: "Batching", spinning: bool) -> Service:
        """Starts it on the model in the folder `version`, with the precision and threads of `settings`.

        Its files go into `folder`. This project is on its path, so that the same functions decode and tokenise.
        """
        port = free_port()
        environment = {
            **_SETTINGS,
            "PYTHONPATH": str(_ROOT.absolute()),
            "BENTOML_HOME": str(folder / "bentoml"),
            "RAY_TMPDIR": str(folder),
            "PEER_FOLDER": str(version.absolute()),
            "PEER_PRECISION": settings.precision,
            "PEER_THREADS": str(settings.threads),
            "PEER_SPINNING": str(int(spinning)),
            "PEER_PORT": str(port),
            "PEER_MAX_BATCH": str(batching.max_batch),
            "PEER_BATCH_WAIT_S": str(batching.wait_s),
        }
        return Service(self.command((self._environment / "bin").absolute(), port), port, environment, folder)


@dataclass(frozen=True)
class Batching:
    """`max_batch`: the largest batch, 1 for none. `wait_s`: how long a batch waits for more, if that can be set."""

    max_batch: int
    wait_s: float

    def __str__(self) -> str:
        return f"up to {self.max_batch}" if self.max_batch > 1 else "off"


def _module(name: str) -> Callable[[Path, int], list[str]]:
    return lambda bin_folder, port: [str(bin_folder / "python"), "-m", f"benchmarks.peers.{name}"]


def _bentoml(bin_folder: Path, port: int) -> list[str]:
    where = ["--working-dir", str(_ROOT.absolute()), "--host", "127.0.0.1", "--port", str(port)]
    return [str(bin_folder / "bentoml"), "serve", "benchmarks.peers.bento:Service", *where]


PEERS = (Peer("litserve", _module("lit")), Peer("bentoml", _bentoml), Peer("rayserve", _module("rayserve")))
