# Every command that a person or CI runs. `make` alone lists them.

.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
PORT ?= 8000
BIN := .venv/bin
STAMP := .venv/.ready
PYTEST := $(BIN)/python -m pytest

.PHONY: help setup lock run test test-unit test-api test-integration test-acceptance coverage lint format type openapi \
	check clean

help: ## list these commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

setup: $(STAMP) ## create .venv with everything, from the lock; the others call it

$(STAMP): requirements/uv.txt requirements/dev.txt service/pyproject.toml worker/pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "task-status needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version). Try: make setup PYTHON=python3.12"; exit 1; }
	@echo "Setting up .venv (once) ..."
	@$(PYTHON) -m venv .venv \
		|| { rm -rf .venv; echo "Python's venv module is missing. On Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements/dev.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e service -e worker
	@touch $@

COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-annotate --no-header --no-emit-package task-status-worker $(if $(UPGRADE),--upgrade)

lock: $(STAMP) ## resolve the lock again; UPGRADE=1 takes the newest versions
	$(COMPILE) service/pyproject.toml --extra compression -o requirements/service.txt
	$(COMPILE) worker/pyproject.toml -o requirements/worker.txt
	$(COMPILE) service/pyproject.toml worker/pyproject.toml --all-extras --group pyproject.toml:dev -o requirements/dev.txt
	echo uv | $(COMPILE) - -o requirements/uv.txt
