"""The laws of the house: which room may import which, where a library may appear, what may not stand in code.

`CONTRIBUTING.md` explains them. They are read off the syntax trees, so that an import inside a function counts too.
"""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import ROOT

# From top to bottom. A room imports only rooms below its line; rooms on one line do not import each other.
ROOMS = {
    "app": (
        ("cli",),
        ("main",),
        ("cluster", "bulk", "web"),
        ("service",),
        ("conversation", "transcriber"),
        ("pipeline",),
        ("hearing",),
        ("audio", "engine"),
        ("telemetry",),
        ("store",),
        ("answer", "text", "settings"),
        ("errors",),
    ),
    "training": (
        ("__main__",),
        ("cli",),
        ("recipes",),
        ("export",),
        ("evaluation", "learning", "biosignals"),
        ("corpora", "networks"),
        ("data",),
        ("config", "features", "metrics", "report"),
        ("errors",),
    ),
}
# The one room of `app` in which a library may appear.
LIBRARIES = {
    "av": "audio",
    "fastapi": "web",
    "fastapi_offline": "web",
    "fsspec": "store",
    "httptools": "web",
    "httpx": "transcriber",
    "limits": "web",
    "onnxruntime": "engine",
    "opentelemetry": "telemetry",
    "prometheus_client": "telemetry",
    "pyarrow": "bulk",
    "ray": "cluster",
    "soundfile": "audio",
    "soxr": "audio",
    "starlette": "web",
    "tokenizers": "text",
    "tqdm": "cli",
    "uvicorn": "web",
}
TRAINING_ONLY = {"librosa", "onnx", "scipy", "torch", "torchaudio", "training", "transformers"}
MANIFESTS = [json.loads(path.read_bytes()) for path in (ROOT / "model_store").glob("*/*/manifest.json")]
LABELS = {label for manifest in MANIFESTS for label in manifest["emotion"]["classes"]}
SCALES = {tuple(manifest["scale"]) for manifest in MANIFESTS}
EXAMPLES = "app/web/schemas.py"  # its documented examples must look like answers
FILES = sorted(path for package in ROOMS for path in (ROOT / package).rglob("*.py"))


def imports(source: str, package: list[str]) -> Iterator[tuple[int, str, int]]:
    """Line, absolute dotted name and level of each import in a file of `package`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name, 0) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else []
            module = ".".join([*above, *filter(None, [node.module])])
            yield from ((node.lineno, f"{module}.{alias.name}", node.level) for alias in node.names)


def literals(source: str) -> Iterator[tuple[int, str]]:
    """Line and text of each emotion label and each scale of a manifest that stands in `source`."""
    spelled = [rf"\b{low:g}\b(\.0)?[^.]{{0,15}}?(\bto|\.\.) ?{high:g}\b" for low, high in SCALES]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if node.value in LABELS:
                yield node.lineno, node.value
            found = [re.search(pattern, node.value) for pattern in spelled]
            yield from ((node.lineno, match[0]) for match in found if match)
        elif isinstance(node, ast.Tuple | ast.List):
            values = tuple(part.value if isinstance(part, ast.Constant) else None for part in node.elts)
            if values in SCALES:
                yield node.lineno, ast.unparse(node)


def offences(path: Path, source: str) -> list[str]:
    """The line and the broken law of each offence in `source`, a file at `path` below the root."""
    *package, _ = path.parts
    top, room = path.parts[0], path.with_suffix("").parts[1]
    lines = {name: number for number, line in enumerate(ROOMS[top]) for name in line}
    found = []

    def offend(line: int, name: str, law: str) -> None:
        found.append(f"{path.as_posix()}:{line}: imports {name}: {law}")

    for line, name, level in imports(source, package):
        parts = name.split(".")
        if any(part.startswith("_") and not part.startswith("__") for part in parts):
            offend(line, name, "a name that begins with _ is its own file's")
        if parts[0] == top:
            if level == 0:
                offend(line, name, f"imports inside {top} are relative")
            other = parts[1] if len(parts) > 1 and parts[1] in lines else None
            if other is not None and other != room and (room not in lines or lines[room] >= lines[other]):
                offend(line, name, f"{top}/{room} is not above {top}/{other}")
        elif top == "app" and parts[0] in TRAINING_ONLY:
            offend(line, name, "app knows nothing of training and its libraries")
        elif top == "app" and LIBRARIES.get(parts[0], room) != room:
            offend(line, name, f"{parts[0]} appears only in app/{LIBRARIES[parts[0]]}")
    if top == "app" and path.as_posix() != EXAMPLES:
        law = "labels and scales come from the version's manifest"
        found += [f"{path.as_posix()}:{line}: holds {text}: {law}" for line, text in literals(source)]
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_the_laws_are_kept(path: Path) -> None:
    assert offences(path.relative_to(ROOT), path.read_text(encoding="utf-8")) == []


def test_every_room_is_known() -> None:
    """A new file or folder at the top of a package must be given its place in ROOMS."""
    for package, lines in ROOMS.items():
        known = {"__init__", *(name for line in lines for name in line)}
        folders = {path.parent.name for path in (ROOT / package).glob("*/__init__.py")}
        assert {path.stem for path in (ROOT / package).glob("*.py")} | folders <= known


@pytest.mark.parametrize(
    ("path", "line", "law"),
    [
        ("app/engine/engine.py", "from ..pipeline import predict", "app/engine is not above app/pipeline"),
        ("app/engine/engine.py", "from ..audio.decode import decode", "app/engine is not above app/audio"),
        ("app/errors.py", "def late():\n    from .settings import Settings", "app/errors is not above app/settings"),
        ("app/service.py", "from .web import limits", "app/service is not above app/web"),
        ("app/service.py", "from . import web", "app/service is not above app/web"),
        ("app/web/api.py", "from app.service import Service", "imports inside app are relative"),
        ("app/web/api.py", "import onnxruntime", "onnxruntime appears only in app/engine"),
        ("app/pipeline.py", "from starlette.requests import Request", "starlette appears only in app/web"),
        ("app/store/cache.py", "import torch.nn", "app knows nothing of training"),
        ("app/store/cache.py", "from training.config import Config", "app knows nothing of training"),
        ("app/web/access.py", "from starlette._utils import get_route_path", "its own file's"),
        ("app/engine/engine.py", 'CALM = "neutral"', "labels and scales come from"),
        ("app/cli.py", 'print(f"{arousal} (1 calm to 5 excited)")', "labels and scales come from"),
        ("app/answer.py", '"""From 1 to 5."""', "labels and scales come from"),
        ("app/answer.py", 'SAID = "1..5"', "labels and scales come from"),
        ("app/store/manifest.py", "SCALE = (1.0, 5.0)", "labels and scales come from"),
        ("training/cli.py", "from .export.version import _proven", "its own file's"),
        ("training/data/batches.py", "from ..networks.model import TextValence", "training/data is not above"),
        ("training/learning/run.py", "from ..evaluation.measure import measure", "training/learning is not above"),
        ("training/learning/run.py", "import training.config", "imports inside training are relative"),
    ],
)
def test_an_offender_is_named(path: str, line: str, law: str) -> None:
    (found,) = offences(Path(path), f'"""Made up."""\n\n{line}\n')
    assert found.startswith(f"{path}:{3 + line.count(chr(10))}: ") and law in found


def test_allowed_code_is_no_offence() -> None:
    source = (
        "from .. import __version__\nfrom ..errors import MaeumError\nfrom .forms import FormRoute\nimport fastapi\n"
    )
    assert offences(Path("app/web/api.py"), source) == []
    assert offences(Path("training/cli.py"), "from app.errors import MaeumError\nimport torch\n") == []


def test_serving_loads_nothing_of_training() -> None:
    modules = ", ".join(".".join(path.relative_to(ROOT).with_suffix("").parts) for path in FILES if "app" in path.parts)
    code = f"import sys, {modules}; print(*({TRAINING_ONLY!r} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.split() == []


def test_the_commands_without_a_server_need_no_unix() -> None:
    """`maeum predict` decodes in its own process, also where there are no resource limits, signals and polls."""
    code = (
        "import select, signal, sys; sys.modules['resource'] = None; del select.poll, signal.SIGHUP, signal.SIGALRM;"
        "from app.cli import main; sys.exit(main(['models']))"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
