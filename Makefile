# One command for each thing a developer does. Everything happens in .venv, built once.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
NODES ?= 3
SEEDS ?= 1..50

.DEFAULT_GOAL := help
.PHONY: help run test lint format bench simulate clean

help: ## Show this list
	@sed -n 's/^\([a-z]*\):.*## /make \1	/p' $(MAKEFILE_LIST) | expand -t 16

run: $(READY) ## Run a local cluster until Ctrl-C (NODES=3)
	$(BIN)/quorumcached up --nodes $(NODES)

test: $(READY) ## Everything that has to pass: lint, format, types, tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -q

lint: $(READY) ## Lint and type checks only
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY) ## Rewrite the code in the project's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY) ## Measure a local cluster, beside memcached where it is installed
	$(BIN)/quorumcache-bench run

simulate: $(READY) ## Long simulation of whole clusters under faults (SEEDS=1..50)
	$(BIN)/python -m tests.simulation --seeds $(SEEDS)

clean: ## Remove what was built; data directories stay
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find bench node ring router tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
		{ echo "needs Python 3.11 to 3.13; name one with: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@
