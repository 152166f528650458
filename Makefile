# Rowlift. `make help` says what there is; `make demo` and `make test` are all a newcomer needs.
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/installed
CHECKOV := .venv-checkov/bin/checkov
PEERS := .venv-peers/installed
ENV ?= production

.DEFAULT_GOAL := help
.PHONY: help install demo test check check-infra format up down migrate bench bench-peers faults simulate archive plan deploy rollback destroy clean

help: ## say what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## (.*)/\1|\2/' | \
		while IFS='|' read -r name text; do printf '  make %-11s %s\n' "$$name" "$$text"; done

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

check-infra: $(CHECKOV) ## look for weaknesses in the Terraform (its own tests are part of `make test`)
	@$(CHECKOV) --directory infra --framework terraform --compact --quiet --skip-download

# In an environment of its own: its hundred dependencies would decide about the versions of ours.
$(CHECKOV): Makefile
	@$(PYTHON) -m venv .venv-checkov
	@.venv-checkov/bin/pip install --quiet --disable-pip-version-check checkov==3.3.30
	@touch $@

format: install ## format the code
	@$(BIN)/ruff format --quiet .
	@$(BIN)/ruff check --quiet --fix .
	@if command -v terraform >/dev/null; then terraform fmt -recursive infra; fi

up: install ## start the local stack in the background (ARGS="--db-url URL" to use a PostgreSQL of yours)
	@$(BIN)/rowlift up --detach $(ARGS)

down: install ## stop the local stack
	@$(BIN)/rowlift down $(ARGS)

migrate: install ## bring the database (DATABASE_URL, or the running stack's) to the newest revision
	@$(BIN)/rowlift migrate $(ARGS)

bench: install ## measure speed and memory against the bars, under 15 minutes (ARGS=--quick, or parts of it)
	@$(BIN)/python -m tests.bench $(ARGS)

bench-peers: install $(PEERS) ## the same rows by Rowlift and by what one would use instead (ARGS=--quick for fewer)
	@$(BIN)/python -m tests.bench.peers $(ARGS)

# In an environment of their own: what they need is none of ours.
$(PEERS): tests/bench/peers/requirements.txt
	@$(PYTHON) -m venv .venv-peers
	@.venv-peers/bin/pip install --quiet --disable-pip-version-check -r $<
	@touch $@

faults: install ## break everything at random under running files and check every sum (SEEDS=200 FIRST_SEED=1)
	@$(BIN)/python -m tests.faults --seeds $(or $(SEEDS),10) --first-seed $(or $(FIRST_SEED),1) $(ARGS)

simulate: install ## say what a million to a billion rows take and cost (ARGS=--write puts it in the papers)
	@$(BIN)/python -m infra.scale $(ARGS)

archive: install ## build the functions' source archive, build/source.zip
	@$(BIN)/python -m infra.deploy archive

plan: install ## show what deploying would change in Google Cloud (ENV=trial; docs/deploy.md)
	@$(BIN)/python -m infra.deploy plan --env $(ENV)

deploy: install ## deploy to Google Cloud, migrate, and try it (ENV=trial YES=1 to be asked nothing)
	@$(BIN)/python -m infra.deploy deploy --env $(ENV) $(if $(YES),--yes) $(ARGS)

rollback: install ## deploy the code that was deployed before (ENV=trial TO=hash)
	@$(BIN)/python -m infra.deploy rollback --env $(ENV) $(if $(TO),--to $(TO)) $(if $(YES),--yes) $(ARGS)

destroy: install ## destroy a deployment; Terraform shows what, and asks (ENV=trial)
	@$(BIN)/python -m infra.deploy destroy --env $(ENV)

clean: ## remove .venv and the state of local stacks
	rm -rf .venv .venv-checkov .venv-peers .rowlift .rowlift-* .mypy_cache .ruff_cache .pytest_cache .hypothesis build *.egg-info
