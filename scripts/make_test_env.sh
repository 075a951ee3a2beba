#!/usr/bin/env bash
# Install the tools of `make test` and `make lint` into .venv.
set -euo pipefail
cd "$(dirname "$0")/.."

if [[ -f .venv/constraints.txt ]]; then
  export PIP_CONSTRAINT=$PWD/.venv/constraints.txt  # see scripts/make_env.sh
fi
pip_install() { .venv/bin/python -m pip install -qq --disable-pip-version-check --no-compile "$@"; }
pip_install -r requirements/test.txt
pip_install --no-deps -r requirements/test-no-deps.txt
.venv/bin/python scripts/fix_tensorrt_stubs.py
