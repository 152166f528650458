# Rowlift. `make help` says what there is; `make demo` and `make test` are all a newcomer needs.
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/installed

.DEFAULT_GOAL := help
.PHONY: help install demo test check format up down migrate bench faults simulate clean

help: ## say what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## (.*)/\1|\2/' | \
		while IFS='|' read -r name text; do printf '  make %-9s %s\n' "$$name" "$$text"; done

install: $(STAMP) ## set up .venv with everything Rowlift needs (Python 3.11 or later)

$(STAMP): requirements.txt requirements-dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Rowlift needs Python 3.11 or later; name one with: make install PYTHON=/path/to/python3.11"; exit 2; }
	@echo "Setting up .venv (about a minute the first time) ..."
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: install ## run 25 artists and an export of films through everything here, upstreams simulated
	@$(BIN)/rowlift demo

test: install ## run every test, with coverage of shared/, functions/ and cli/ (ARGS="-k name" for some)
	@$(BIN)/python -m pytest --cov --cov-report=term $(if $(ARGS),$(ARGS),--numprocesses 3 --dist loadfile --no-loadscope-reorder --cov-fail-under=95)

check: install ## formatting, lint and types
	@$(BIN)/ruff format --check --quiet . || { echo "Not formatted; run: make format"; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy

format: install ## format the code
	@$(BIN)/ruff format --quiet .
	@$(BIN)/ruff check --quiet --fix .

up: install ## start the local stack in the background (ARGS="--db-url URL" to use a PostgreSQL of yours)
	@$(BIN)/rowlift up --detach $(ARGS)

down: install ## stop the local stack
	@$(BIN)/rowlift down $(ARGS)

migrate: install ## bring the database (DATABASE_URL, or the running stack's) to the newest revision
	@$(BIN)/rowlift migrate $(ARGS)

bench: install ## measure speed and memory; figures go to tests/bench/README.md by hand
	@$(BIN)/python -m tests.bench $(ARGS)

faults: install ## break everything at random under running files and check every sum (SEEDS=200 FIRST_SEED=1)
	@$(BIN)/python -m tests.faults --seeds $(or $(SEEDS),10) --first-seed $(or $(FIRST_SEED),1) $(ARGS)

simulate: install ## say what a million to a billion rows take and cost (ARGS=--write puts it in the papers)
	@$(BIN)/python -m infra.scale $(ARGS)

clean: ## remove .venv and the state of local stacks
	rm -rf .venv .rowlift .rowlift-* .mypy_cache .ruff_cache .pytest_cache .hypothesis build *.egg-info
