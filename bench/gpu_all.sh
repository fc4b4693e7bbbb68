#!/usr/bin/env bash
# Everything that needs a GPU, in one call on a bare machine, results to $OUT (default: bench/results/gpu).
#
#   bash bench/gpu_all.sh                 with a package index: makes its own environment
#   WHEELS=.whl bash bench/gpu_all.sh     without one: python3 there has torch; missing packages lie as wheels in WHEELS
#   EXTRAS="deepspeed liger-kernel"       what else to install where an index is reachable
#
# Each part writes as it goes and has a limit of its own, so that a limit on the whole call loses nothing of what was done.
set -uo pipefail
cd "$(dirname "$0")/.."
OUT=${OUT:-bench/results/gpu}
mkdir -p "$OUT"
export PYTHONUNBUFFERED=1 DO_NOT_TRACK=true HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
if [ -n "${WHEELS:-}" ]; then
  PYTHON=$(command -v python3)
  "$PYTHON" -m pip install -q --no-index --no-deps --no-compile --target /tmp/tuneloop-site "$WHEELS"/*.whl || exit 50
  export PYTHONPATH=/tmp/tuneloop-site:$PWD
else
  python3 -m venv /tmp/tuneloop-gpu || exit 50
  PYTHON=/tmp/tuneloop-gpu/bin/python
  # constraints.txt pins what was tested together; torch comes with CUDA from the index that pip is configured for
  "$PYTHON" -m pip install -q -c constraints.txt -e . pytest pytest-timeout hypothesis || exit 50
  "$PYTHON" -m pip install -q -c constraints.txt ${EXTRAS:-deepspeed} || echo "extras could not be installed: ${EXTRAS:-deepspeed}"
  export PYTHONPATH=$PWD
fi
nvidia-smi >"$OUT/nvidia-smi.txt" 2>&1
"$PYTHON" -m pip list >"$OUT/packages.txt" 2>/dev/null
timeout "${BENCH_SECONDS:-260}" "$PYTHON" -m bench.gpu --parts "${PARTS:-lora,nf4,memory}" 2>"$OUT/bench.err" | tee "$OUT/bench.txt"
timeout "${TEST_SECONDS:-240}" "$PYTHON" -m pytest -m gpu -p no:cacheprovider tests/tasks/train/test_cuda.py 2>&1 | tee "$OUT/pytest.txt"
