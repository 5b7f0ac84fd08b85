"""The hooks before a commit and the workflow on GitHub run the same as `make check` and `.ci/run`."""

import re
import tomllib

import yaml

from tests.support import ROOT

WORKFLOW = (ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8")
HOOKS = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_the_hooks_are_those_of_make_check() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (recipe,) = re.findall(r"^check: setup\n((?:\t.+\n)+)", makefile, re.M)
    checks = [line.strip().replace("$(BIN)", ".venv/bin") for line in recipe.splitlines()]
    # A hook formats, and fails where that changed something.
    expected = [check.removesuffix(" .").removesuffix(" --check") for check in checks]
    assert [hook["entry"] for repository in HOOKS["repos"] for hook in repository["hooks"]] == expected


def test_the_workflow_runs_ci_on_the_oldest_python_and_may_only_read() -> None:
    workflow = yaml.safe_load(WORKFLOW)
    (job,) = workflow["jobs"].values()
    oldest, newer = job["strategy"]["matrix"]["python"]
    assert PROJECT["requires-python"] == f">={oldest}" and tuple(map(int, newer.split("."))) > (3, 11)
    assert ".ci/run" in [step.get("run") for step in job["steps"]]
    assert workflow["permissions"] == {"contents": "read"} and job["timeout-minutes"]
