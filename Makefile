# Every target sets up .venv by itself; a second run reuses it.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.ready

# Benchmarks and some tests read their data from here; without it they use bundled data or skip.
GRAPHPRUNE_DATA ?= $(abspath $(wildcard ../shared/data))
ifneq ($(GRAPHPRUNE_DATA),)
export GRAPHPRUNE_DATA
endif

.DEFAULT_GOAL := help
.PHONY: help setup demo test fuzz lint format clean

help:
	@echo "make demo    compress a trained model on real data and print dense / pruned / ONNX"
	@echo "make test    lint, type-check and run the tests"
	@echo "make fuzz    shrink 5,000 random networks and compare each (40 minutes at most)"
	@echo "make lint    lint and type-check only"
	@echo "make format  put the code in the project's format"
	@echo "make setup   only set up .venv"
	@echo "make clean   remove .venv and everything that was built"

$(PY):
	$(PYTHON) -m venv $(VENV)

# Byte code is left to the first import, which halves the time: most of it would never be used.
INSTALL := $(PY) -m pip install --quiet --no-compile --constraint constraints.txt

# torch goes first and alone, so that a CPU build which is at hand is taken, without CUDA packages.
# torchvision serves only as a source of test models; its own dependency on torch is ignored.
$(READY): pyproject.toml constraints.txt | $(PY)
	$(INSTALL) torch
	$(INSTALL) setuptools
	$(INSTALL) --no-build-isolation --editable '.[dev]'
	$(INSTALL) --no-deps torchvision
	touch $@

setup: $(READY)

demo: $(READY)
	$(PY) benchmarks/demo.py

lint: $(READY)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

format: $(READY)
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

# One thread per worker: two workers on two cores would otherwise fight over them.
test: lint
	OMP_NUM_THREADS=1 $(PY) -m pytest -n 2

# FUZZ holds further options, such as --minutes 5 --seed 1.
fuzz: $(READY)
	OMP_NUM_THREADS=1 PYTHONPATH=tests $(PY) -m benchmarks.fuzz $(FUZZ)

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage
