# One command for each thing a developer does. Everything happens in .venv, built once.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
MADE := $(VENV)/.made
READY := $(VENV)/.ready
NODES ?= 3
SEEDS ?= 50
LIVES ?= 1..30
CUTS ?= 20
TARGET ?=
SECONDS ?= 60
SEED ?=
MUTANTS ?=
ROUNDS ?=
ONLY ?=
WORKERS ?= 2
NODE_CLIENTS := memcached@2.2.2 memjs@1.3.2

# The compiled data path; without a C compiler, or with QUORUMCACHE_COMPILED=0, the sources run.
COMPILED := $(VENV)/.compiled
SOURCES := setup.py $(shell find node ring quorumcache -name '*.py') $(wildcard node/core/*.[ch] node/core/*.p[xy][xdi])
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
INSTALL := $(PIP) --editable . --no-deps --no-build-isolation
WANTED = @$(PYTHON) -c 'import tomllib; p = tomllib.load(open("pyproject.toml", "rb")); print(*$(1), sep="\n")'

# Tests go to the workers one by one; one that has nothing left takes some of the other's. They start hundreds of processes, which find the
# bytecode that the first of them has left, whatever the environment says.
IN_PARALLEL := PYTHONDONTWRITEBYTECODE= $(BIN)/pytest -q --numprocesses $(WORKERS) --dist worksteal --durations 10

# Where nodes run whole, and the consensus core and the log's thread by themselves. Left out is what replaces their parts, and what is
# about something that is not compiled: the simulation itself, the client, placement, how a process is founded, starts, stops and is installed.
WHOLE_NODES := tests/unit/node/consensus tests/unit/node/storage/test_log_writer.py \
	tests/property tests/scenarios tests/simulation tests/conformance tests/integration
LEFT_OUT := $(addprefix simulation/test_,bounds calm_moves command configurations dealers dealings dealings_under_faults \
	detection detection_expiry detection_transactions directory elections fitness founding joining large large_memory large_order linearizability lock_watch loop map_watch model_time network schedule \
	serializability shape shrink stand_ins time)
LEFT_OUT += $(addprefix property/test_,applied_in_parts apply_purity beats client_arguments client_order eviction_room forwarded_gets forwarded_once \
	forwarding meta_like_memcached moves pipelined_writes placement reply_parser session_model sets_of_clients steering)
LEFT_OUT += $(addprefix integration/test_,client_advice client_fork client_locks data_directory_gone installed join \
	lock_meetings mixed_versions paused_holder secret signals start stop streams supervisor)
LEFT_OUT += conformance/test_flags
COMPILED_TESTS := $(WHOLE_NODES) $(patsubst %,--ignore=tests/%.py,$(LEFT_OUT))

# Tests of real processes that run once, in the compiled form if there is one: they take their time, and the sources run whole nodes
# in the simulation, in the scenarios and in the conformance tests.
ONCE := bad_clients bad_peers elastic exactly_once full_disk herds kill_all kill_leader large_items limits locks memory_accounting moving \
	numbered_meta_writes paused_leader race read_levels snapshots stalled_disk transaction_words transactions transcripts unix_socket watch_and_dump
IS_COMPILED := case "$$($(BIN)/quorumcached --version)" in *"(compiled)") true;; *) false;; esac

.DEFAULT_GOAL := help
.PHONY: help run test lint format bench race simulate crash-states power-cut fuzz chaos mutants compile clean

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## /make \1	/p' $(MAKEFILE_LIST) | expand -t 20

run: $(COMPILED) ## Run a local cluster until Ctrl-C (NODES=3)
	$(BIN)/quorumcached up --nodes $(NODES)

test: $(READY) ## Everything that has to pass: lint, format, types, tests (WORKERS=2)
	@echo "1 of 3: lint, format and types; the data path is compiled at the same time"
	@$(MAKE) --no-print-directory -j2 --output-sync=target lint $(COMPILED)
	@echo "2 of 3: all tests, from the sources; those of real processes in step 3, if there is a compiled form"
	@once=""; if $(IS_COMPILED); then once="$(ONCE:%=--ignore=tests/integration/test_%.py)"; fi; \
	QUORUMCACHE_COMPILED=0 $(IN_PARALLEL) tests $$once
	@if ! $(IS_COMPILED); then \
		echo "SKIPPED: there is no compiled form, so it is not tested" >&2; exit 0; fi; \
	echo "3 of 3: the compiled form, where whole nodes run and none of their parts is replaced" && \
	QUORUMCACHE_COMPILED=1 $(IN_PARALLEL) $(COMPILED_TESTS)

lint: $(READY) ## Lint and type checks only
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY) ## Rewrite the code in the project's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(COMPILED) ## Measure a local cluster, beside memcached where it is installed
	$(BIN)/quorumcache-bench run

race: $(COMPILED) ## Race memcached and redis, side by side; installs them as root (ROUNDS=5 ONLY=get1,set50)
	@.ci/install memcached:memcached redis-server:redis-server
	$(BIN)/quorumcache-bench race $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(ONLY),--only $(ONLY))

simulate: $(READY) ## Simulate whole clusters under faults (SEEDS=1000, or SEEDS=500..600)
	$(BIN)/python -m tests.simulation --seeds '$(SEEDS)' --keep-going

crash-states: $(READY) ## Restart a node from every crash state of its files (LIVES=1..30)
	$(BIN)/python -m tests.crash --seeds $(LIVES)

power-cut: $(READY) ## Cut the power of a real file system under a real node, as root (CUTS=20)
	$(BIN)/python -m tests.crash.power_cut --cuts $(CUTS)

fuzz: $(READY) ## Fuzz one reader, guided by coverage (TARGET=parser SECONDS=60; extra fuzz)
	$(BIN)/python -m tests.fuzz $(TARGET) --seconds $(SECONDS)

chaos: $(COMPILED) ## A real cluster under kill, pause, partition, loss, full disk; needs root (SECONDS=60 SEED=7 ELASTIC=1 BANK=1)
	$(BIN)/python -m tests.chaos --seconds $(SECONDS) $(if $(SEED),--seed $(SEED)) $(if $(ELASTIC),--elastic) $(if $(BANK),--bank)

mutants: $(READY) ## Put bugs in on purpose, and see which test finds each (MUTANTS=names)
	$(BIN)/python -m tests.mutants --every $(MUTANTS)

compile: $(COMPILED) ## Compile the data path, for speed; run, test and bench do it when it is due

clean: ## Remove what was built; data directories stay
	rm -rf $(VENV) build dist src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find node -name '*.so' -delete
	rm -f node/compiled.json
	find bench node quorumcache ring router tests -name __pycache__ -type d -prune -exec rm -rf {} +

# What runs and what compiles: `make run` needs no more.
$(MADE): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
		{ echo "needs Python 3.11 to 3.13; name one with: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@rm -f $(BIN)/quorumcached
	$(call WANTED,p["build-system"]["requires"] + p["project"]["dependencies"]) >$(VENV)/wanted.txt
	$(PIP) --no-compile -r $(VENV)/wanted.txt
	@touch $@

$(READY): $(MADE)
	$(call WANTED,p["project"]["optional-dependencies"]["dev"] + p["project"]["optional-dependencies"]["conformance"]) >$(VENV)/wanted.txt
	$(PIP) -r $(VENV)/wanted.txt
	@[ -e $(BIN)/quorumcached ] || QUORUMCACHE_COMPILED=0 $(INSTALL)
	@command -v npm >/dev/null || { echo "SKIPPED: no npm, so no client of Node.js is tested" >&2; touch $@; exit 0; }; \
		npm install --silent --ignore-scripts --no-audit --no-fund --prefix $(VENV)/node-clients $(NODE_CLIENTS) || \
		echo "SKIPPED: npm could not install $(NODE_CLIENTS), so they are not tested" >&2
	@touch $@

$(COMPILED): $(MADE) $(SOURCES)
ifneq ($(QUORUMCACHE_COMPILED),0)
	@echo "Compiling the data path, about a minute on two processors (QUORUMCACHE_COMPILED=0 skips this) ..."
	@touch $@.begun  # What is edited from here on has not been compiled.
	$(INSTALL)
	@$(BIN)/quorumcached --version
	@mv $@.begun $@
else
	@[ -e $(BIN)/quorumcached ] || $(INSTALL)
endif
