"""`MODEL_CARD.md`: intended use, training data and measured quality of a version. Every figure is the manifest's."""

from collections.abc import Mapping

from app.store.manifest import Manifest

from ..evaluation.crossvalidation import RECORDED
from ..evaluation.figures import Figures
from ..evaluation.wording import baseline, headline

CARD_FILE = "MODEL_CARD.md"

UNSTATED = "Not stated. Ask whoever trained this version before you use it.\n"


def card(manifest: Manifest, about: str) -> str:
    """The card of a version, in Markdown; `about` is on its training data and terms."""
    precisions, classes = ", ".join(manifest.graphs), manifest.emotion.classes
    return f"""\
# {manifest.name} {manifest.version}

Arousal (1..5) from the audio of a Korean utterance, valence (1..5) from its transcript, and one of
{len(classes)} emotions ({", ".join(classes)}) from both.
Preset `{manifest.preset}`, graphs in {precisions}, made on {manifest.created}. Weights: {manifest.license}.

## Use

For research and for trying out Korean speech products. The answers are estimates of how an utterance sounds and reads,
not facts about a person. Do not use it to infer emotions of people at work or in education (prohibited in the EU by
Article 5 of the AI Act), to decide about a person, for medical purposes, or to detect lies.

## Data

{about or UNSTATED}
## How good it is

{_figures(manifest)}
## Precision

Largest difference of each output from the network in float32, relative where a value is over 1, on noise, silence, the
shortest and the longest input, and mixed batches:

{_drift(manifest)}"""


def _figures(manifest: Manifest) -> str:
    if not manifest.evaluation:
        return "Not measured.\n"
    precision = manifest.evaluation["precision"]
    measured = {name: f for name, f in manifest.evaluation.items() if isinstance(f, dict) and "speakers_met" in f}
    met = [name for name, figures in measured.items() if figures["speakers_met"]]
    crossed = manifest.evaluation.get("precision_cost")
    lines = [
        f"Measured on the {precision} graphs with the serving engine, on utterances that no stage of training used.",
        *(_CROSSED if crossed else ()),
        "In brackets the 95 % interval by bootstrap over speakers; where too few are known,",
        "over sessions (`s`: films, say), else over utterances (`u`). The latter two say nothing about other speakers.",
        *(f"Speakers of `{name}` are in training too: expect less of other speakers." for name in met),
        "",
        "| measured | n | figure | compare with |",
        "|---|---|---|---|",
    ]
    recorded = {name: figures for name, figures in measured.items() if RECORDED in name}
    measured = {name: figures for name, figures in measured.items() if RECORDED not in name}
    for name, figures in measured.items():
        lines.append(f"| {name} | {figures['n']} | {headline(figures)} | {baseline(figures)} |")
    lines += [*_by_class(measured), *_by_gender(measured), *_recordings(measured, recorded)]
    if isinstance(crossed, dict):
        lines += _cost(crossed)
    return "\n".join(lines) + "\n"


_CROSSED = (
    "Figures on clips are cross-validated: for each speaker the heads were trained on the other speakers only, and the",
    "answers for all speakers are judged together. The weights in this folder are trained on all of them.",
)


def _by_class(measured: Mapping[str, Figures]) -> list[str]:
    """Recall of each emotion, for the measurements of emotions."""
    recalls = {name: figures["recall"] for name, figures in measured.items() if "recall" in figures}
    classes = list(dict.fromkeys(emotion for recall in recalls.values() for emotion in recall))
    rows = [
        f"| {name} | "
        + " | ".join(f"{recall[emotion]:.2f}" if emotion in recall else "–" for emotion in classes)
        + " |"
        for name, recall in recalls.items()
    ]
    head = ["", "Recall by class:", "", "| measured | " + " | ".join(classes) + " |", "|---" * (len(classes) + 1) + "|"]
    return [*head, *rows] if rows else []


def _by_gender(measured: Mapping[str, Figures]) -> list[str]:
    """The same figures by gender."""
    rows = [
        f"| {name} | {headline(figures['by_gender']['female'])} | {headline(figures['by_gender']['male'])} |"
        for name, figures in measured.items()
        if "by_gender" in figures
    ]
    return ["", "By gender:", "", "| measured | women | men |", "|---|---|---|", *rows] if rows else []


def _recordings(measured: Mapping[str, Figures], recorded: Mapping[str, Figures]) -> list[str]:
    """UAR of the same clips under other recording conditions: a row for each condition, a column for each part."""
    rows: dict[str, dict[str, float]] = {"as they are": {}}
    for name, figures in recorded.items():
        part, _, condition = name.removesuffix(", audio").partition(RECORDED)
        rows["as they are"][part] = measured[f"{part}, audio"]["uar"]
        rows.setdefault(condition, {})[part] = figures["uar"]
    columns = list(rows["as they are"])
    lines = [f"| {name} | " + " | ".join(f"{row[c]:.2f}" for c in columns) + " |" for name, row in rows.items()]
    head = ["", "UAR of the same clips, from audio alone, under other conditions:"]
    head += ["", "| recording | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    return [*head, *lines] if recorded else []


def _cost(cost: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Each figure in each precision."""
    precisions = list(next(iter(cost.values())))
    rows = [f"| {name} | " + " | ".join(f"{found[p]:.3f}" for p in precisions) + " |" for name, found in cost.items()]
    head = [
        "",
        "The cost of 8 bits:",
        "",
        "| figure | " + " | ".join(precisions) + " |",
        "|---" * (len(precisions) + 1) + "|",
    ]
    return [*head, *rows]


def _drift(manifest: Manifest) -> str:
    lines = ["| precision | " + " | ".join(outputs := list(next(iter(manifest.drift.values())))) + " |"]
    lines.append("|---" * (len(outputs) + 1) + "|")
    for precision, drifts in manifest.drift.items():
        lines.append(f"| {precision} | " + " | ".join(f"{drifts[output]:.2g}" for output in outputs) + " |")
    return "\n".join(lines) + "\n"
