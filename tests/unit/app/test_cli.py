"""The command line answers at once where it needs no model."""

import subprocess
import sys

import pytest

from tests.support import ROOT

HEAVY = {"av", "fastapi", "fsspec", "limits", "numpy", "onnxruntime", "opentelemetry", "prometheus_client", "pydantic"}
HEAVY |= {"pydantic_settings", "soundfile", "soxr", "starlette", "tokenizers", "tqdm", "uvicorn"}


def loaded(command: str) -> set[str]:
    """The heavy libraries that a process has loaded after `maeum COMMAND`."""
    code = (
        "import sys\nfrom app.cli import main\n"
        f"try:\n    main({command.split()!r})\nexcept SystemExit as ended:\n    assert not ended.code\n"
        f"print(*sorted({HEAVY!r} & set(sys.modules)), file=sys.stderr)"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout
    return set(ran.stderr.split())


@pytest.mark.parametrize("command", ["--version", "--help", "serve --help", "predict --help", "models --help"])
def test_help_and_version_load_no_library(command: str) -> None:
    assert loaded(command) == set()


def test_a_command_loads_only_what_it_needs() -> None:
    assert {"pydantic_settings", "fsspec"} <= loaded("models")
    assert not {"fastapi", "onnxruntime", "tqdm"} & loaded("models")
