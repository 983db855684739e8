# One entry for everything that is done to this project; CI runs `make test` (see .ci/run).
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# Which Python makes the environment: PYTHON=python3.12, or the first one here that is new enough.
PYTHON ?=
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.set-up
# Slow tests run under CI=true only; PYTEST_ARGS adds to the command line (PYTEST_ARGS="-k retry -x").
MARKERS := $(if $(filter true,$(CI)),,not slow)
PYTEST_ARGS ?=
CHAOS_ARGS ?=
CLAUDE_CODE := deploy/claude-code
BENCH_ARGS ?=
# Accounts, keys and data of the system that `make up` starts.
COMPOSE_STATE ?= .compose
COMPOSE_ENV ?= .env
COMPOSE := docker compose --env-file $(COMPOSE_ENV)
# Environments of the systems that `make bench` compares with.
PEERS_DIR ?= .bench-peers
PEERS := $(patsubst tests/bench/peers/requirements/%.txt,$(PEERS_DIR)/%/.ready,$(wildcard tests/bench/peers/requirements/*.txt))
COMPILE := CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile --quiet --generate-hashes --strip-extras --allow-unsafe \
	--no-emit-index-url --no-emit-trusted-host --no-emit-find-links

.PHONY: help setup run demo fmt check test sim chaos bench bench-peers proto settings lock image claude-code up down smoke clean

help: ## show this list
	@echo "make <target>:"
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  \1\t\2/' | expand -t 16

setup: $(STAMP) ## make .venv with the pinned requirements and the commands in it
	@$(BIN)/python -m compileall -q proto libs services # where PYTHONDONTWRITEBYTECODE is set, each start would do it again

$(STAMP): requirements-dev.txt pyproject.toml
	@python=""; \
	for candidate in $(or $(PYTHON),python3 python3.13 python3.12 python3.11 python); do \
	  if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then python="$$candidate"; break; fi; \
	done; \
	[ -n "$$python" ] || { echo "setup: no Python 3.11 or newer found (tried: $(or $(PYTHON),python3 and its versions)); install one, or name it: make setup PYTHON=/path/to/python3.12" >&2; exit 1; }; \
	"$$python" -c 'import ensurepip, venv' 2>/dev/null || { echo "setup: $$python cannot make virtual environments; install its venv module (on Debian and Ubuntu: apt-get install python3-venv)" >&2; exit 1; }; \
	echo "setup 1/3: environment in $(VENV) ($$("$$python" --version))"; \
	[ -x $(BIN)/python ] && [ -z "$(PYTHON)" ] || "$$python" -m venv --clear $(VENV); \
	echo "setup 2/3: $$(grep -c '==' requirements-dev.txt) pinned packages, checked by hash"; \
	$(BIN)/python -m pip install --disable-pip-version-check --require-hashes -r requirements-dev.txt \
	  | sed -un 's/^Collecting \([^ ]*\).*/  \1/p'; \
	echo "setup 3/3: this project"; \
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation -e .
	@touch $@
	@echo "setup: done; the command is $(BIN)/orchestrator"

run: setup ## build a small example project with three executors
	@$(BIN)/orchestrator "Build todo list with backend and frontend" -m 3

demo: setup ## show five runs: small, parallel, large, with failures, with a plan of one's own
	@$(BIN)/orchestrator demo

fmt: setup ## format the code and mend what can be mended
	@$(BIN)/ruff check --quiet --fix-only .
	@$(BIN)/ruff format .

check: setup ## formatting, lint, types, import contracts, tidiness
	@echo "check: format"; $(BIN)/ruff format --check --quiet .
	@echo "check: lint"; $(BIN)/ruff check --quiet .
	@echo "check: types"; $(BIN)/mypy
	@echo "check: import contracts"; $(BIN)/lint-imports --no-logo | tail -n 30
	@echo "check: tidiness"; $(BIN)/pytest tests/test_tidy.py

test: check ## everything that must hold before a change goes in (CI=true adds the slow tests)
	@echo "test: $(if $(MARKERS),without slow tests (CI=true runs them too),all tests)"
	@$(BIN)/pytest -m "$(MARKERS)" $(PYTEST_ARGS)

chaos: setup ## kill everything 200 times over 105,000 tasks, then the named scenarios (15 minutes; CHAOS_ARGS="--seed 7")
	@$(BIN)/python -m tests.chaos $(CHAOS_ARGS)
	@PTO_CHAOS_AWAY_S=60 $(BIN)/pytest -s tests/chaos

sim: setup ## try the services under thousands of simulated faults (SEEDS=0:10000, or one with what happens: SEED=123)
	@PYTHONHASHSEED=0 $(BIN)/python -m tests.sim $(if $(SEED),--seed $(SEED),--seeds $(or $(SEEDS),0:2000) --jobs 2)

bench: setup ## measure speed, beside other systems if they are there (WORKLOADS=W1,W4 or all, JSON=FILE, BENCH_ARGS="--repeats 1")
	@$(BIN)/python -m tests.bench --peers-dir $(PEERS_DIR) $(if $(WORKLOADS),--workloads $(WORKLOADS)) $(if $(JSON),--json $(JSON)) $(BENCH_ARGS)

bench-peers: $(PEERS) ## make the environments of the systems to compare with (PEERS_DIR=.bench-peers; 1 GB)
	@:

$(PEERS_DIR)/%/.ready: tests/bench/peers/requirements/%.txt
	@echo "bench-peers: $*"
	@$(or $(PYTHON),python3) -m venv --clear $(PEERS_DIR)/$*
	@$(PEERS_DIR)/$*/bin/python -m pip install --disable-pip-version-check --quiet -r $<
	@touch $@

proto: setup ## write the schemas, asyncapi.yaml and the reference table of events anew
	@$(BIN)/python -m pto_proto.generate

settings: setup ## write the reference page of all settings anew
	@$(BIN)/python -m pto_runtime.settings_page > docs/reference/settings.md

lock: setup ## pin the newest allowed requirements, with hashes
	@$(COMPILE) --upgrade --output-file requirements.txt pyproject.toml
	@$(COMPILE) --upgrade --extra dev --constraint requirements.txt --output-file requirements-dev.txt pyproject.toml
	@$(COMPILE) --upgrade --extra anthropic --extra otel --constraint requirements-dev.txt --output-file requirements-image.txt pyproject.toml
	@$(COMPILE) --upgrade --only-build-deps --build-deps-for wheel --constraint requirements-dev.txt --output-file requirements-build.txt pyproject.toml
	@git --no-pager diff --stat -- 'requirements*.txt'

image: ## build the images parallel-orchestrator:latest, :slim and the broker's (needs Docker; see deploy/docker/README.md)
	@deploy/docker/build.sh

claude-code: $(CLAUDE_CODE)/node_modules/.package-lock.json ## install the pinned Claude Code command line, checked by hash (380 MB)
	@:

$(CLAUDE_CODE)/node_modules/.package-lock.json: $(CLAUDE_CODE)/package-lock.json
	@command -v npm >/dev/null || { echo "claude-code: npm is needed; install it (on Debian and Ubuntu: apt-get install npm)" >&2; exit 1; }
	@cd $(CLAUDE_CODE) && npm ci --no-progress --loglevel=error
	@ls $(CLAUDE_CODE)/node_modules/@anthropic-ai/*/claude >/dev/null 2>&1 || { rm -rf $(CLAUDE_CODE)/node_modules; \
	  echo "claude-code: npm brought no program: this platform has none, or the download failed; try again, or choose another machine" >&2; exit 1; }
	@touch $@

up: setup ## start the whole system with docker compose, with accounts and TLS of its own (see docs/howto/operate.md)
	@kept=$$(grep -vE '^(PTO_STATE|PTO_WORKSPACES|PTO_UID|PTO_GID|DOCKER_GID)=' $(COMPOSE_ENV) 2>/dev/null || true); \
	made=$$(ORCHESTRATOR=$(BIN)/orchestrator deploy/compose/prepare.sh $(COMPOSE_STATE)); \
	(umask 077; printf '%s\n' "$$made" $${kept:+"$$kept"} > $(COMPOSE_ENV))
	@$(COMPOSE) up --detach --wait
	@$(COMPOSE) kill --signal HUP nats 2>/dev/null # reads its accounts again; what is new to it may ask after the second time
	@sleep 1; $(COMPOSE) kill --signal HUP nats 2>/dev/null

down: ## stop what `make up` started; its data stays in .compose
	@$(COMPOSE) --profile observe down

smoke: setup ## ask the system that `make up` started for two small runs, and look at what they made
	@listens=$$($(COMPOSE) port nats 4222 2>/dev/null) || { echo "smoke: the system is not up: make up" >&2; exit 1; }; \
	NATS_URL=$${NATS_URL:-tls://$${listens/0.0.0.0/127.0.0.1}} ORCHESTRATOR=$(BIN)/orchestrator deploy/compose/smoke.sh $(COMPOSE_STATE)

clean: ## remove the environment, caches and build results (outputs stay)
	@rm -rf $(VENV) $(CLAUDE_CODE)/node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
