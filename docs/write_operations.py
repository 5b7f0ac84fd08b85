"""Writes the tables of docs/operations.md from the code, so that they say what it does. The prose stays as it is.

    python docs/write_operations.py

A table stands between `<!-- NAME -->` and `<!-- end -->`; NAME is a key of TABLES.
"""

import importlib
import inspect
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import yaml
from prometheus_client.parser import text_string_to_metric_families

from app.answer import WARNINGS, warning_meaning
from app.errors import MaeumError, StartError
from app.settings import Settings
from app.telemetry.metrics import Metrics

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/operations.md"
ALERTS = ROOT / "deploy/observability/alerts.yml"

# By status: whether the same request may be answered another time. Any other is refused again.
RETRIES = {429: "after `Retry-After`", 503: "after `Retry-After`", 408: "yes", 504: "yes"}

# Bounds that cannot be set: where they are written, in what, and what follows.
CONSTANTS = (
    ("app.web.connection.MAX_HEADER_BYTES", "bytes", "The headers of a request together. Past it `headers_too_large`."),
    (
        "app.web.forms.MAX_PARTS",
        "",
        "Most files, and most other fields, of a form. Past it `invalid_request`.",
    ),
    ("app.audio.decode.MIN_SAMPLE_RATE", "Hz", "The lowest rate of a clip. Below it `audio_undecodable`."),
    ("app.audio.decode.MAX_SAMPLE_RATE", "Hz", "The highest rate of a clip. Above it `audio_undecodable`."),
    ("app.pipeline.SHORT_S", "s", "A shorter clip is answered with the warning `audio_too_short`."),
    ("app.pipeline.SILENT_PEAK", "of full scale", "A quieter clip is answered with the warning `audio_silent`."),
    ("app.store.remote.MANIFEST_BYTES", "bytes", "A version's manifest at an address. Past it `model_corrupt`."),
)


def table(head: str, rows: Iterable[Iterable[str]]) -> str:
    columns = head.split("|")
    lines = [
        columns,
        ["---"] * len(columns),
        *([cell.replace("|", "\\|").replace("<", "&lt;") for cell in row] for row in rows),
    ]
    return "\n".join(f"| {' | '.join(map(str.strip, cells))} |" for cells in lines)


def settings() -> str:
    """A table for each group, as comments in the class make them."""
    properties = Settings.model_json_schema()["properties"]
    groups: dict[str, list[list[str]]] = {}
    for line in inspect.getsource(Settings).splitlines():
        if group := re.fullmatch(r"    # (.+)", line):
            rows = groups.setdefault(group[1], [])
        elif (field := re.match(r"    (\w+): ", line)) and field[1] in properties:
            said = properties[field[1]]
            meaning = " ".join(said["description"].split())
            rows.append([f"`MAEUM_{field[1].upper()}`", _default(said["default"]), _allowed(said), meaning])
    head = "variable|default|allowed|meaning"
    return "\n\n".join(f"**{group}**\n\n{table(head, rows)}" for group, rows in groups.items())


def _default(value: Any) -> str:
    if value in (None, ""):
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, int | float):
        return f"`{_number(value)}`"
    path = Path(value)
    return f"`{path.name}/` beside `app/`" if path.is_relative_to(ROOT) else f"`{value}`"


def _number(value: float) -> str:
    """As Python writes it; whoever sets a whole number may write the `_` too."""
    return f"{value:_}" if value >= 10_000 else str(value)


def _allowed(said: dict[str, Any]) -> str:
    kinds = said.get("anyOf", [said])
    values = [value for kind in kinds for value in kind.get("enum", [kind.get("const")]) if value]
    if values:
        return ", ".join(f"`{value}`" for value in values)
    if said.get("type") == "boolean":
        return "`true`, `false`"
    if any(kind.get("format") == "path" for kind in kinds):
        return "a path"
    number = {"integer": "a whole number", "number": "a number"}.get(said.get("type", ""), "text")
    if "maximum" in said:
        return f"{said['minimum']} to {said['maximum']}"
    if "minimum" in said:
        return f"{number}, {said['minimum']} or more"
    return f"{number} over {said['exclusiveMinimum']}" if "exclusiveMinimum" in said else number


def leaves(kind: type[MaeumError]) -> list[type[MaeumError]]:
    return [leaf for child in kind.__subclasses__() for leaf in leaves(child)] or [kind]


def errors() -> str:
    answered = [kind for kind in leaves(MaeumError) if not issubclass(kind, StartError)]
    rows = (
        [f"`{kind.code}`", str(kind.status), f"{kind.title}. {kind.sentence}", RETRIES.get(kind.status, "no")]
        for kind in sorted(answered, key=lambda kind: kind.status)
    )
    return table("code|status|what it says|again?", rows)


def start_errors() -> str:
    rows = ([f"`{kind.code}`", f"{kind.title}. {kind.sentence}"] for kind in leaves(StartError))
    return table("code|what it says", rows)


def warnings() -> str:
    return table("code|meaning", ([f"`{code}`", warning_meaning(code)] for code in WARNINGS))


def metrics() -> str:
    """As they are scraped; with the values of a label where they are few."""
    shown = Metrics(max_queue=1)
    shown.model("name", "version", "precision", "provider")
    rows = []
    for family in text_string_to_metric_families(shown.render()[0].decode()):
        if family.name.startswith("maeum_"):
            labels: dict[str, set[str]] = {}
            for sample in family.samples:
                for label, value in sample.labels.items():
                    labels.setdefault(label, set()).add(value)
            said = (f"`{label}`{_values(values)}" for label, values in labels.items() if label != "le")
            name = family.name + ("_total" if family.type == "counter" else "")
            rows.append([f"`{name}`", family.type, ", ".join(said), family.documentation])
    return table("name|type|labels|meaning", rows)


def _values(values: set[str]) -> str:
    return f" ({', '.join(sorted(values))})" if 1 < len(values) < 5 else ""


def alerts() -> str:
    (group,) = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
    rows = []
    for rule in group["rules"]:
        threshold = float(rule["expr"].split()[-1])
        said = rule["annotations"]["summary"]
        for template, words in (
            ("$labels.instance", "an instance"),
            ("$value | humanizePercentage", f"more than {threshold * 100:g} %"),
            ("$value | humanizeDuration", f"{threshold:g} s"),
            ("$value | humanize", f"more than {threshold:g}"),
            ("$value", "several"),
        ):
            said = said.replace(f"{{{{ {template} }}}}", words)
        rows.append([f"`{rule['alert']}`", rule["labels"]["severity"], rule["for"], said[0].upper() + said[1:]])
    return table("name|severity|for|meaning", rows)


def constants() -> str:
    rows = []
    for name, unit, meaning in CONSTANTS:
        module, _, constant = name.rpartition(".")
        value = getattr(importlib.import_module(module), constant)
        rows.append([f"{_number(value)} {unit}", meaning, f"`{constant}` in `{module.replace('.', '/')}.py`"])
    return table("bound|meaning|where", rows)


TABLES: dict[str, Callable[[], str]] = {
    "settings": settings,
    "constants": constants,
    "errors": errors,
    "start errors": start_errors,
    "warnings": warnings,
    "metrics": metrics,
    "alerts": alerts,
}


def written(page: str) -> str:
    """`page` with every table as the code has it now."""
    for name, make in TABLES.items():
        marked = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        page, count = marked.subn(lambda found, make=make: f"{found[1]}\n{make()}\n\n{found[2]}", page)
        if count != 1:
            raise SystemExit(f"{PAGE} has the mark <!-- {name} --> {count} times.")
    return page


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
