# make demo goes from a fresh clone to labeled camera frames.
#
#   make demo [INPUT=...] [LABELS=...]   run the node on INPUT (default: a synthetic street)
#   make test    make lint    make format
#   make test-avx2                       run the numerical tests again, limited to AVX2
#   make docs                            generate the parameter files and the README's table
#   make build   make env     make clean (build products)    make distclean (.venv as well)
#
# To work in a shell: source env.sh

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := demo
.ONESHELL:
.PHONY: demo test test-avx2 build env lint format docs clean distclean FORCE

PYTHON ?= python3
# CUDA, Jetson: requirements/README.md. The default is what .venv was created with.
TORCH ?= $(if $(wildcard .venv/torch),$(file < .venv/torch),torch==2.13.0+cpu)
DEMO_OUTPUT ?= demo_output
# Number of test processes to run in parallel.
JOBS ?= $(shell nproc)

ENV_STAMP := .venv/stamp-env
TEST_STAMP := .venv/stamp-test
BUILD_STAMP := install/stamp

demo: build
	@source env.sh
	bisenet demo $(if $(INPUT),--input '$(INPUT)') $(if $(LABELS),--labels '$(LABELS)') \
	  --output '$(DEMO_OUTPUT)'

env: $(ENV_STAMP)

$(ENV_STAMP): scripts/make_env.sh scripts/fix_ros_wheels.py \
  $(addprefix requirements/,ros-jazzy.txt build.txt runtime.txt wheels.txt)
	@PYTHON='$(PYTHON)' TORCH='$(TORCH)' scripts/make_env.sh
	touch $@

# make TORCH=... installs that torch even if another one is installed.
ifeq ($(origin TORCH),command line)
$(ENV_STAMP): FORCE
endif

$(TEST_STAMP): $(ENV_STAMP) requirements/test.txt requirements/test-no-deps.txt scripts/make_test_env.sh \
    scripts/fix_tensorrt_stubs.py
	@scripts/make_test_env.sh
	touch $@

build: $(BUILD_STAMP)

# Installed files are links to the sources (--symlink-install), so only new and removed files need a
# build: build/files lists all files and is updated only when the list changes.
INSTALLED := bisenet_ros config launch models test
build/files: FORCE
	@mkdir -p build
	find $(INSTALLED) -type f ! -path '*/__pycache__/*' | sort > $@.new
	if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi

$(BUILD_STAMP): $(ENV_STAMP) build/files package.xml CMakeLists.txt scripts/executable.in $(wildcard msg/*.msg)
	@source env.sh
	colcon build --symlink-install
	touch $@

# colcon test returns 0 even if tests fail, and keeps results of tests that no longer exist.
test: build $(TEST_STAMP)
	@source env.sh
	rm -rf build/bisenet_ros/test_results build/bisenet_ros/Testing
	colcon test --event-handlers console_direct+ --ctest-args -j $(JOBS)
	status=0
	colcon test-result --verbose || status=1
	python scripts/report_tests.py || status=1
	exit $$status

test-avx2: build $(TEST_STAMP)
	@source env.sh
	JOBS='$(JOBS)' scripts/test_avx2.sh

lint: $(TEST_STAMP)
	@source env.sh
	ruff check
	ruff format --check
	mypy

format: $(TEST_STAMP)
	@source env.sh
	ruff check --fix
	ruff format

docs: build
	@source env.sh
	python scripts/generate_parameter_docs.py

clean:
	rm -rf build install log demo_output .mypy_cache .ruff_cache .pytest_cache

distclean: clean
	rm -rf .venv
