# What a maintainer types. Everything is installed into .venv; nothing outside this folder and the store is written.
#   make wheel [RECIPE=xformers-0.0.35] [TARGET=cu128] [LANE=overlay]
#   make wheels   make test   make lint   make bench   make bench-source   make schemas   make clean

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RECIPE ?= xformers-0.0.35
OUT ?= dist

help:
	@sed -n 's/^#   //p' Makefile

.PHONY: help setup tools wheel wheels plan test unit lint format bench bench-source schemas clean

setup: $(VENV)/ready
tools: $(VENV)/ready-dev

$(VENV)/ready: pyproject.toml scripts/setup.sh
	@PYTHON="$(PYTHON)" VENV="$(VENV)" scripts/setup.sh '.[source]' 1>&2
	@touch $@

$(VENV)/ready-dev: $(VENV)/ready
	@PYTHON="$(PYTHON)" VENV="$(VENV)" scripts/setup.sh '.[dev]' 1>&2
	@touch $@

wheel: setup
	@$(BIN)/retread build $(RECIPE) $(if $(TARGET),--target $(TARGET)) $(if $(LANE),--lane $(LANE)) --out $(OUT)

wheels: setup
	@$(BIN)/retread build --all $(if $(LANE),--lane $(LANE)) --out $(OUT)

plan: setup
	@$(BIN)/retread plan $(RECIPE) $(if $(TARGET),--target $(TARGET)) $(if $(LANE),--lane $(LANE))

test: lint unit
	$(BIN)/pytest tests/e2e

unit: tools
	$(BIN)/pytest --numprocesses auto tests/unit

lint: tools
	$(BIN)/ruff format --check src tests scripts
	$(BIN)/ruff check src tests scripts
	$(BIN)/mypy

format: tools
	$(BIN)/ruff format src tests scripts
	$(BIN)/ruff check --fix src tests scripts

bench: tools
	$(BIN)/python scripts/bench.py

bench-source: tools
	$(BIN)/python scripts/bench-source.py

schemas: setup
	@mkdir -p docs/schemas
	@for name in recipe plan build audit inspect statement toolchain compile compare; do \
		$(BIN)/retread recipe schema $$name > docs/schemas/$$name.json || exit 1; done

clean:
	rm -rf $(OUT) build .pytest_cache .mypy_cache .ruff_cache .hypothesis
