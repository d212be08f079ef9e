.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
ARGS ?=
VENDOR := broker/dashboard/static/vendor

.PHONY: help setup demo test check bench clean

help: ## show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 16

setup: $(BIN)/.installed $(VENDOR)/.installed ## make the environment (.venv) and fetch the pages' libraries

demo: setup ## run the main job: a Chongqing day, warnings to villages (ARGS=--once ends by itself)
	@$(BIN)/fenghuo demo $(ARGS)

test: setup ## pass every test, on real servers and a real browser
	@.ci/system-packages
	@$(MAKE) --no-print-directory check
	@$(BIN)/pytest tests --ignore=tests/unit -q -n 2 --dist loadfile $(ARGS)

check: setup ## lint, types and unit tests: under a minute
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/pytest tests/unit -q -n 2

bench: setup ## measure, with control arms (ARGS="fanout --json")
	@$(BIN)/python -m loadtest $(or $(ARGS),report)

clean: ## remove everything that was made
	rm -rf .venv node_modules $(VENDOR) .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info data

$(BIN)/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or later is needed" >&2; exit 1; }
	@echo "making the environment in .venv ..." >&2
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VENDOR)/.installed: package-lock.json
	@command -v npm >/dev/null || { echo "Node 20 with npm is needed for the pages' libraries" >&2; exit 1; }
	@echo "fetching the pages' libraries ..." >&2
	@npm ci --silent --ignore-scripts --no-audit --no-fund
	@mkdir -p $(VENDOR)
	@cp node_modules/leaflet/dist/leaflet-src.esm.js node_modules/leaflet/dist/leaflet.css $(VENDOR)/
	@cp -r node_modules/leaflet/dist/images $(VENDOR)/
	@cp node_modules/uplot/dist/uPlot.esm.js node_modules/uplot/dist/uPlot.min.css $(VENDOR)/
	@touch $@
