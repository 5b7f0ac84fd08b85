"""Serving: one utterance in, arousal, valence and emotion out. Imports neither torch nor `training`.

cli           the commands
main          the application for `fastapi dev` and `uvicorn app.main:app`
web           HTTP: routes, what surrounds them, and the process that serves them
service       the model's life: loaded, ready, exchanged, drained
pipeline      from a file and words to an answer
audio         a file to mono 16 kHz, in processes of their own where strangers send it
engine        model input to prediction, on onnxruntime
telemetry     what is known of every request: metrics, logs, traces
store         where models lie, and what they say of themselves
answer        what is answered, and its warnings
text          a transcript to token ids
settings      everything that can be set
errors        everything that can go wrong

Each imports only those below it; `tests/unit/test_import_law.py` holds that.
"""

import os
from importlib.metadata import version

# Since 1.29 onnxruntime's packages report to Microsoft and keep an id of the machine on disk, from their import on.
# Whoever wants that sets this to 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = version("maeum")
