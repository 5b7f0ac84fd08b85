"""Learning: corpus, manifest, features, training, evaluation, export. May import `app`; `app` never imports this."""

import app as _app  # noqa: F401 - before onnxruntime is imported: it keeps that from reporting to its maker
