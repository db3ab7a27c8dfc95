.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

export AFFIRM_LAKE ?= .lake

help: ## List these verbs
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-15s %s\n", $$1, $$2}'

demo: ready ## Write sample files and materialize every dataset over 180 business dates, up to yesterday or from START
	@$(BIN)/affirm demo $(if $(START),--start $(START))

ui: ready ## Open the Dagster UI on http://127.0.0.1:3000 with the runs of this checkout
	@$(BIN)/dagster dev

test: ready ## Run the test suite
	@$(BIN)/pytest --numprocesses 3

long-test: ready ## Test what takes long: the commands as processes, races, closes, audits of whole lakes (minutes)
	@$(BIN)/pytest --numprocesses 2 tests/long tests/auditor

same-rows-test: ready ## Compute every expression and every dataset on both engines, and compare them (minutes)
	@$(BIN)/pytest --numprocesses 2 tests/same_rows

native-test: ready ## Test Spark with native operators beside Spark without (minutes)
	@AFFIRM_SPARK_NATIVE=on $(BIN)/pytest tests/native

daemon-test: ready ## Have a real daemon make books of files that land, and kill what can be killed (minutes)
	@$(BIN)/pytest tests/daemon

browser-test: ready ## Use Dagster's UI in a real browser, as a person does (needs chromium; minutes)
	@$(BIN)/pytest tests/browser

kubernetes-test: ready ## Bring the platform up on the cluster of KUBECONFIG and test it there (minutes)
	@$(BIN)/pytest tests/kubernetes

lint: $(INSTALLED) ## Check style and who may import whom
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/lint-imports

typecheck: $(INSTALLED) ## Check types, strictly
	@$(BIN)/mypy

bench: $(INSTALLED) ## Measure, each figure against a baseline of the same run; prints JSON
	@$(BIN)/python -m bench

lock: ## Pin every dependency with its hash (needs uv)
	uv pip compile --quiet --universal --no-strip-extras --python-version 3.11 --generate-hashes pyproject.toml -o requirements.txt
	uv pip compile --quiet --universal --no-strip-extras --python-version 3.11 --generate-hashes --extra dev pyproject.toml -c requirements.txt -o requirements-dev.txt

clean: ## Remove the lake and the local Dagster instance (not .venv)
	rm -rf .lake .dagster

$(INSTALLED): requirements-dev.txt pyproject.toml dagster.yaml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and f"Python 3.11 or newer is needed, $(PYTHON) is {sys.version.split()[0]}. Run make PYTHON=python3.11.")'
	@echo "Installing into .venv (a few minutes the first time) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@$(BIN)/affirm setup
	@touch $@

# The instance and .env, should they have been removed since the set-up.
ready: $(INSTALLED)
	@test -e .env -a -e .dagster/dagster.yaml || $(BIN)/affirm setup

.PHONY: ready help demo ui test long-test same-rows-test native-test daemon-test browser-test kubernetes-test lint typecheck bench lock clean
