# `make` lists the targets. Each sets up .venv itself, once, from constraints.txt.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c '$(NEW_ENOUGH)' 2>/dev/null && { echo $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt

# Where `train-gate` and `train-detector` find their data; see docs/training.md.
DATA ?= ../shared/data
WEIGHTS ?= ../shared/weights
NEGATIVES ?= $(DATA)/negatives
RUNS ?= runs
LOAD_ARGS ?=
PYTEST_ARGS ?=
CLUSTER_TESTS := $(addprefix tests/web/test_web_,$(addsuffix .py,http jobs store claims database files answers resumables kill access intake watch report bones))

.PHONY: help page demo test test-cluster check lint serve load-test bench train-gate train-detector clean

help: ## This list.
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/^([a-z-]+):.*## (.*)/make \1\t\2/' | expand -t 22

demo: $(VENV)/.runtime ## Set up and run both stages on sample pictures; writes osteon-demo/.
	@$(BIN)/osteon demo

serve: $(VENV)/.runtime ## The web page on http://127.0.0.1:8010.
	@$(BIN)/osteon serve

page: ## Build the web page's files from frontend/ (needs Node 20 and npm).
	@command -v npm >/dev/null || { echo "no npm: install Node 20 or newer; only changing the page needs it" >&2; exit 2; }
	cd frontend && npm ci --no-audit --no-fund && npm run build

test: $(VENV)/.full ## Set up and run all tests.
	$(BIN)/python -m pytest -n 2 $(PYTEST_ARGS)

test-cluster: $(VENV)/.full ## The service's tests on PostgreSQL, Redis and a worker, all started privately.
	OSTEON_TEST_CLUSTER=1 $(BIN)/python -m pytest $(CLUSTER_TESTS) $(PYTEST_ARGS)

check: lint test ## Linter, types and tests: what CI runs.

lint: $(VENV)/.full ## ruff and mypy.
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

load-test: $(VENV)/.full ## The service under load: burst, memory, throughput, cost (LOAD_ARGS).
	@$(BIN)/osteon load-test $(LOAD_ARGS)

bench: $(VENV)/.full ## Speed and memory against the torch pipeline, in one run.
	@$(BIN)/osteon bench

train-gate: $(VENV)/.full ## Train the gate (DATA, WEIGHTS, NEGATIVES, RUNS).
	$(call present,$(DATA)/bonemasks/instances.json,DATA)
	$(call present,$(DATA)/fracatlas,DATA)
	$(call present,$(NEGATIVES),NEGATIVES)
	$(call present,$(WEIGHTS)/nanodet_g_coco/nanodet_g_coco_folded.pth,WEIGHTS)
	$(BIN)/osteon train gate --arch unet-csp --data $(DATA)/bonemasks/instances.json --films $(DATA)/fracatlas \
		--negatives $(NEGATIVES) --weights $(WEIGHTS)/nanodet_g_coco/nanodet_g_coco_folded.pth $(call split,gate) --out $(RUNS)/gate

train-detector: $(VENV)/.full ## Train the detector (DATA, WEIGHTS, RUNS).
	$(call present,$(DATA)/fracatlas,DATA)
	$(call present,$(WEIGHTS)/nanodet_g_coco/nanodet_g_coco_folded.pth,WEIGHTS)
	$(BIN)/osteon train detector --data $(DATA)/fracatlas \
		--weights $(WEIGHTS)/nanodet_g_coco/nanodet_g_coco_folded.pth \
		$(if $(wildcard docs/splits/folds.json),--split docs/splits/folds.json --fold fold1) \
		--epochs 60 --canvas-px 352 --evaluate-every 20 --out $(RUNS)/detector

clean: ## Remove .venv and what tools leave.
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis

# The released models' split where it is at hand, else one is made.
split = $(if $(wildcard docs/splits/$(1).json),--split docs/splits/$(1).json)

define present
@test -e "$(1)" || { echo "no $(1): set $(2) to where it lies, as in: make $@ $(2)=/path (docs/data.md says what belongs there)" >&2; exit 2; }
endef

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Osteon needs Python 3.11 or newer; none found. Give one: make PYTHON=/path/to/python" >&2; exit 2; }
	@"$(PYTHON)" -c '$(NEW_ENOUGH)' || { echo "$(PYTHON) is older than Python 3.11; give another: make PYTHON=/path/to/python" >&2; exit 2; }
	@echo "making $(VENV) with $$("$(PYTHON)" --version)"
	@"$(PYTHON)" -m venv $(VENV)

$(VENV)/.runtime: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing Osteon with its samples"
	@$(PIP) -e '.[samples]'
	@touch $@

$(VENV)/.full: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing Osteon with what tests and training need (torch among it)"
	@$(PIP) -e '.[dev,train]'
	@touch $(VENV)/.runtime $@
