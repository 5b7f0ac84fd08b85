"""Every file and test that a page names exists, and its prose fits the line length of the code."""

import re
from pathlib import Path

import pytest

from tests.support import ROOT

OWN = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")] + sorted((ROOT / "docs").glob("*.md"))
PAGES = [*OWN, *(ROOT / folder / "README.md" for folder in ("benchmarks", "deploy", "examples"))]
FOLDERS = ("app", "benchmarks", "deploy", "docs", "examples", "fuzz", "model_store", "tests", "training", ".ci")
TEST = r"(?m)^def (test_\w+)"
LINE = 120


def missing(page: str) -> list[str]:
    """The paths, the names of Python files and the tests in backticks that do not exist."""
    named = set(re.findall(r"`([\w./-]+)`", page))
    paths = {name for name in named if name.partition("/")[0] in FOLDERS and "/" in name}
    files = {name for name in named - paths if name.endswith(".py") and "/" not in name}
    known = {path.name for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")}
    defined = {
        name for path in (ROOT / "tests").rglob("test_*.py") for name in re.findall(TEST, path.read_text("utf-8"))
    }
    gone = {path for path in paths if "NAME" not in path and not (ROOT / path).exists()}
    tests = {name for name in named if re.fullmatch(r"test_\w+", name)}
    return sorted(gone | (files - known) | (tests - defined))


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_file_that_is_named_exists(path: Path) -> None:
    assert missing(path.read_text(encoding="utf-8")) == []


def test_a_file_that_is_gone_is_named() -> None:
    there = "`app/cli.py` `test_pages.py` `training/presets/NAME.toml` `test_prose_is_wrapped`"
    assert missing(there) == []
    assert missing(f"{there} `app/flat.py` `docs/lost/` `test_lost.py` `test_lost`") == [
        "app/flat.py",
        "docs/lost/",
        "test_lost",
        "test_lost.py",
    ]


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_prose_is_wrapped(path: Path) -> None:
    """Commands, tables and generated lines may be longer."""
    prose = re.sub(r"^```.*?^```|^\|.*?$", "", path.read_text(encoding="utf-8"), flags=re.S | re.M)
    assert [line for line in prose.splitlines() if len(line) > LINE] == []
