"""What the engine and the service cost, and how they compare. README.md has the figures.

table        every figure of the engine: `make bench`
engine       one case of the engine, by turns with
original     the same networks as the original's code ran them
server       the service over HTTP
overload     the service at many times its capacity
faults       the service stopped, killed and exchanged under load
compare      the service and other serving frameworks: LitServe, BentoML, Ray Serve
load         load on a service that already runs
agree        whether an engine answers as the CPU does in float32
gpu.sh       agreement, then every figure, on a machine with a GPU

workload     what is timed: models, lengths, utterances
harness      how it is timed: clients, processes, counters. Knows nothing of workload
peers        what runs inside the frameworks' own environments
results      what was measured, and on which machine

Run them as `python -m benchmarks.NAME`, from the repository's root.
"""

import app  # noqa: F401 - switches onnxruntime's telemetry off, which it reads as it is imported
