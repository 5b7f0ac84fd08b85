"""The names of the emotions, and their names in the corpora."""

CLASSES: dict[int, tuple[str, ...]] = {
    5: ("neutral", "sad", "happy", "surprise", "angry"),
    7: ("neutral", "sad", "happy", "surprise", "angry", "fear", "disgust"),
}
"""By number of classes. The five are in the published order; KEMDy20 has under 100 utterances of the other two."""

_ALIASES = {
    "neutrality": "neutral",
    "sadness": "sad",
    "happiness": "happy",
    "surprised": "surprise",
    "anger": "angry",
    "disqust": "disgust",  # as KEMDy20 spells it
}

MEAN_AROUSAL = {"angry": 3.560, "happy": 3.583, "neutral": 3.213, "sad": 2.939, "surprise": 3.380}
"""The published mean arousal, 1..5, of each emotion in KEMDy20. A weak label for speech without ratings."""


def emotion_of(label: str) -> str | None:
    """The emotion, one of the seven, that a corpus calls `label`; None if it is none of them."""
    name = label.strip().lower()
    name = _ALIASES.get(name, name)
    return name if name in CLASSES[7] else None
