"""`MODEL_CARD.md`: what a version is for and not for, what it learned from, how good it is.

Every figure is the manifest's.
"""

from collections.abc import Mapping

from app.manifest import Manifest

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
not facts about a person. Ruled out: judging people at work or in education by their emotions (prohibited in the EU by
Article 5 of the AI Act), deciding about a person, medical use, finding out whether someone lies.

## Data

{about or UNSAID}
## How good it is

{_figures(manifest)}
## Precision

Largest absolute difference of each output to the network in float32, on noise, silence, the shortest, the longest and
mixed batches:

{_drift(manifest)}"""


def _figures(manifest: Manifest) -> str:
    if not manifest.evaluation:
        return "Not measured.\n"
    precision = manifest.evaluation["precision"]
    lines = [
        f"Measured on the {precision} graphs through the serving engine, on speakers, films and comments that no stage",
        "of the training met. In brackets the 95 % interval by bootstrap over speakers, or over utterances (`u`) where",
        "there are fewer than five speakers; the latter says nothing about other speakers.",
        "",
        "| what | n | figure | beside |",
        "|---|---|---|---|",
    ]
    for name, figures in manifest.evaluation.items():
        if isinstance(figures, Mapping):
            lines.append(f"| {name} | {figures['n']} | {_figure(figures)} | {_beside(figures)} |")
    return "\n".join(lines) + "\n"


def _figure(figures: Mapping[str, object]) -> str:
    unit = " u" if figures["resampled"] == "utterances" else ""
    named = {"uar": "UAR", "macro_f1": "macro F1", "auc": "AUC", "ccc": "CCC"}
    shown = []
    for key, title in named.items():
        interval = figures.get(f"{key}_95")
        if isinstance(interval, list | tuple):
            shown.append(f"{title} {figures[key]:.3f} [{interval[0]:.3f}, {interval[1]:.3f}{unit}]")
    return ", ".join(shown)


def _beside(figures: Mapping[str, object]) -> str:
    if "uar" in figures:
        return f"chance UAR {figures['chance_uar']:.2f}; ECE {figures['ece']:.3f}; accuracy {figures['accuracy']:.3f}"
    if "auc" in figures:
        return "chance 0.5; angry and happy against sad and neutral"
    return f"Pearson {figures['pearson']:.3f}; RMSE {figures['rmse']:.3f}, of the mean {figures['mean_rmse']:.3f}"


def _drift(manifest: Manifest) -> str:
    lines = ["| precision | " + " | ".join(outputs := list(next(iter(manifest.drift.values())))) + " |"]
    lines.append("|---" * (len(outputs) + 1) + "|")
    for precision, drifts in manifest.drift.items():
        lines.append(f"| {precision} | " + " | ".join(f"{drifts[output]:.2g}" for output in outputs) + " |")
    return "\n".join(lines) + "\n"
