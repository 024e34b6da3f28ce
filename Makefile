# Everything a fresh machine needs: Python 3.11+, make and a package index.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed
EXTRAS := image,report,llm,export,dev

.PHONY: help install test lint types bench demo demo-cifar docs clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/'

install: $(STAMP)  ## create .venv with everything the project uses

$(STAMP): pyproject.toml constraints.txt
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --constraint constraints.txt torch
	$(PY) -m pip install --quiet --constraint constraints.txt --editable '.[$(EXTRAS)]'
	touch $(STAMP)

lint: $(STAMP)  ## format and lint, without changing anything
	$(PY) -m ruff format --check src tests benchmarks tools
	$(PY) -m ruff check src tests benchmarks tools

types: $(STAMP)  ## type check
	$(PY) -m mypy

test: lint types  ## everything that must pass
	OMP_NUM_THREADS=1 $(PY) -m pytest -n 2 --dist worksteal

bench: $(STAMP)  ## the benchmarks: ratios in paired runs
	$(PY) -m benchmarks

demo: $(STAMP)  ## the main job on embedded data, in minutes
	$(PY) -m secateur run experiments/demo.yaml --out runs/demo --report

demo-cifar: $(STAMP)  ## prune the trained ResNet-20 on real CIFAR-10
	$(PY) -m secateur run experiments/demo-cifar.yaml --out runs/demo-cifar --report

docs: $(STAMP)  ## regenerate docs/methods.md and the README table from the cards
	$(PY) tools/docs.py

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache
