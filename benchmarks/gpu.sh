#!/usr/bin/env bash
# Everything that a GPU can tell: whether it answers as the CPU does, and how fast. Run on a machine that has one, with
# a driver of CUDA 13 (580 or newer); it makes an environment of its own, and leaves benchmarks/results/gpu.json.
set -euo pipefail
cd "$(dirname "$0")/.."
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv

venv=benchmarks/.venvs/gpu
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --editable '.[gpu,train]'

for preset in paper starter; do
  for precision in fp32 fp16; do
    # The starter ships no float32 graphs.
    [ "$preset-$precision" = starter-fp32 ] && continue
    "$venv/bin/python" -m benchmarks.agree --preset "$preset" --provider cuda --precision "$precision"
  done
done
"$venv/bin/python" -m benchmarks.table --provider cuda
