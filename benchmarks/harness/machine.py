"""Describes the machine that a figure comes from, and saves figures to `results/`."""

import json
import os
import platform
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from app.engine.load import physical_cores

RESULTS = Path(__file__).parents[1] / "results"
PACKAGES = ("onnxruntime", "onnxruntime-gpu", "torch", "numpy")


def describe() -> dict[str, object]:
    """Processor, memory, GPU, versions and revision of the code; None for what is unknown."""
    changes = _output("git", "status", "--porcelain")
    return {
        "cpu": _cpu(),
        "physical_cores": physical_cores(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "gpu": _output("nvidia-smi", "--query-gpu=name", "--format=csv,noheader"),
        "os": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "git_revision": _output("git", "rev-parse", "HEAD"),
        "git_dirty": None if changes is None else bool(changes),
        "date": date.today().isoformat(),
    }


def save(name: str, rows: Sequence[Mapping[str, object]]) -> Path:
    """Writes the rows and a description of this machine to `results/<name>.json` and returns its path."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    text = json.dumps({"machine": describe(), "rows": rows}, indent=1, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")
    return path


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _output(*command: str) -> str | None:
    """The output of a command; None if it is not installed or fails."""
    if shutil.which(command[0]) is None:
        return None
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent, check=False)
    return done.stdout.strip() if done.returncode == 0 else None
