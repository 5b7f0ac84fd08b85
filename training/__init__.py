"""Training: a corpus in, a version out. May import `app`; `app` never imports this.

cli           the commands
recipes       whole ways from data to a version: the starter, KEMDy20's folds, a smoke test, the published checkpoints
export        a run becomes a version: graphs, parity gate, int8 and float16, manifest and card
evaluation    measures a version, calibrates it, and writes the report
learning      a run: its stages, their losses, the loop, and how an interrupted run resumes
biosignals    the analysis of KEMDy20's wristbands and ratings, without training
corpora       readers of corpora, which become utterances
networks      the three networks, their pretrained encoders, tokenizers and files
data          an utterance: read, augmented, put into batches
features      the audio front-end, which is exported inside the graph
config        the numbers of a model and of its training, and their presets
metrics       CCC, UAR, calibration error and intervals
report        the HTML elements of every report
errors        the base of every error that a command reports in a sentence

Each imports only those below it; `tests/unit/test_import_law.py` holds that.
"""

import app as _app  # noqa: F401 - before onnxruntime is imported: it turns its telemetry off
