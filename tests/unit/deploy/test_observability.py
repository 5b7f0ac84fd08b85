"""The alerts and the dashboard use only metrics that the service exports."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from app.settings import Settings
from app.telemetry.metrics import Metrics
from tests.support import ROOT

FOLDER = ROOT / "deploy" / "observability"
SCRAPED = {"job", "instance"}  # labels that Prometheus adds
WORDS = {"by", "without", "and", "or", "unless", "on", "ignoring", "group_left", "group_right", "bool", "offset"}

SELECTOR = re.compile(r"([a-zA-Z_:][\w:]*)?\{([^}]*)\}")
MATCHER = re.compile(r'(\w+)(=~|!~|!=|=)"([^"]*)"')


@pytest.fixture(scope="module")
def shown() -> dict[str, list[dict[str, str]]]:
    """The labels of every exported series, by metric name."""
    metrics = Metrics(max_queue=1)
    metrics.model("starter", "0.1.0", "int8", "cpu")
    by_name: dict[str, list[dict[str, str]]] = {"up": [{}]}
    for family in text_string_to_metric_families(metrics.render()[0].decode()):
        for sample in family.samples:
            by_name.setdefault(sample.name, []).append(dict(sample.labels))
    return by_name


def _alerts() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load((FOLDER / "alerts.yml").read_text(encoding="utf-8"))["groups"]
    rules: list[dict[str, Any]] = group["rules"]
    return rules


def _dashboard() -> dict[str, Any]:
    read: dict[str, Any] = json.loads((FOLDER / "grafana/dashboards/maeum.json").read_text(encoding="utf-8"))
    return read


def _expressions() -> Iterator[Any]:
    for rule in _alerts():
        yield pytest.param(
            rule["expr"], rule["annotations"]["summary"] + rule["annotations"]["action"], id=rule["alert"]
        )
    for panel in _dashboard()["panels"]:
        for target in panel["targets"]:
            yield pytest.param(target["expr"], target["legendFormat"], id=f"{panel['title']} {target['refId']}")


def _names(expression: str) -> set[str]:
    """The metric names in a PromQL expression."""
    bare = re.sub(r'"[^"]*"', "", expression)
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]", "", bare)
    bare = re.sub(r"\b(by|without|on|ignoring)\s*\([^)]*\)", r"\1", bare)
    return set(re.findall(r"(?<![\w.$])[a-zA-Z_:][\w:]*", bare)) - WORDS


def _functions(expression: str) -> set[str]:
    return set(re.findall(r"([a-z_]\w*)\s*(?:(?:by|without)\s*\([^)]*\)\s*)?\(", expression))


@pytest.mark.parametrize(("expression", "text"), list(_expressions()))
def test_every_metric_label_and_value_exists(
    expression: str, text: str, shown: dict[str, list[dict[str, str]]]
) -> None:
    names = _names(expression) - _functions(expression)
    assert names and names <= set(shown), f"{names - set(shown)} is not exported"
    labels = {label for name in names for series in shown[name] for label in series} | SCRAPED
    for name, selector in SELECTOR.findall(expression):
        for label, operator, value in MATCHER.findall(selector):
            known = {series.get(label) for series in shown[name]}
            assert label in SCRAPED or known != {None}, f"{name} has no label {label}"
            if operator == "=" and label not in SCRAPED:
                assert value in known, f"{name} is never exported with {label}={value}"
    for grouping in re.findall(r"\b(?:by|without)\s*\(([^)]*)\)", expression):
        assert set(grouping.replace(" ", "").split(",")) <= labels
    for label in re.findall(r"\{\{\s*(?:\$labels\.)?(\w+)\s*\}\}", text):
        assert label in labels


def test_the_check_finds_a_metric_that_does_not_exist() -> None:
    expression = 'sum by (le) (rate(maeum_gone_total{a="b"}[5m])) / on (instance) other > 0.5 and up'
    assert _names(expression) - _functions(expression) == {"maeum_gone_total", "other", "up"}


@pytest.mark.parametrize("rule", _alerts(), ids=lambda rule: rule["alert"])
def test_an_alert_has_a_severity_and_an_action(rule: dict[str, Any]) -> None:
    assert re.fullmatch(r"\d+[smh]", rule["for"])
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert rule["annotations"]["summary"].endswith(".") and rule["annotations"]["action"].endswith(".")
    named = re.findall(r"\bMAEUM_[A-Z_]+", rule["annotations"]["action"])
    assert {name.removeprefix("MAEUM_").lower() for name in named} <= set(Settings.model_fields)


def test_prometheus_scrapes_the_service_and_loads_the_alerts() -> None:
    config = yaml.safe_load((FOLDER / "prometheus.yml").read_text(encoding="utf-8"))
    assert config["rule_files"] == ["alerts.yml"]
    (job,) = config["scrape_configs"]
    assert job["job_name"] == "maeum" and job["static_configs"] == [{"targets": ["maeum:8000"]}]


def test_grafana_finds_its_data_source_and_dashboard() -> None:
    provisioning = FOLDER / "grafana/provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources/prometheus.yml").read_text(encoding="utf-8"))["datasources"]
    (provider,) = yaml.safe_load((provisioning / "dashboards/maeum.yml").read_text(encoding="utf-8"))["providers"]
    assert source["type"] == "prometheus" and provider["type"] == "file"
    dashboard = _dashboard()
    assert {variable["name"] for variable in dashboard["templating"]["list"]} == {"datasource", "instance"}
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    places = [panel["gridPos"] for panel in dashboard["panels"]]
    cells = [
        (x, y)
        for place in places
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(cells)) == len(cells) and max(x for x, _ in cells) < 24, "panels overlap"
