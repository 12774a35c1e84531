# Every command that a person or CI runs. `make` alone lists them.

.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
PORT ?= 8000
BIN := .venv/bin
STAMP := .venv/.ready
BENCH := .venv-bench
AUDIT := .venv-audit
CLIENTS := .venv-clients
CONTRACT := tests/contract
PYTEST := $(BIN)/python -m pytest
# Whole files side by side: real workers and servers mostly wait.
PARALLEL := --numprocesses 3 --dist loadfile

.PHONY: help setup lock run test test-unit test-api test-integration test-redis-versions test-acceptance \
	test-contract test-faults test-fuzz test-docker test-browser test-clients clients-nightly faults audit bench coverage \
	lint format type openapi openapi-release check clean

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
	$(COMPILE) --group pyproject.toml:build -o requirements/build.txt
	$(COMPILE) service/pyproject.toml worker/pyproject.toml --all-extras --group pyproject.toml:dev -o requirements/dev.txt
	$(COMPILE) --group pyproject.toml:browser --constraint requirements/dev.txt -o requirements/browser.txt
	$(COMPILE) service/pyproject.toml worker/pyproject.toml --group pyproject.toml:bench -o requirements/bench.txt
	$(COMPILE) --group pyproject.toml:clients -o requirements/clients.txt
	$(COMPILE) --group pyproject.toml:clients-nightly --constraint requirements/clients.txt -o requirements/clients-nightly.txt
	echo uv | $(COMPILE) - -o requirements/uv.txt
	echo pip-audit | $(COMPILE) - -o requirements/audit.txt

run: $(STAMP) ## start Redis, a worker with the demo tasks and the API on PORT (8000); Ctrl-C stops it all
	@$(BIN)/task-status dev --port $(PORT)

test: $(STAMP) ## every tier below, against a real Redis and real workers
	@$(PYTEST) tests/unit tests/api tests/integration tests/acceptance --quiet $(PARALLEL)

test-unit: $(STAMP) ## pure code, in milliseconds
	@$(PYTEST) tests/unit

test-api: $(STAMP) ## HTTP over fakes
	@$(PYTEST) tests/api

test-integration: $(STAMP) ## our code against a real Redis
	@$(PYTEST) tests/integration

test-redis-versions: $(STAMP) ## the integration tests on the embedded Redis (6.2), then on the one of the PATH
	@EMBEDDED=$$(cd $(BIN) && pwd); PATH="$$EMBEDDED:$$PATH" $(PYTEST) tests/integration --quiet $(PARALLEL)
	@redis-server --version && $(PYTEST) tests/integration --quiet $(PARALLEL)

test-acceptance: $(STAMP) ## real workers and a real server, through HTTP
	@$(PYTEST) tests/acceptance

test-contract: $(STAMP) $(CONTRACT)/node_modules/.ready ## the OpenAPI document against its last release, other tools and a real server; not part of `test`
	@$(PYTEST) $(CONTRACT) --quiet $(PARALLEL)

$(CONTRACT)/node_modules/.ready: $(CONTRACT)/package-lock.json $(CONTRACT)/package.json $(CONTRACT)/.npmrc
	@command -v npm >/dev/null || { echo "npm is missing. On Debian and Ubuntu: apt-get install npm"; exit 1; }
	@npm ci --prefix $(CONTRACT) --silent --no-audit --no-fund
	@touch $@

test-faults: $(STAMP) ## the short form of `faults`, in under five minutes; not part of `test`
	@mkdir -p .run
	@$(PYTEST) tests/faults --basetemp=.run/faults --verbose --numprocesses 2 --dist loadfile

faults: $(STAMP) ## kill, stop and pause real processes for half an hour, check every answer, and write docs/reliability.md
	@mkdir -p .run
	@FAULTS=long $(PYTEST) tests/faults --basetemp=.run/faults --verbose

test-fuzz: $(STAMP) ## generated requests against a real server, REQUESTS=20000 of them: none may give a 5xx
	@FUZZ_REQUESTS=$(or $(REQUESTS),20000) $(PYTEST) tests/fuzz

test-docker: $(STAMP) ## both images and the compose file; needs a Docker engine, and is not part of `test`
	@$(PYTEST) tests/docker -rs

audit: $(AUDIT)/.ready ## known vulnerabilities of what is locked; asks osv.dev
	@$(AUDIT)/bin/pip-audit --vulnerability-service osv --disable-pip --require-hashes \
		-r requirements/service.txt -r requirements/worker.txt

$(AUDIT)/.ready: requirements/audit.txt $(STAMP)
	@$(PYTHON) -m venv $(AUDIT)
	@$(BIN)/uv pip install --quiet --python $(AUDIT)/bin/python --require-hashes -r requirements/audit.txt
	@touch $@

test-browser: .venv/.browser ## the pages in a real Chromium, which must be there (Debian: apt-get install chromium)
	@$(PYTEST) tests/browser -rs

.venv/.browser: $(STAMP) requirements/browser.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements/browser.txt
	@touch $@

test-clients: $(CLIENTS)/.ready ## clients generated in Python and TypeScript, checked and run; needs npm
	@$(PYTEST) tests/clients --ignore tests/clients/nightly --timeout 300

clients-nightly: $(CLIENTS)/.go ## the same in Go and Java; Java needs a JDK and Debian's libjakarta-annotation-api-java
	@$(PYTEST) tests/clients/nightly -rs --timeout 600

# What the commands of openapi/README.md ask for, once: when these are tested there is no network.
$(CLIENTS)/.ready: $(STAMP) requirements/clients.txt tests/clients/package.json tests/clients/package-lock.json
	@echo "Setting up $(CLIENTS) (once) ..."
	@$(PYTHON) -m venv $(CLIENTS)
	@UV_CACHE_DIR=$(CLIENTS)/uv $(BIN)/uv pip install --quiet --python $(CLIENTS)/bin/python --require-hashes -r requirements/clients.txt
	@cp tests/clients/package.json tests/clients/package-lock.json tests/clients/.npmrc $(CLIENTS)
	@cd $(CLIENTS) && npm ci --silent --cache npm \
		&& npm cache add --silent --cache npm $$(node -p 'const {dependencies: a, devDependencies: b} = require("./package.json"); Object.entries({...a, ...b}).map((one) => one.join("@")).join(" ")')
	@touch $@

$(CLIENTS)/.go: $(CLIENTS)/.ready requirements/clients-nightly.txt
	@UV_CACHE_DIR=$(CLIENTS)/uv $(BIN)/uv pip install --quiet --python $(CLIENTS)/bin/python --require-hashes -r requirements/clients-nightly.txt
	@touch $@

bench: $(BENCH)/.ready ## run it beside what one would use instead, in six minutes; needs wrk
	@$(BENCH)/bin/python -m bench.run

$(BENCH)/.ready: $(STAMP) requirements/bench.txt
	@echo "Setting up $(BENCH) (once) ..."
	@$(PYTHON) -m venv $(BENCH)
	@$(BIN)/uv pip install --quiet --python $(BENCH)/bin/python --require-hashes -r requirements/bench.txt
	@$(BIN)/uv pip install --quiet --python $(BENCH)/bin/python --no-deps --no-build-isolation -e service -e worker
	@touch $@

coverage: $(STAMP) ## the tests again, with branch coverage; 100 % of the pure core
	@$(PYTEST) tests/unit tests/api tests/integration --quiet $(PARALLEL) --cov --cov-report=term:skip-covered
	@$(BIN)/coverage report --include='*/task_status_service/status/*,*/task_status_worker/record.py,*/task_status_worker/packing.py,*/task_status_worker/keys.py' --fail-under=100

lint: $(STAMP) ## ruff, import contracts, and plain English (tools/prose.py)
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/lint-imports
	@$(BIN)/python -m tools.prose

format: $(STAMP) ## let ruff format and fix
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

type: $(STAMP) ## mypy strict
	@$(BIN)/mypy

openapi: $(STAMP) ## write openapi/openapi.json
	@$(BIN)/task-status openapi --output openapi/openapi.json

openapi-release: $(STAMP) ## keep the document as the release of its version, which later ones are compared with
	@PYTHONPATH=tests $(BIN)/python -m contract.release

check: lint type test ## what CI runs first

clean: ## remove what setup, run and the tests have made
	rm -rf .venv $(BENCH) $(AUDIT) $(CLIENTS) $(CONTRACT)/node_modules .run .coverage .hypothesis .mypy_cache .pytest_cache \
		.ruff_cache .import_linter_cache
