"""Serving: one utterance in, arousal, valence and emotion out. Imports neither torch nor `training`.

cli, server, connection               the commands; the process of a service, and one connection of it
api, schemas, problems, errors        what may be asked and is answered
uploads, forms, patience              how large and slow a request may be, and how long it is wanted
access, keys, rates, listening, pages who may ask, and what browsers are told
observe, metrics, logs, traces, spans what is known of every request
service, pipeline, batcher            the model's life; from a file and words to an answer
audio, containers, libav              files to samples
decoders, decoder_process, decoder    the same in processes of their own
transcript, tokenizer                 words to tokens
model, engine, sessions, buckets, padding    computing
store, manifest, remote, cache        where models lie, and what they say of themselves
settings                              everything that can be set
"""

import os
from importlib.metadata import version

# Since 1.29 onnxruntime's packages report to Microsoft and keep an id of the machine on disk, from their import on.
# Whoever wants that sets this to 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = version("maeum")
