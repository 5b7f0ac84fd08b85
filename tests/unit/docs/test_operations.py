"""The operator's page agrees with the code, and no page names a variable or a code that does not exist."""

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

from app.answer import WARNINGS, Warned
from app.errors import MaeumError, RateLimited, StartError
from app.settings import Settings
from app.web.problems import problem_response
from tests.support import ROOT

SCRIPT = ROOT / "docs/write_operations.py"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
GIVEN = [*PAGES, *sorted((ROOT / "deploy").rglob("*.yml"))]


@pytest.fixture(scope="module")
def script() -> Any:
    spec = importlib.util.spec_from_file_location("write_operations", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def page(script: Any) -> str:
    text: str = script.PAGE.read_text(encoding="utf-8")
    return text


def table(page: str, name: str) -> dict[str, list[str]]:
    """The other cells of each row of a written table, by what its first one holds in backticks."""
    (part,) = re.findall(rf"<!-- {name} -->\n(.*?)<!-- end -->", page, re.DOTALL)
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in part.splitlines() if "`" in line]
    return {row[0].strip(" `"): row[1:] for row in rows}


def test_the_page_is_up_to_date(script: Any, page: str) -> None:
    assert page == script.written(page), "run: python docs/write_operations.py"


def test_an_outdated_table_is_written_anew(script: Any, page: str) -> None:
    outdated = page.replace("| `MAEUM_MAX_QUEUE` | `64` |", "| `MAEUM_MAX_QUEUE` | `65` |")
    assert outdated != page
    assert script.written(outdated) == page


def test_a_table_that_lost_its_place_is_missed(script: Any, page: str) -> None:
    with pytest.raises(SystemExit, match="metrics"):
        script.written(page.replace("<!-- metrics -->", ""))


def test_every_setting_stands_in_it_with_a_default_that_can_be_set(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = table(page, "settings")
    assert rows.keys() == {f"MAEUM_{name.upper()}" for name in Settings.model_fields}
    for variable, (default, *_) in rows.items():
        if default != "none" and variable != "MAEUM_MODEL_STORE":  # its default depends on where the code lies
            monkeypatch.setenv(variable, default.strip("`"))
    assert Settings.load() == Settings()
    assert Settings.load().model_dump() == {name: each.default for name, each in Settings.model_fields.items()}


def test_every_error_stands_in_it_where_it_belongs(script: Any, page: str) -> None:
    kinds = script.leaves(MaeumError)
    start = {kind.code for kind in kinds if issubclass(kind, StartError)}
    assert table(page, "start errors").keys() == start
    assert table(page, "errors").keys() == {kind.code for kind in kinds} - start


def test_an_answer_to_retry_later_has_the_time_to_wait(script: Any, page: str) -> None:
    rows = table(page, "errors")
    for kind in script.leaves(MaeumError):
        if kind.code in rows and kind is not RateLimited:  # which knows the seconds only when it happens
            answered = "retry-after" in problem_response(kind(), "0").headers
            assert answered == ("Retry-After" in rows[kind.code][-1]), kind.code


def test_every_warning_has_a_meaning(page: str) -> None:
    codes = set(Warned.model_json_schema()["properties"]["code"]["enum"])
    assert codes == set(WARNINGS) == set(table(page, "warnings"))


def test_every_metric_and_alert_stands_in_it(page: str) -> None:
    source = (ROOT / "app/telemetry/metrics.py").read_text(encoding="utf-8")
    named = set(re.findall(r'"(maeum_\w+)"', source))
    assert {name.removesuffix("_total") for name in table(page, "metrics")} == named
    alerts = (ROOT / "deploy/observability/alerts.yml").read_text(encoding="utf-8")
    assert table(page, "alerts").keys() == set(re.findall(r"- alert: (\w+)", alerts))


@pytest.mark.parametrize("path", GIVEN, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_variable_named_in_a_page_exists(path: Path) -> None:
    named = set(re.findall(r"\bMAEUM_\w+", path.read_text(encoding="utf-8"))) - {"MAEUM_"}
    assert named <= {f"MAEUM_{name.upper()}" for name in Settings.model_fields}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_code_named_in_a_page_exists(path: Path, script: Any) -> None:
    codes = {kind.code for kind in script.leaves(MaeumError)} | set(WARNINGS)
    # A name that begins like a code must be one. Settings and fields that do are written otherwise or listed here.
    beginnings = {code.split("_")[0] for code in codes}
    named = set(re.findall(r"`([a-z]+(?:_[a-z]+)+)`", path.read_text(encoding="utf-8")))
    assert {name for name in named if name.split("_")[0] in beginnings} - {"request_id"} <= codes


def test_every_link_inside_the_page_leads_somewhere(page: str) -> None:
    headings = {re.sub(r"[^\w -]", "", text.lower()).replace(" ", "-") for text in re.findall(r"^#+ (.+)$", page, re.M)}
    assert set(re.findall(r"\]\(#([^)]+)\)", page)) <= headings
