"""Benchmarks of the engine and the service. README.md has the figures.

table        every figure of the engine (`make bench`)
engine       one case of the engine, alone or in turn with the original
original     the same networks, run as the original code ran them
server       the service over HTTP
overload     the service at many times its capacity
faults       the service stopped, reloaded and killed under load
compare      the service and other frameworks: LitServe, BentoML, Ray Serve
curves       a `paper` training on a made-up KEMDy20, and its curves
load         load on a service that is already running
agree        agreement of an engine with the CPU in float32
gpu.sh       agreement, then every figure, on a machine with a GPU

workload     the models, lengths and utterances that are timed
harness      clients, processes and counters that time them; imports nothing of workload
peers        the code that runs inside the other frameworks' environments
results      the figures, each with its machine

Run them from the repository's root, as `python -m benchmarks.NAME`.
"""

import app  # noqa: F401 - switches onnxruntime's telemetry off, which onnxruntime reads on import
