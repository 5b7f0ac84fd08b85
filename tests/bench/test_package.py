"""The package of the benchmarks."""

import os
import re
import subprocess
import sys

from tests.support import ROOT


def test_onnxruntime_is_imported_with_its_telemetry_off() -> None:
    """onnxruntime reads the switch as it is imported, so every benchmark must find it set before that."""
    code = "import os, sys, benchmarks; print(os.environ.get('ORT_DISABLE_TELEMETRY'), 'onnxruntime' in sys.modules)"
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.stdout.split() == ["1", "False"], done.stderr


def test_the_harness_imports_nothing_of_the_workload() -> None:
    files = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "benchmarks/harness").glob("*.py")}
    imports = {name: re.findall(r"^\s*(?:from|import) (\S+)", text, re.M) for name, text in files.items()}
    assert sum(map(len, imports.values())) > 50
    assert [name for name, modules in imports.items() if any("workload" in module for module in modules)] == []
