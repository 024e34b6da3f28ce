# Everything a fresh machine needs: Python 3.11+, make and a package index.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
STAMP := $(VENV)/.installed
RUNS := $(VENV)/.installed-runs
LLAMA := $(VENV)/.installed-llama-cpp-0.3.36
STUDY := $(VENV)/.installed-study

.PHONY: help system llama-cpp install test suite thorough cuda lint types bench demo demo-cifar demo-llm docs clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/'

install: $(STAMP)  ## create .venv with everything the project uses

$(RUNS): pyproject.toml constraints.txt
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PIP) torch
	$(PIP) --editable '.[image,report]'
	touch $(RUNS)

$(STUDY): $(RUNS)
	$(PIP) --editable '.[image,report,llm,search]'
	touch $(STUDY)

$(STAMP): $(RUNS)
	$(PIP) --editable '.[image,report,llm,search,policy,eval,export,quant,dev]'
	touch $(STAMP)

system:  ## Debian packages for the browser test and for PDF reports (as root)
	command -v chromium >/dev/null && ldconfig -p | grep -q libpangoft2 || \
	  (apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
	    chromium libpango-1.0-0 libpangoft2-1.0-0 >/dev/null)

llama-cpp: $(LLAMA)  ## build llama.cpp for the tests that run exported files in it (minutes, once)

$(LLAMA): | $(STAMP)
	@echo "building llama.cpp from source: several minutes on two cores, kept in $(VENV)"
	@start=$$(date +%s); \
	  CMAKE_BUILD_PARALLEL_LEVEL=2 CMAKE_ARGS="-DGGML_NATIVE=OFF -DLLAVA_BUILD=OFF" \
	  $(PIP) llama-cpp-python==0.3.36 --no-binary llama-cpp-python && \
	  echo "llama.cpp built in $$(( $$(date +%s) - start )) s"
	touch $(LLAMA)

lint: $(STAMP)  ## format and lint, without changing anything
	$(PY) -m ruff format --check src tests benchmarks tools
	$(PY) -m ruff check src tests benchmarks tools

types: $(STAMP)  ## type check
	$(PY) -m mypy

suite: $(STAMP)  ## the tests, on the CPU and two cores
	CUDA_VISIBLE_DEVICES= OMP_NUM_THREADS=1 $(PY) -m pytest -n 2 --dist worksteal

test: $(STAMP)  ## everything that must pass; types are checked, on one core, while the tests run
	$(MAKE) --no-print-directory --jobs 2 lint types suite

thorough: $(STAMP)  ## the cases that repeat a claim of the tests on one more network (minutes)
	CUDA_VISIBLE_DEVICES= OMP_NUM_THREADS=1 $(PY) -m pytest -n 2 --dist worksteal -m thorough

cuda: $(STAMP)  ## the tests that need a GPU: every method there against the CPU (minutes)
	$(PY) -m pytest tests/cuda

bench: $(STAMP)  ## the benchmarks: ratios in paired runs
	$(PY) -m benchmarks

demo: $(RUNS)  ## the main job on embedded data, in minutes (one thread: its tensors are tiny)
	OMP_NUM_THREADS=1 $(PY) -m secateur run experiments/demo.yaml --out runs/demo --report

demo-cifar: $(RUNS)  ## prune the trained ResNet-20 on real CIFAR-10
	$(PY) -m secateur run experiments/demo-cifar.yaml --out runs/demo-cifar --report

demo-llm: $(STUDY)  ## train a small language model on greenhouse questions and prune it, in minutes
	$(PY) -m secateur run experiments/demo-llm.yaml --out runs/demo-llm --report

docs: $(STAMP)  ## regenerate docs/methods.md and the README table from the cards
	$(PY) tools/docs.py

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache
