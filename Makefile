# Wavehouse: every command that the README names. `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
UV_VERSION := 0.13.8
BIN := .venv/bin
export DAGSTER_DISABLE_TELEMETRY := yes
export MLFLOW_DISABLE_TELEMETRY := true
export DO_NOT_TRACK := 1

.PHONY: help demo test test-fast check format bench dev install mojo deploy-tools clean

help: ## List the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sort | awk -F':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

install: .venv/.installed ## Create .venv and install the locked dependencies

.venv/.installed: pyproject.toml uv.lock
	@test -x $(BIN)/python || python3 -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@VIRTUAL_ENV=$(CURDIR)/.venv $(BIN)/uv sync --quiet --frozen --inexact --compile-bytecode --all-extras --no-extra mojo --all-groups --no-group peers
	@touch $@

mojo: install ## Build the Mojo kernels (installs their compiler, 85 MB; without them numba serves)
	@VIRTUAL_ENV=$(CURDIR)/.venv $(BIN)/uv sync --quiet --frozen --inexact --all-extras --all-groups --no-group peers
	@$(BIN)/python -m kernels.mojo.build

demo: install ## Run the whole line on the sample: bars to a served prediction
	@$(BIN)/wavehouse demo

test: install ## Run every test
	@$(BIN)/pytest -n 2 --dist loadgroup

test-fast: install ## Run all but the slow tests: every room, under two minutes on two cores
	@$(BIN)/pytest -n 2 --dist loadgroup -m "not slow"

check: install ## Format, lint, types, import rules, docstrings, definitions
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m tests.rules
	@VIRTUAL_ENV=$(CURDIR)/.venv PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/dg check defs

format: install ## Format and apply what the linter can fix
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: mojo ## Run the benchmarks beside their peers (installs these) and rewrite README's table
	@VIRTUAL_ENV=$(CURDIR)/.venv $(BIN)/uv sync --quiet --frozen --inexact --all-extras --all-groups
	@$(BIN)/python -m benchmarks

DEPLOY_TOOLS := prometheus docker-compose python3-docker python3-dockerpty python3-docopt \
  python3-dotenv python3-texttable python3-websocket python3-jsonschema python3-attr \
  python3-pyrsistent python3-yaml python3-distro python3-requests python3-urllib3 python3-idna \
  python3-certifi python3-chardet python3-six

deploy-tools: ## Unpack promtool and docker-compose from Debian into build/, for the tests of deploy/
	@mkdir -p build/deploy-tools
	@cd build/deploy-tools && apt-get download -qq $(DEPLOY_TOOLS) && for f in *.deb; do dpkg-deb -x $$f . && rm $$f; done

dev: install ## Dagster (3000), MLflow (5000) and the API (8000) together; Ctrl-C stops all
	@$(BIN)/wavehouse dev

clean: ## Remove what was materialised (data/, mlruns/); the code and .venv stay
	rm -rf data mlruns/mlflow.db* mlruns/artifacts .numba_cache
