# Needs make and a Python 3.11+ with venv; everything else goes into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.set-up
FUZZED := tests/fuzz tests/coordinator/test_model.py tests/journal/test_rebuild.py
NO_ROOM := { echo 'hint: it needs the module venv (Debian: apt install python3-venv), the network, and room:'; \
    echo "200 MB here and 100 MB in $${TMPDIR:-/tmp}; name another folder in TMPDIR if that is full"; } >&2
# A test waits for half of its time, for timers and time limits: one worker a CPU is too few.
WORKERS ?= $(shell echo $$(($$(nproc) * 3)))
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

# An activated environment or a PYTHONPATH of the caller must not stand in for .venv.
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV

.DEFAULT_GOAL := help
.PHONY: help setup test soak fuzz check format docs demo demo-hosts picture bench constraints clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

setup: $(STAMP) ## make .venv and install everything into it, in the versions of constraints.txt

$(STAMP): pyproject.toml constraints.txt client/scripts/unitsync
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo 'error: unitsync needs Python 3.11 or newer, and $(PYTHON) is older'; \
	      echo 'hint: make PYTHON=/path/to/python3.12 …'; exit 1; } >&2
	@echo 'setting up $(VENV) with the development tools (once, from the network)'
	@$(PYTHON) -m venv $(VENV) || { $(NO_ROOM); exit 1; }
	@$(PIP) install -c constraints.txt hatchling editables || { $(NO_ROOM); exit 1; }
	@$(PIP) install -c constraints.txt --no-build-isolation -e '.[dev]' || { $(NO_ROOM); exit 1; }
	@touch $@

test: $(STAMP) ## all tests (ARGS='-k name' goes on to pytest)
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

soak: $(STAMP) ## 200 clients at random for two minutes, with crashes (SOAK_S=3600 for an hour)
	SOAK_S=$${SOAK_S:-120} $(BIN)/python -m pytest tests/soak $(ARGS)

fuzz: $(STAMP) ## random input, other each time (FUZZ=200 for ten times as much as FUZZ=20)
	FUZZ=$${FUZZ:-20} $(BIN)/python -m pytest -n logical --timeout 0 $(FUZZED) $(ARGS)

check: $(STAMP) ## lint, format, types, dead links in the docs, the bounds of the house
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python docs/check_links.py
	$(BIN)/python docs/house.py

format: $(STAMP) ## put the code into the agreed format
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: $(STAMP) ## refresh what is made from the code: parts of the docs, the schema of plans
	$(BIN)/python docs/generate.py

demo: $(STAMP) ## watch a real startup put in order, with a broken clone, and as a plan
	@mkdir -p build
	@$(BIN)/python examples/workspace/startup.py --timeline build/timeline.html
	@$(BIN)/python examples/workspace/startup.py --broken-clone
	@$(BIN)/python examples/workspace/startup.py --plan

demo-hosts: $(STAMP) ## watch a job on four hosts kept in order while parts of it are killed
	@$(BIN)/python examples/hosts/job.py

picture: $(STAMP) ## draw the picture of the README anew, from the demo
	$(BIN)/python examples/workspace/startup.py --seed 1 --timeline docs/img/timeline.svg

bench: $(STAMP) ## measure speed and memory (ARGS='cli throughput' for a part of it)
	$(BIN)/python -m bench $(ARGS)

constraints: ## renew constraints.txt with the newest versions that pyproject.toml allows
	@rm -rf build/constraints && $(PYTHON) -m venv build/constraints
	@build/constraints/bin/python -m pip install --quiet hatchling editables '.[dev]'
	@{ head -n 2 constraints.txt; \
	   build/constraints/bin/python -m pip freeze --exclude unitsync; } > build/constraints.txt
	@mv build/constraints.txt constraints.txt
	@rm -rf build/constraints
	@git --no-pager diff --stat -- constraints.txt

clean: ## remove .venv and everything that was made
	rm -rf $(VENV) dist build .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
