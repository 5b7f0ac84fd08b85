"""Serving: one utterance in, arousal, valence and emotion out. Neither torch nor `training` is imported.

cli           the commands
main          the application for `fastapi dev` and `uvicorn app.main:app`
web           HTTP: routes, middleware, and the server process
service       the model of a service and its queue: loaded, ready, exchanged, drained
pipeline      pure: clip and transcript to model input, prediction to answer
hearing       pure: of a decoded clip, the part that a model gets
audio         file to mono 16 kHz, decoded in child processes where strangers send it
engine        model input to prediction, on onnxruntime
telemetry     metrics, logs and traces
store         model versions, local or remote, and their manifests
answer        the answer, and its warnings
text          transcript to token ids
settings      every setting
errors        every failure

Each imports only rooms below it; `tests/unit/test_import_law.py` holds that.
"""

import os
from importlib.metadata import version

# Since 1.29 onnxruntime's packages report to Microsoft and keep an id of the machine on disk, from their import on.
# Set it to 0 to allow that.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = version("maeum")
