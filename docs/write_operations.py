"""Generates the tables of docs/operations.md from the code. The prose around them is written by hand.

    python docs/write_operations.py

A table goes between `<!-- NAME -->` and `<!-- end -->`; NAME is a key of TABLES.
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

# Whether the same request may succeed later, by status. With any other status it fails again.
RETRIES = {429: "after `Retry-After`", 503: "after `Retry-After`", 408: "yes", 504: "yes"}

# Limits that are not settings: the constant, its unit, and its effect.
CONSTANTS = (
    ("app.web.connection.MAX_HEADER_BYTES", "bytes", "The headers of a request together. Past it `headers_too_large`."),
    (
        "app.web.lingering.MAX_DISCARDED_BYTES",
        "bytes",
        "What a client may still send after the last answer on a connection. Past it the connection is reset.",
    ),
    (
        "app.web.door.MAX_ELSEWHERE",
        "",
        "Requests under way at once beside `/predict` and `/health`. Past it `requests_full`.",
    ),
    (
        "app.web.multipart.MAX_PARTS",
        "",
        "Most parts of a form. Past it `invalid_request`.",
    ),
    ("app.web.multipart.MAX_PART_HEADER_BYTES", "bytes", "The headers of a part. Past it `invalid_request`."),
    (
        "app.web.forms.MAX_URLENCODED_BYTES",
        "bytes",
        "A form of the type `application/x-www-form-urlencoded`. Past it `body_too_large`.",
    ),
    ("app.audio.decode.MIN_SAMPLE_RATE", "Hz", "The lowest rate of a clip. Below it `audio_undecodable`."),
    ("app.audio.decode.MAX_SAMPLE_RATE", "Hz", "The highest rate of a clip. Above it `audio_undecodable`."),
    (
        "app.pipeline.SHORT_S",
        "s",
        "A shorter clip is answered with the warning `audio_little_speech`, by a model without a speech detector.",
    ),
    (
        "app.hearing.SILENT_PEAK",
        "of full scale",
        "A quieter clip is not judged (warning `audio_no_speech`), by a model without a speech detector.",
    ),
    ("app.store.versions.MANIFEST_BYTES", "bytes", "A version's manifest. Past it `model_corrupt`."),
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
    """A table for each group of settings; the comments in the class are the headings."""
    properties = Settings.model_json_schema()["properties"]
    groups: dict[str, list[list[str]]] = {}
    for line in inspect.getsource(Settings).splitlines():
        if group := re.fullmatch(r"    # (.+)", line):
            rows = groups.setdefault(group[1], [])
        elif (field := re.match(r"    (\w+): ", line)) and field[1] in properties:
            schema = properties[field[1]]
            meaning = " ".join(schema["description"].split())
            rows.append([f"`MAEUM_{field[1].upper()}`", _default(schema["default"]), _allowed(schema), meaning])
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
    return f"`{path.name}/` next to `app/`" if path.is_relative_to(ROOT) else f"`{value}`"


def _number(value: float) -> str:
    """As a Python literal; settings accept the `_` too."""
    return f"{value:_}" if value >= 10_000 else str(value)


def _allowed(schema: dict[str, Any]) -> str:
    kinds = schema.get("anyOf", [schema])
    values = [value for kind in kinds for value in kind.get("enum", [kind.get("const")]) if value]
    if values:
        return ", ".join(f"`{value}`" for value in values)
    if schema.get("type") == "boolean":
        return "`true`, `false`"
    if any(kind.get("format") == "path" for kind in kinds):
        return "a path"
    number = {"integer": "a whole number, ", "number": "a number, "}.get(schema.get("type", ""))
    return f"{number}{_number(schema['minimum'])} to {_number(schema['maximum'])}" if number else "text"


def leaves(kind: type[MaeumError]) -> list[type[MaeumError]]:
    return [leaf for child in kind.__subclasses__() for leaf in leaves(child)] or [kind]


def errors() -> str:
    answered = [kind for kind in leaves(MaeumError) if not issubclass(kind, StartError)]
    rows = (
        [f"`{kind.code}`", str(kind.status), f"{kind.title}. {kind.sentence}", RETRIES.get(kind.status, "no")]
        for kind in sorted(answered, key=lambda kind: kind.status)
    )
    return table("code|status|meaning|retry?", rows)


def start_errors() -> str:
    rows = ([f"`{kind.code}`", f"{kind.title}. {kind.sentence}"] for kind in leaves(StartError))
    return table("code|meaning", rows)


def warnings() -> str:
    return table("code|meaning", ([f"`{code}`", warning_meaning(code)] for code in WARNINGS))


def metrics() -> str:
    """As Prometheus scrapes them; a label with two to four values lists them."""
    exposed = Metrics(max_queue=1)
    exposed.model("name", "version", "precision", "provider")
    rows = []
    for family in text_string_to_metric_families(exposed.render()[0].decode()):
        if family.name.startswith("maeum_"):
            labels: dict[str, set[str]] = {}
            for sample in family.samples:
                for label, value in sample.labels.items():
                    labels.setdefault(label, set()).add(value)
            described = (f"`{label}`{_values(values)}" for label, values in labels.items() if label != "le")
            name = family.name + ("_total" if family.type == "counter" else "")
            rows.append([f"`{name}`", family.type, ", ".join(described), family.documentation])
    return table("name|type|labels|meaning", rows)


def _values(values: set[str]) -> str:
    return f" ({', '.join(sorted(values))})" if 1 < len(values) < 5 else ""


def alerts() -> str:
    (group,) = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
    rows = []
    for rule in group["rules"]:
        threshold = float(rule["expr"].split()[-1])
        summary = rule["annotations"]["summary"]
        for template, text in (
            ("$labels.instance", "an instance"),
            ("$value | humanizePercentage", f"more than {threshold * 100:g} %"),
            ("$value | humanizeDuration", f"{threshold:g} s"),
            ("$value | humanize", f"more than {threshold:g}"),
            ("$value", "several"),
        ):
            summary = summary.replace(f"{{{{ {template} }}}}", text)
        rows.append([f"`{rule['alert']}`", rule["labels"]["severity"], rule["for"], summary[0].upper() + summary[1:]])
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
    """`page` with every table generated anew. Raises SystemExit where the mark of a table is missing or not unique."""
    for name, make in TABLES.items():
        marked = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        page, count = marked.subn(lambda found, make=make: f"{found[1]}\n{make()}\n\n{found[2]}", page)
        if count != 1:
            raise SystemExit(f"{PAGE} has the mark <!-- {name} --> {count} times.")
    return page


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
