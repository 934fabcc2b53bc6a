.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
ROOT := $(if $(filter 0,$(shell id -u)),,sudo -n)

.PHONY: help install lock check format test torture demo bench bench-check clean

help: ## print these targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

install: .venv/installed ## make .venv with the command at .venv/bin/rebatch

# A fresh Debian has a python3 without venv; where we may, we add the package, else the message says what to add.
# An environment that is there is brought up to date in place: somebody may be using its command.
.venv/installed: .ci/requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "rebatch needs Python 3.11 or newer: make PYTHON=python3.12 …"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { $(ROOT) apt-get update -qq && $(ROOT) apt-get install -qq -y python3-venv; } \
		|| { echo "This Python cannot make virtual environments: sudo apt-get install python3-venv, then make again."; exit 1; }
	@$(PYTHON) -m venv .venv
	@echo "Installing (about a minute, once) …"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --require-hashes -r .ci/requirements.txt
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

lock: ## pin anew what pyproject.toml asks for
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
		--no-emit-index-url --no-emit-find-links --upgrade --extra dev pyproject.toml -o .ci/requirements.txt

check: install ## lint, types, imports
	@$(BIN)/ruff check && $(BIN)/ruff format --check -q && $(BIN)/mypy && $(BIN)/lint-imports

format: install ## lay out the code, mend what ruff can mend
	@$(BIN)/ruff check --fix-only -q; $(BIN)/ruff format

test: install ## all tests
	@$(BIN)/pytest -n 2 --dist worksteal

torture: install ## kills, power cuts, full disks, jumping clocks by the hundred (SEEDS=3000); the table goes into docs/reliability.md
	@$(BIN)/python -m tests.torture --write $(if $(SEEDS),--seeds $(SEEDS))

demo: install ## the main job against the sandbox: plan, run, kill -9, resume, count
	@$(BIN)/python -m jobs.demo

# wrk shows what the machine could do; where it cannot be had, its rows are left out.
bench: install ## speed and memory, beside others, in ratios; takes half an hour and writes benchmarks/RESULTS.md
	@command -v wrk >/dev/null || { $(ROOT) apt-get update -qq && $(ROOT) apt-get install -qq -y wrk; } >/dev/null 2>&1 || echo "No wrk here: its rows are left out."
	@$(BIN)/python -m benchmarks.all

bench-check: install ## has a fixed small job become dearer? instructions are counted
	@$(BIN)/python -m benchmarks.check

clean: ## remove what make made
	rm -rf .venv .demo dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
