"""Training: a corpus in, a version out. May import `app`; `app` never imports this.

cli           the commands
recipes       whole ways from data to a version: the starter, KEMDy20's folds, a smoke test, the published checkpoints
export        a run becomes a version: graphs, proofs, manifest and card
evaluation    how good a version is, and the report on it
learning      a run: its stages, what each minimises, and how a broken one goes on
biosignals    what KEMDy20's wristbands and raters say before any training
corpora       what is on disk becomes utterances
networks      the three networks, their tokenizers, and their files
data          an utterance: read, augmented, put into batches
features      the audio front-end, which is exported inside the graph
config        the numbers of a model and of its training, and presets of them
metrics       CCC, UAR, calibration and intervals
report        the HTML of every report
errors        what a user can be told in a sentence

Each imports only those below it; `tests/unit/test_import_law.py` holds that.
"""

import app as _app  # noqa: F401 - before onnxruntime is imported: it keeps that from reporting to its maker
