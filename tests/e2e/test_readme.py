"""The commands in the README and the guides exist, and the answer shown is the answer given."""

import importlib.util
import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient
from uvicorn.main import main as uvicorn_command

from app import cli
from app.engine.load import Model, load_model
from app.settings import Settings
from app.web.api import create_app
from tests.support import ROOT
from training.cli import parse

PAGES = [
    ROOT / page
    for page in (
        "README.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "docs/decisions.md",
        "docs/fidelity.md",
        "docs/training.md",
        "docs/operations.md",
        "docs/api.md",
        "docs/proxy.md",
        "docs/reliability.md",
        "docs/privacy.md",
        "examples/README.md",
        "benchmarks/README.md",
    )
]
README = PAGES[0].read_text(encoding="utf-8")


def typed() -> list[str]:
    """Every line of every shell block, without its comment."""
    blocks = [
        block for page in PAGES for block in re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), re.S)
    ]
    return [line.partition("  #")[0].strip() for block in blocks for line in block.splitlines() if line.strip()]


@pytest.mark.parametrize("line", typed())
def test_every_command_exists(line: str) -> None:
    parts = [part.removeprefix(".venv/bin/") for part in shlex.split(line.partition(" >> ")[0])]
    while re.match(r"[A-Z_]+=", parts[0]):
        name = parts.pop(0).partition("=")[0]
        assert name.removeprefix("MAEUM_").lower() in Settings.model_fields or name == "PROMETHEUS_MULTIPROC_DIR"
    program, rest = parts[0], parts[1:]
    if program == "accelerate":
        program, rest = "maeum-train", rest[rest.index("training") + 1 :]
    if program == "make":
        targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
        assert rest[0] in targets
    elif program == "maeum-train":
        parse(rest)
    elif program == "maeum":
        cli._parser().parse_args(rest)
    elif program == "uvicorn":
        module, _, name = uvicorn_command.make_context(program, rest).params["app"].partition(":")
        assert callable(getattr(importlib.import_module(module), name))
    elif program == "python" and rest[0] == "-m":
        assert importlib.util.find_spec(rest[1]) is not None
    elif program == "python":
        assert (ROOT / rest[0]).is_file()
    elif "/" in program:
        assert (ROOT / program).is_file()
    else:
        assert program in ("cp", "curl", "docker", "espeak-ng", "kill", "mv", "pip", "pre-commit")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_answer_shown_is_the_answer_given() -> None:
    (shown,) = (json.loads(block) for block in re.findall(r"```json\n(.*?)```", README, re.S))
    (asked,) = (shlex.split(line) for line in typed() if line in README and line.startswith("curl -F"))
    audio, transcript = (part.partition("=")[2] for part in asked if part.startswith(("audio=", "transcript=")))
    settings = Settings(threads=1)
    with TestClient(create_app(settings, load_model(settings))) as client:
        answer = client.post(
            "/predict",
            files={"audio": (ROOT / audio.removeprefix("@")).read_bytes()},
            data={"transcript": transcript},
        ).json()
    assert answer.keys() == shown.keys()
    assert answer["arousal"] == pytest.approx(shown["arousal"], abs=0.02)  # int8 kernels differ between processors
    assert answer["valence"] == pytest.approx(shown["valence"], abs=0.05)
    assert answer["emotion"]["probabilities"] == pytest.approx(shown["emotion"]["probabilities"], abs=0.03)
    assert {key: answer[key] for key in ("modalities", "audio", "model", "warnings")} == {
        key: shown[key] for key in ("modalities", "audio", "model", "warnings")
    }


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_commands_of_the_api_page_are_answered(
    listen: Callable[[FastAPI, Settings], tuple[str, int]], settings: Settings, model: Model
) -> None:
    host, port = listen(create_app(settings, model), settings)
    page = (ROOT / "docs/api.md").read_text(encoding="utf-8")
    commands = re.findall(r"^curl .*", page, re.M)
    assert len(commands) == 3
    for command in commands:
        here = command.replace("127.0.0.1:8000", f"{host}:{port}")
        answer = subprocess.run([*shlex.split(here), "-sS"], cwd=ROOT, capture_output=True, check=True, timeout=60)
        assert "text" in json.loads(answer.stdout)["modalities"], command


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) < 150
