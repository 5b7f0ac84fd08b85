"""Serving imports neither torch nor transformers nor training."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT

FORBIDDEN = {"torch", "torchaudio", "transformers", "training", "librosa", "scipy", "onnx"}
FILES = sorted((ROOT / "app").rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_file_imports_training_packages(path: Path) -> None:
    imported = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            imported.add((node.module or "").split(".")[0])
    assert not imported & FORBIDDEN


def test_nothing_loads_them_on_the_way() -> None:
    modules = ", ".join(".".join(path.relative_to(ROOT).with_suffix("").parts) for path in FILES)
    code = f"import sys, {modules}; print(*({FORBIDDEN!r} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.split() == []


def test_the_commands_without_a_server_need_no_unix() -> None:
    """`maeum predict` decodes in its own process, also where there are no resource limits, signals and polls."""
    code = (
        "import select, signal, sys; sys.modules['resource'] = None; del select.poll, signal.SIGHUP, signal.SIGALRM;"
        "from app.cli import main; sys.exit(main(['models']))"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
