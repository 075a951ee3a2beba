# The front door. make demo: from nothing to labelled camera frames.
#
#   make demo [INPUT=...] [LABELS=...]   the node at work on INPUT; without, on a street drawn by code
#   make test    make lint    make format
#   make test-avx2                       what computes, as on a CPU that has no AVX-512
#   make docs                            config/segment.yaml and the README's table, from the parameters
#   make build   make env     make clean (build products)    make distclean (.venv as well)
#
# A shell of your own: source env.sh

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := demo
.ONESHELL:
.PHONY: demo test test-avx2 build env lint format docs clean distclean FORCE

PYTHON ?= python3
# CUDA, Jetson: requirements/README.md. What .venv was made with stays until another is asked for.
TORCH ?= $(if $(wildcard .venv/torch),$(file < .venv/torch),torch==2.13.0+cpu)
DEMO_OUTPUT ?= demo_output
# DistributedContext of tests at a time.
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

# A torch that was asked for by name is installed even if another one is there.
ifeq ($(origin TORCH),command line)
$(ENV_STAMP): FORCE
endif

$(TEST_STAMP): $(ENV_STAMP) requirements/test.txt requirements/test-no-deps.txt scripts/make_test_env.sh \
    scripts/fix_tensorrt_stubs.py
	@scripts/make_test_env.sh
	touch $@

build: $(BUILD_STAMP)

# Installed files are links to the sources (--symlink-install), so that an edit needs no build; a new
# or a removed file does: build/files lists them, and is newer than the stamp only when it changed.
INSTALLED := bisenet_ros config launch models test
build/files: FORCE
	@mkdir -p build
	find $(INSTALLED) -type f ! -path '*/__pycache__/*' | sort > $@.new
	if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi

$(BUILD_STAMP): $(ENV_STAMP) build/files package.xml CMakeLists.txt scripts/executable.in $(wildcard msg/*.msg)
	@source env.sh
	colcon build --symlink-install
	touch $@

# colcon test returns 0 when tests fail, and leaves the results of tests that are no more.
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
