"""Serving: one utterance in, arousal, valence and emotion out. Imports neither torch nor `training`."""

import os
from importlib.metadata import version

# Since 1.29 onnxruntime's packages report to Microsoft and keep an id of the machine on disk, from their import on.
# Whoever wants that sets this to 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = version("maeum")
