#!/usr/bin/env bash
# Checks that the GPU's answers agree with the CPU's, then measures its speed. Needs a GPU with driver 580 or newer
# (CUDA 13). Makes its own environment and writes benchmarks/results/gpu.json.
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
