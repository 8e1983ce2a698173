# What a person does twice. `make help` lists it.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help

# the first Python that the pinned packages have wheels for
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	if $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; \
	then command -v $$p; break; fi; done)
STATE ?= .stack
BIN := .venv/bin
# processes that tests are shared between, each with a stack of its own (some 4 GB); 0: none besides pytest itself
TEST_WORKERS ?= 2
SOAK_KILLS ?= 200
SOAK_MINUTES ?= 120
SOAK_LANES ?= 2
PYTEST := $(BIN)/python -m pytest -n $(TEST_WORKERS)
STACK := $(BIN)/python -m local_stack
SQL := include tests
DBT_MANIFEST := include/dbt/webtoon/target/manifest.json
# folders too, so that a deleted model counts as a change
DBT_SOURCES := $(shell find include/dbt/webtoon/models include/dbt/webtoon/macros include/dbt/webtoon/tests) \
	$(wildcard include/dbt/*.py include/dbt/webtoon/*.yml) requirements.lock
export PYTHONPATH := $(CURDIR)
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help doctor setup lock jars dbt-manifest up down status logs psql trace clean distclean demo test test-all unit dags \
	integration soak bench-parse bench-stream bench-freshness bench-growth bench-idle bench-designs bench-batch bench-compaction lint types \
	format python

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

python:
	@if [ -z "$(PYTHON)" ]; then echo "error: Python 3.11, 3.12 or 3.13 not found;" \
	  "install it: sudo apt-get install python3.11 python3.11-venv   (macOS: brew install python@3.11)" >&2; exit 1; fi

doctor: python ## is this machine fit? says how to install what is missing
	@$(PYTHON) -m local_stack doctor --state-dir $(STATE)

setup: python ## the pinned environment in .venv (nothing to do the second time)
	@$(PYTHON) -m local_stack.bootstrap

lock: python ## resolve requirements.lock again from requirements*.txt and overrides.txt
	@$(PYTHON) -m local_stack.bootstrap --lock

jars: setup ## jars for Spark and Kafka in .jars (nothing to do the second time)
	@$(BIN)/python -m local_stack.fetch_jars

dbt-manifest: setup $(DBT_MANIFEST) ## what the DAG features__model is drawn from (nothing to do unless dbt files changed)

$(DBT_MANIFEST): $(DBT_SOURCES) | setup
	@$(BIN)/python -m include.dbt.command manifest

up: jars dbt-manifest ## start the stack and wait until it is healthy (ONLY=kafka,postgres for parts)
	@$(STACK) up --state-dir $(STATE) $(if $(ONLY),--only $(ONLY))

down: setup ## stop everything the stack started; its state stays
	@$(STACK) down --state-dir $(STATE)

status: setup ## state, health and memory of each process
	@$(STACK) status --state-dir $(STATE)

logs: setup ## last lines of the logs (SERVICE=kafka for more of one)
	@$(STACK) logs --state-dir $(STATE) $(SERVICE)

psql: setup ## SQL shell on the feature database of the running stack (SQL_COMMAND="SELECT ..." for one)
	@source $(STATE)/env && exec $(BIN)/python -m local_stack.psql $(if $(SQL_COMMAND),-c "$(SQL_COMMAND)")

trace: setup ## where a value comes from (VALUE=marts.user_features/u42/user_exit_rate, TRACE_OPTIONS="--json --limit 5"; VALUE=--help)
	@source $(STATE)/env && exec $(BIN)/python -m include.trace $(TRACE_OPTIONS) "$(or $(VALUE),--help)"

clean: setup ## stop the stack and delete its state
	@$(STACK) clean --state-dir $(STATE)

distclean: clean ## clean, and delete environment, jars and caches
	@rm -rf .venv .jars .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis include/dbt/webtoon/{target,logs}

demo: doctor ## the whole main job on a running stack, with a summary at the end
	@$(MAKE) up
	@$(BIN)/python -m local_stack.demo --state-dir $(STATE)

test: jars dbt-manifest lint types ## what CI runs: lint, types, unit, DAG and integration tests
	@$(PYTEST) tests -m "not long"

test-all: jars dbt-manifest lint types ## test, and the tests marked long
	@HYPOTHESIS_PROFILE=long $(PYTEST) tests

unit: setup ## unit tests only
	@$(BIN)/python -m pytest tests/unit

dags: setup ## DAG tests only
	@$(BIN)/python -m pytest tests/dags

integration: jars dbt-manifest ## integration tests only (they start what they need themselves)
	@$(BIN)/python -m pytest tests/integration -m "not long"

soak: jars ## kill the stream and its stores at random (SOAK_KILLS=200 SOAK_LANES=2 SOAK_MINUTES=120, SOAK_SEED=... to repeat one)
	@$(BIN)/python -m tests.integration.faults.soak --kills $(SOAK_KILLS) --minutes $(SOAK_MINUTES) --lanes $(SOAK_LANES) \
		$(if $(SOAK_SEED),--seed $(SOAK_SEED))

bench-parse: setup ## seconds to parse each DAG file, against the limits
	@$(BIN)/python benchmarks/parse_dags.py

bench-stream: jars ## events/s against Spark's limit and Quix Streams (EVENTS=2000000 RUNS=3 HOURS=1)
	@$(BIN)/python -m benchmarks.throughput $(if $(EVENTS),--events $(EVENTS)) $(if $(RUNS),--runs $(RUNS)) \
	  $(if $(HOURS),--hours $(HOURS))

bench-freshness: jars dbt-manifest ## event -> row, each event, open loop (RATES=500,2000,8000 MEASURE_S=180 SCENARIOS=rates,open,beside)
	@$(BIN)/python -m benchmarks.freshness $(if $(RATES),--rates $(RATES)) \
	  $(if $(MEASURE_S),--seconds $(MEASURE_S)) $(if $(SCENARIOS),--scenarios $(SCENARIOS))

bench-growth: jars ## a micro-batch's cost against rate, open sessions, readers, partitions, trigger (GROWTH_S=60); draws docs/performance/growth.svg
	@$(BIN)/python -m benchmarks.growth --save .cache/growth.json $(if $(GROWTH_S),--seconds $(GROWTH_S))
	@$(BIN)/python -m benchmarks.plot_growth .cache/growth.json docs/performance/growth.svg

bench-idle: jars ## processor time of the stream on an idle topic, with and without ticks, against 5 % of a core (IDLE_S=300)
	@$(BIN)/python -m benchmarks.idle $(if $(IDLE_S),--seconds $(IDLE_S))

bench-compaction: jars ## small Hive files put together: ours, Spark, a plain copy (ROWS=1500000)
	@$(BIN)/python -m benchmarks.compaction $(if $(ROWS),--rows $(ROWS))

bench-designs: jars ## events/s of each way to keep sessions in Spark's state
	@$(BIN)/python -m benchmarks.state_designs.run

bench-batch: jars dbt-manifest ## archive, publication, and one change on histories of several lengths (EVENTS=1000000 LANDED=500000 SIZES=100000,1000000,5000000 PARTS=archive,publish,model)
	@$(BIN)/python -m benchmarks.batch $(if $(EVENTS),--events $(EVENTS)) $(if $(LANDED),--landed $(LANDED)) \
	  $(if $(SIZES),--sizes $(SIZES)) $(if $(PARTS),--parts $(PARTS))

lint: setup ## ruff, sqlfluff, yamllint, hadolint, the Compose specification
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/sqlfluff lint --disable-progress-bar $(SQL)
	@$(BIN)/yamllint --strict .
	@$(BIN)/hadolint Dockerfile deploy/*/Dockerfile
	@$(BIN)/check-jsonschema --quiet --builtin-schema vendor.compose-spec docker-compose.override.yml

types: setup ## mypy
	@$(BIN)/mypy

format: setup ## rewrite Python files the way `make lint` wants them
	@$(BIN)/ruff check --fix-only .
	@$(BIN)/ruff format .
