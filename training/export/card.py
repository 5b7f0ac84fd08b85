"""`MODEL_CARD.md`: what a version is for and not for, what it learned from, how good it is.

Every figure is the manifest's.
"""

from collections.abc import Mapping

from app.store.manifest import Manifest

from ..evaluation.figures import Figures
from ..evaluation.wording import baseline, headline

CARD_FILE = "MODEL_CARD.md"

UNSAID = "Whoever trained it has not said. Ask them before you use it.\n"


def card(manifest: Manifest, about: str) -> str:
    """The card of a version, in Markdown; `about` is what it learned from and under which terms."""
    precisions, classes = ", ".join(manifest.graphs), manifest.emotion.classes
    return f"""\
# {manifest.name} {manifest.version}

Arousal (1..5) from a Korean utterance's voice, valence (1..5) from its words, and one of
{len(classes)} emotions ({", ".join(classes)}) from both.
Preset `{manifest.preset}`, graphs in {precisions}, made on {manifest.created}. Weights: {manifest.license}.

## Use

For research and for trying out Korean voice products. The answers are estimates of how an utterance sounds and reads,
not facts about a person. Ruled out: inferring emotions of people at work or in education (prohibited in the EU by
Article 5 of the AI Act), deciding about a person, medical use, finding out whether someone lies.

## Data

{about or UNSAID}
## How good it is

{_figures(manifest)}
## Precision

Largest difference of each output to the network in float32, relative where a value is over 1, on noise, silence, the
shortest, the longest and mixed batches:

{_drift(manifest)}"""


def _figures(manifest: Manifest) -> str:
    if not manifest.evaluation:
        return "Not measured.\n"
    precision = manifest.evaluation["precision"]
    measured = {name: f for name, f in manifest.evaluation.items() if isinstance(f, dict) and "speakers_met" in f}
    met = [name for name, figures in measured.items() if figures["speakers_met"]]
    crossed = manifest.evaluation.get("precision_cost")
    lines = [
        f"Measured on the {precision} graphs through the serving engine, on utterances that no stage of training met.",
        *(_CROSSED if crossed else ()),
        "In brackets the 95 % interval by bootstrap over speakers; where too few are known,",
        "over sessions (`s`: films, say), else over utterances (`u`); these say nothing about other speakers.",
        *(f"Speakers of `{name}` are in training too: this is not how it does with strangers." for name in met),
        "",
        "| what | n | figure | beside |",
        "|---|---|---|---|",
    ]
    for name, figures in measured.items():
        lines.append(f"| {name} | {figures['n']} | {headline(figures)} | {baseline(figures)} |")
    lines += [*_by_class(measured), *_by_gender(measured)]
    if isinstance(crossed, dict):
        lines += _cost(crossed)
    return "\n".join(lines) + "\n"


_CROSSED = (
    "What was said on voices is cross-validated: for each speaker the heads were trained on the others alone, and what",
    "these answered for all speakers is judged together. The weights in this folder learned from all of them.",
)


def _by_class(measured: Mapping[str, Figures]) -> list[str]:
    """Recall of each emotion, where emotions were judged."""
    recalls = {name: figures["recall"] for name, figures in measured.items() if "recall" in figures}
    classes = list(dict.fromkeys(emotion for recall in recalls.values() for emotion in recall))
    rows = [
        f"| {name} | "
        + " | ".join(f"{recall[emotion]:.2f}" if emotion in recall else "–" for emotion in classes)
        + " |"
        for name, recall in recalls.items()
    ]
    head = ["", "Recall by class:", "", "| what | " + " | ".join(classes) + " |", "|---" * (len(classes) + 1) + "|"]
    return [*head, *rows] if rows else []


def _by_gender(measured: Mapping[str, Figures]) -> list[str]:
    """The same figures of women and of men."""
    rows = [
        f"| {name} | {headline(figures['by_gender']['female'])} | {headline(figures['by_gender']['male'])} |"
        for name, figures in measured.items()
        if "by_gender" in figures
    ]
    return ["", "By gender:", "", "| what | women | men |", "|---|---|---|", *rows] if rows else []


def _cost(cost: Mapping[str, Mapping[str, float]]) -> list[str]:
    """What each figure is in each precision."""
    precisions = list(next(iter(cost.values())))
    rows = [f"| {name} | " + " | ".join(f"{found[p]:.3f}" for p in precisions) + " |" for name, found in cost.items()]
    head = [
        "",
        "What 8 bits cost:",
        "",
        "| what | " + " | ".join(precisions) + " |",
        "|---" * (len(precisions) + 1) + "|",
    ]
    return [*head, *rows]


def _drift(manifest: Manifest) -> str:
    lines = ["| precision | " + " | ".join(outputs := list(next(iter(manifest.drift.values())))) + " |"]
    lines.append("|---" * (len(outputs) + 1) + "|")
    for precision, drifts in manifest.drift.items():
        lines.append(f"| {precision} | " + " | ".join(f"{drifts[output]:.2g}" for output in outputs) + " |")
    return "\n".join(lines) + "\n"
