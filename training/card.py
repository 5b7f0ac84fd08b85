"""`MODEL_CARD.md`: what a version is for and not for, what it learned from, how good it is.

Every figure is the manifest's.
"""

from app.manifest import Manifest
from training.evaluation.wording import beside, headline

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
    measured = {name: figures for name, figures in manifest.evaluation.items() if isinstance(figures, dict)}
    met = [name for name, figures in measured.items() if figures["speakers_met"]]
    lines = [
        f"Measured on the {precision} graphs through the serving engine, on the test split: utterances that no stage",
        "of the training met. In brackets the 95 % interval by bootstrap over speakers; where too few are known,",
        "over sessions (`s`: films, say), else over utterances (`u`); these say nothing about other speakers.",
        *(f"Speakers of `{name}` are in training too: this is not how it does with strangers." for name in met),
        "",
        "| what | n | figure | beside |",
        "|---|---|---|---|",
    ]
    for name, figures in measured.items():
        lines.append(f"| {name} | {figures['n']} | {headline(figures)} | {beside(figures)} |")
    return "\n".join(lines) + "\n"


def _drift(manifest: Manifest) -> str:
    lines = ["| precision | " + " | ".join(outputs := list(next(iter(manifest.drift.values())))) + " |"]
    lines.append("|---" * (len(outputs) + 1) + "|")
    for precision, drifts in manifest.drift.items():
        lines.append(f"| {precision} | " + " | ".join(f"{drifts[output]:.2g}" for output in outputs) + " |")
    return "\n".join(lines) + "\n"
