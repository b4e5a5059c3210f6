# What a maintainer types. Everything is installed into .venv; nothing outside this folder and the store is written.
#   make wheel [RECIPE=xformers-0.0.35] [TARGET=cu128] [LANE=overlay]
#   make smoke    tries what 'make wheel' made, as far as this machine can [WHEEL=dist/...whl LEVEL=static]
#   make index    lists what lies in dist/ in an index under dist/index, and serves it for trying it out
#   make wheels   make test   make lint   make bench   make bench-source   make bench-index   make schemas   make clean

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RECIPE ?= xformers-0.0.35
OUT ?= dist
WHEEL ?= $(lastword $(shell ls -t $(OUT)/*.whl 2>/dev/null | tac))

help:
	@sed -n 's/^#   //p' Makefile

.PHONY: help setup tools wheel wheels smoke index plan test unit lint format bench bench-source bench-index schemas clean

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

smoke: setup
	@test -n "$(WHEEL)" || { echo "there is no wheel in $(OUT)/; make one: make wheel"; exit 2; }
	@$(BIN)/retread smoke $(WHEEL) $(if $(LEVEL),--level $(LEVEL)) --html $(WHEEL).smoke.html

# Without keys every wheel goes in as unproven, and its page says so; docs/publishing.md shows the way with keys.
index: setup
	@$(BIN)/retread publish $(OUT)/*.whl --index $(OUT)/index $(if $(POLICY),--policy $(POLICY),--allow-unproven "tried on this machine alone")
	@$(BIN)/retread index check $(OUT)/index
	@$(BIN)/retread serve $(OUT)/index

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

bench-index: tools
	$(BIN)/python scripts/bench-pages.py
	$(BIN)/python scripts/bench-index.py

schemas: setup
	@mkdir -p docs/schemas
	@for name in recipe plan build audit inspect statement toolchain compile compare smoke evidence; do \
		$(BIN)/retread recipe schema $$name > docs/schemas/$$name.json || exit 1; done

clean:
	rm -rf $(OUT) build .pytest_cache .mypy_cache .ruff_cache .hypothesis
