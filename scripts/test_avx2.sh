#!/usr/bin/env bash
# make test-avx2: run the numerical tests again, limited to AVX2. Run in a sourced shell after the
# build.
#   JOBS   number of parallel processes
set -euo pipefail
cd "$(dirname "$0")/.."

# Longest first. Excluded are slow tests that start nodes, whose computation test/inference covers,
# and slow tests that do not compute on the CPU: TensorRT builds, engine cache, other processes.
paths=(test/inference test/deploy test/cli test/training test/evaluation test/benchmark test/model/converters test/network)
export LEFT_OUT="--ignore=test/cli/test_demo.py
  --ignore=test/inference/test_tensorrt_rtx.py
  --ignore=test/inference/test_tensorrt_backend.py
  --ignore=test/inference/test_engine_cache.py
  --ignore=test/benchmark/test_peak_memory.py
  --ignore=test/benchmark/test_machine.py
  --deselect=test/cli/test_doctor.py::test_all_checks_pass_with_a_camera
  --deselect=test/cli/test_doctor.py::test_unsupported_camera_encoding"

export RESULTS=build/bisenet_ros/test_results/bisenet_ros # where report_tests.py finds them
rm -f "$RESULTS"/avx2_*
mkdir -p "$RESULTS"

if [[ $(uname -m) != x86_64 ]]; then
  echo "test-avx2: skipped: this machine is $(uname -m)"
  exit
fi
native=$(python scripts/instruction_sets.py)
echo "instruction sets of PyTorch and OpenVINO, natively: $native"
if [[ $native != *512* ]]; then
  echo "test-avx2: skipped: without AVX-512, make test has already run these tests"
  exit
fi
# The first limits PyTorch's own kernels, the second oneDNN in PyTorch and OpenVINO.
export ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2
limited=$(python scripts/instruction_sets.py)
echo "instruction sets of PyTorch and OpenVINO, limited:  $limited"
if [[ $limited != "AVX2 avx2" ]]; then
  echo "test-avx2: failed: the limit has no effect" >&2
  exit 1
fi

run() {
  local name status=0
  name=avx2_$(basename "$1" .py)
  # shellcheck disable=SC2086
  OMP_NUM_THREADS=1 timeout 1800 python -m pytest "$1" $LEFT_OUT --junit-prefix=bisenet_ros \
    --junit-xml="$RESULTS/$name.xunit.xml" -p no:cacheprovider > "$RESULTS/$name.txt" 2>&1 || status=1
  cat "$RESULTS/$name.txt"
  return "$status"
}
export -f run
printf '%s\n' "${paths[@]}" | xargs -P "${JOBS:-$(nproc)}" -I{} bash -c 'run {}'
