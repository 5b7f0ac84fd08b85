"""Writes the measurements: `metrics.json`, a PNG of each plot, and `report.html`, which contains them all."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from matplotlib.figure import Figure

from ..data.utterance import Split
from ..metrics import DRAWS
from ..report import definitions, heading, note, page, paragraph, picture, table
from .figures import SEED, Figures
from .glossary import GLOSSARY
from .measure import Measurement
from .sections import part_sections
from .wording import baseline, headline

METRICS_FILE = "metrics.json"
REPORT_FILE = "report.html"
_DOTS_PER_INCH = 110


@dataclass(frozen=True)
class About:
    """Model, data and date. `utterances` is the size of the split, `judged` how many have a label to judge by."""

    model: str
    precision: str
    provider: str
    data: str
    split: Split
    date: str
    utterances: int
    judged: int


def write_report(
    folder: Path,
    about: About,
    measurements: Sequence[Measurement],
    figures: Mapping[str, Figures],
    scale: tuple[float, float] = (1.0, 5.0),
) -> Path:
    """Fills `folder`, creating it if needed, and returns the path of the report. `figures` are by measurement name."""
    folder.mkdir(parents=True, exist_ok=True)
    bootstrap = {"draws": DRAWS, "seed": SEED, "interval": 0.95}
    metrics = {**asdict(about), "bootstrap": bootstrap, "figures": figures}
    text = json.dumps(metrics, ensure_ascii=False, indent=1, allow_nan=False)
    (folder / METRICS_FILE).write_text(text + "\n", encoding="utf-8")

    body = _head(about, figures)
    for part in dict.fromkeys(measurement.part for measurement in measurements):
        measured = [(m, figures[m.name]) for m in measurements if m.part == part]
        stem = re.sub(r"[^\w-]+", "-", part).strip("-")
        body += part_sections(part, measured, scale, partial(_keep, folder / stem))
    body += [heading("Glossary"), definitions(GLOSSARY)]
    path = folder / REPORT_FILE
    path.write_text(page(f"How good is {about.model}?", body), encoding="utf-8")
    return path


def _head(about: About, figures: Mapping[str, Figures]) -> list[str]:
    """The opening: model and data, then one line per measurement."""
    left_out = about.utterances - about.judged
    body = [
        paragraph(
            f"Measured on {about.date}: the {about.precision} graphs of {about.model} on {about.provider}, with the "
            f"engine that serves them, on the {about.split} split of {about.data}. {about.judged:,} of its "
            f"{about.utterances:,} utterances have labels to judge by"
            + (f"; the other {left_out:,} are not counted." if left_out else ".")
        )
    ]
    if about.split != "test":
        body.append(note(f"This is the {about.split} split, which training has seen: expect less on other data."))
    rows = [[name, f"{found['n']:,}", headline(found), baseline(found)] for name, found in figures.items()]
    body.append(
        table("At a glance; in brackets the 95 % interval", ["", "n", "figure", "compare with"], rows, wrap=True)
    )
    return body


def _keep(stem: Path, figure: Figure, name: str, title: str, caption: str) -> str:
    """Writes the plot to `STEM_NAME.png` and returns its HTML."""
    path = stem.with_name(f"{stem.name}_{name}.png")
    figure.savefig(path, dpi=_DOTS_PER_INCH, bbox_inches="tight", facecolor="white")
    return picture(path.read_bytes(), title, caption)
