"""The figures that the paper reports for KEMDy20, to compare the measured ones with."""

from ..corpora.labels import MEAN_AROUSAL
from .emotions import Dimension

MEANS: dict[Dimension, dict[str, float]] = {
    "arousal": MEAN_AROUSAL,
    "valence": {"angry": 2.212, "happy": 3.824, "neutral": 2.995, "sad": 2.508, "surprise": 3.093},
}
"""Mean of each emotion, 1..5."""

WELCH: dict[Dimension, tuple[float, float]] = {"arousal": (63.12, 1.1e-36), "valence": (422.26, 8.3e-109)}
"""Welch's F and its p."""
