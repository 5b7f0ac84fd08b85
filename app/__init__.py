"""Serving: one utterance in, arousal, valence and emotion out. Imports neither torch nor `training`."""

from importlib.metadata import version

__version__ = version("maeum")
