# The project's loops. What they need is set up on first use, and again when pyproject.toml or a pin changes.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
PINS := tests/engines/requirements/dev.txt
EXAMPLE ?= examples/diagnosis/pipeline.py
# One more than two cores, for tests also wait: for schedulers, services and processes that are to end.
JOBS ?= 3

# Downloads over a bad line: wait longer and try more often than the defaults do.
export UV_HTTP_TIMEOUT ?= 120
export UV_HTTP_RETRIES ?= 6
export PIP_DISABLE_PIP_VERSION_CHECK ?= 1
# Compiled modules are kept: the tests start thousands of processes, which would each compile what they import (a step
# with pandas: 4.0 s instead of 1.2).
unexport PYTHONDONTWRITEBYTECODE

# A uv that is there already is used; otherwise one lives in the virtual environment.
UV = $(shell command -v uv || echo $(BIN)/uv)

.PHONY: help
help: ## list these targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 12

.PHONY: demo
demo: $(VENV)/.examples ## train the example's model on this machine
	$(BIN)/penstock run $(EXAMPLE)

.PHONY: test
test: $(VENV)/.dev engines ## run every test, on every engine
	$(BIN)/pytest -n $(JOBS) --dist loadgroup $(PYTEST)

.PHONY: quick
quick: $(VENV)/.dev lint ## lint, and the tests that need no engine: under a minute
	$(BIN)/pytest -n 2 -q -m "not engine and not slow" $(PYTEST)

.PHONY: lint
lint: $(VENV)/.dev ## style, layout and the rules between modules
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports

.PHONY: types
types: $(VENV)/.dev ## mypy on everything that ships, pyright on what authors import
	$(BIN)/mypy
	$(BIN)/pyright

.PHONY: golden
golden: $(VENV)/.dev ## write the golden files anew; read the diff before you commit it
	PENSTOCK_UPDATE_GOLDEN=1 $(BIN)/pytest -q tests/examples/test_golden.py

.PHONY: docs
docs: $(VENV)/.dev ## write the support table in docs/targets.md anew
	$(BIN)/python docs/support_table.py

.PHONY: matrix
matrix: $(VENV)/.dev engines ## run the conformance suite, and write its matrix, docs/conformance.md, anew
	PENSTOCK_WRITE_MATRIX=1 $(BIN)/pytest -n $(JOBS) --dist loadgroup tests/conformance

.PHONY: engines
engines: $(VENV)/.dev ## make the environments of Airflow, Kubeflow and act under .engines/
	$(BIN)/python -m tests.engines.environments

.PHONY: lock
lock: $(VENV)/.dev ## resolve the pins of all environments anew
	cd tests/engines/requirements && for name in science postgres airflow3 airflow2 kfp act objects; do \
	  base=science.in; case $$name in science|postgres|act|objects) base=;; esac; \
	  $(abspath $(BIN))/uv pip compile --quiet --universal --python-version 3.11 --no-annotate --no-header \
	    $$name.in $$base --output-file $$name.txt || exit 1; done
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-annotate --no-header --extra dev \
	  --constraint tests/engines/requirements/science.in pyproject.toml --output-file $(PINS)

.PHONY: clean
clean: ## remove everything that these targets made
	rm -rf $(VENV) .engines dist build .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache .penstock
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.python:
	if command -v uv >/dev/null; then uv venv --quiet --allow-existing --python $(PYTHON) $(VENV); \
	else $(PYTHON) -m venv $(VENV) && $(BIN)/python -m pip install --quiet uv; fi
	touch $@

# Users get what resolves for their Python; contributors get the pins.
$(VENV)/.examples: pyproject.toml $(VENV)/.python
	$(UV) pip install --quiet --python $(BIN)/python --editable '.[examples]'
	touch $@

$(VENV)/.dev: pyproject.toml $(PINS) $(VENV)/.python
	$(UV) pip install --quiet --python $(BIN)/python --editable '.[dev]' --constraint $(PINS)
	touch $@
