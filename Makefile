# What a maintainer types. Everything is installed into .venv; nothing outside this folder and the store is written.
#   make wheel [RECIPE=xformers-0.0.35] [TARGET=cu128] [LANE=overlay] [FOR=3.12, the wheel's Python]
#              [PLATFORM=win_amd64, by default Linux]
#   make audit    holds every wheel in dist/ to its promise and shows its evidence
#   make smoke    tries what 'make wheel' made, as far as this machine can [WHEEL=dist/...whl LEVEL="static jit"
#                 COLD=1 tries every case, whatever the store has of it]
#   make kit      packs it with its tests for a GPU machine
#   make index    lists what lies in dist/ in an index under dist/index, and serves it for trying it out
#   make wheels   make test   make lint   make bench   make bench-source   make bench-index   make bench-smoke
#   make bench-many   make bench-night   make schemas   make clean   make bench-growth   make bench-starts
#   make fuzz [SECONDS=60] [PARSER=elf]   changes inputs of every parser; what goes wrong lies in build/fuzz
#   make bump RECIPE=NAME TO=VERSION [REPOSITORY=CLONE-OR-ADDRESS]   carries a recipe to another release, with verdicts
#   make docs     builds these pages as a site under build/docs      make docs-reference   writes docs/reference/ anew
# What the workflows run, too (docs/guides/pipeline.md):
#   make matrix   shows every job [RECIPES="..."], or what changed [SINCE=origin/main LANE=overlay GPUS="9.0"]
#   make publish INDEX=DIR [POLICY=FILE PLAN=FILE]      make install-check ADDRESS=URL
#   make release-plan [RECIPES="..." TARGET=cu128 PLATFORM=x86_64]   lists the wheels of a release in dist/release.json
#   make release [PLAN=FILE]   signs and lists them, all or none; without a PLAN, one is made of the same
#   make statements      make sign      make run-check RUN=ID      make locks   pins anew what their jobs install

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RECIPE ?= xformers-0.0.35
OUT ?= dist
INDEX ?= $(OUT)/index
WHEEL ?= $(lastword $(shell ls -t $(OUT)/*.whl 2>/dev/null | tac))
KIT ?= $(WHEEL).kit.pyz
SITE ?= build/docs
BUILDER ?= builder
TESTER ?= tester
CODE := src tests scripts docs/conf.py
narrow = $(if $(TARGET),--target $(TARGET)) $(if $(LANE),--lane $(LANE)) $(if $(FOR),--python $(FOR)) $(if $(PLATFORM),--platform $(PLATFORM))
planned = RETREAD_SHARED= $(BIN)/retread plan --quiet $(RECIPE) $(narrow)
emulate = $(if $(filter aarch64,$(PLATFORM)),$(if $(filter-out aarch64,$(shell uname -m)),--emulate))
some-wheel = test -n "$(WHEEL)" || { echo "there is no wheel in $(OUT)/; make one: make wheel" >&2; exit 2; }

help:
	@sed -n 's/^#   //p' Makefile

.PHONY: help machine setup whole tools wheel wheels matrix audit smoke kit publish index release release-plan collect statements sign \
	run-check locks install-check watch issue request plan bump test unit e2e lint format docs docs-reference fuzz bench \
	bench-source bench-smoke bench-index bench-many bench-night bench-shared bench-growth bench-starts catalogue \
	schemas clean

# For a fresh machine of a workflow, as root.
machine:
	@PYTHON="$(PYTHON)" scripts/machine.sh --open-namespaces

# What an overlay, its smoke test and what only reads need; then, what lanes that compile and buckets need, too.
setup: $(VENV)/ready
whole: $(VENV)/ready-whole
tools: $(VENV)/ready-dev

$(VENV)/ready: pyproject.toml scripts/setup.sh
	@PYTHON="$(PYTHON)" VENV="$(VENV)" scripts/setup.sh . 1>&2
	@touch $@

$(VENV)/ready-whole: pyproject.toml scripts/setup.sh
	@PYTHON="$(PYTHON)" VENV="$(VENV)" scripts/setup.sh '.[container,bucket]' 1>&2
	@touch $(VENV)/ready $@

$(VENV)/ready-dev: pyproject.toml scripts/setup.sh scripts/machine.sh
	@PYTHON="$(PYTHON)" VENV="$(VENV)" scripts/setup.sh '.[dev]' 1>&2
	@touch $(VENV)/ready $(VENV)/ready-whole $@

$(VENV)/ready-docs: $(VENV)/ready
	@PYTHON="$(PYTHON)" VENV="$(VENV)" scripts/setup.sh '.[docs]' 1>&2
	@touch $@

wheel: $(if $(wildcard $(VENV)/ready-whole),whole,setup)
	@test -e $(VENV)/ready-whole || { said=$$($(planned)) || exit; \
		test -z "$$RETREAD_SHARED" && echo "$$said" | grep -q '^lane: overlay' || $(MAKE) --no-print-directory whole; }
	@$(BIN)/retread build $(RECIPE) $(narrow) --out $(OUT)

wheels: whole
	@$(BIN)/retread build --all $(if $(LANE),--lane $(LANE)) $(if $(PLATFORM),--platform $(PLATFORM)) --out $(OUT)

# With JSON=NAME, one line NAME={...}, as a workflow's outputs want it.
matrix: setup
	@$(if $(JSON),printf '$(JSON)=' &&) $(BIN)/retread matrix $(RECIPES) $(if $(SINCE),--base $(SINCE)) $(if $(LANE),--lane $(LANE)) $(if $(PLATFORM),--platform $(PLATFORM)) --gpus "$(GPUS)" $(if $(JSON),--json)

audit: setup
	@$(some-wheel)
	@for wheel in $(OUT)/*.whl; do $(BIN)/retread audit --quiet $$wheel >/dev/null && $(BIN)/retread evidence $$wheel || exit; done

smoke: setup
	@$(some-wheel)
	@$(BIN)/retread smoke $(WHEEL) $(addprefix --level ,$(LEVEL)) $(if $(COLD),--cold) $(emulate) --html $(WHEEL).smoke.html

kit: setup
	@$(some-wheel)
	@$(BIN)/retread kit $(WHEEL) --out $(KIT)

publish: whole
	@$(some-wheel)
	@test -n "$(INDEX)" || { echo "publish: INDEX is empty; nothing was listed" >&2; exit 2; }
	@$(BIN)/retread publish $(OUT)/*.whl --index $(INDEX) $(if $(POLICY),--policy $(POLICY)) $(if $(BASE),--base $(BASE)) \
		$(if $(PLAN),--release $(PLAN)) $(if $(UNPROVEN),--allow-unproven "$(UNPROVEN)")
	@$(BIN)/retread index check $(INDEX) $(if $(POLICY),--policy $(POLICY))

# Without keys every wheel goes in as unproven, and its page says so; docs/guides/publishing.md shows the way with keys.
index: UNPROVEN ?= $(if $(POLICY),,tried on this machine alone)
index: publish
	@$(BIN)/retread serve $(INDEX)

# What the workflow of a commit made and its GPU runners found, as if it had been made here; needs gh, logged in.
collect: setup
	@RETREAD=$(BIN)/retread scripts/collect.sh "$(COMMIT)" $(OUT)

# What is known of the wheels in dist/, to be signed where the keys are: digests and no wheel.
statements: setup
	@$(some-wheel)
	@$(BIN)/retread statement $(OUT)/*.whl --builder "$(BUILDER)" --tester "$(TESTER)" --out statements

# With one of the keys in RETREAD_KEY, whose name is KEY.
sign: setup
	@RETREAD=$(BIN)/retread scripts/sign.sh "$(KEY)" statements

# That a run whose kits are to be tried is one of ours: needs gh.
run-check:
	@scripts/run-check.sh "$(RUN)"

locks: setup
	@$(BIN)/python scripts/locks.py

release-plan: whole
	@mkdir -p $(OUT)
	@$(BIN)/retread release plan $(RECIPES) $(if $(SINCE),--base $(SINCE)) $(if $(TARGET),--target $(TARGET)) \
		$(if $(LANE),--lane $(LANE)) $(addprefix --platform ,$(PLATFORM)) --out $(OUT)/release.json

release: $(if $(PLAN),whole,release-plan)
	@RETREAD=$(BIN)/retread scripts/release.sh $(OUT) $(or $(PLAN),$(OUT)/release.json)

install-check: setup
	@$(some-wheel)
	@PYTHON="$(if $(FOR),python$(FOR),$(BIN)/python)" scripts/install-check.sh "$(ADDRESS)" $(WHEEL)

watch: whole
	@$(BIN)/retread watch $(RECIPES) --json --issue watch.md > watch.json

issue:
	@scripts/issue.sh watch.json watch.md

# Pull requests for releases without a recipe, after 'make watch'; needs gh, logged in.
request: setup
	@$(BIN)/python scripts/request.py watch.json

bump: whole
	@$(BIN)/retread recipe bump $(RECIPE) --to $(TO) $(if $(REPOSITORY),--repository "$(REPOSITORY)")

plan: setup
	@$(BIN)/retread plan $(RECIPE) $(narrow)

test: lint unit e2e

# Reading the tests takes 3 s of a processor, two of them for bytecode where none is kept. So keep it, whatever the
# environment says, in the usual places, where that of Python and of its packages lies already; and have each worker
# read its own share of the files alone (tests/conftest.py).
unit: tools
	PYTHONDONTWRITEBYTECODE= PYTHONPYCACHEPREFIX= \
		$(BIN)/pytest --numprocesses auto --maxprocesses 4 --dist each -o console_output_style=classic tests/unit

# Most of these tests wait for one program or another, so two files go on at a time; more would not fit the memory and
# disk of a small machine. What files share they share in a worker. The slowest are told, since they set the pace.
e2e: tools
	$(BIN)/pytest --numprocesses auto --maxprocesses 2 --dist loadfile --no-loadscope-reorder \
		--durations 15 --durations-min 10 tests/e2e

lint: tools
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/ruff check $(CODE)
	$(BIN)/mypy
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-issue-forms $(filter-out %/config.yml,$(wildcard .github/ISSUE_TEMPLATE/*.yml))
	$(BIN)/check-jsonschema --builtin-schema vendor.github-issue-config .github/ISSUE_TEMPLATE/config.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml
	$(BIN)/zizmor --offline --quiet --persona=pedantic .github
	$(BIN)/pytest --numprocesses auto --maxprocesses 2 --dist loadfile --quiet tests/house

format: tools
	$(BIN)/ruff format $(CODE)
	$(BIN)/ruff check --fix $(CODE)

# Every warning is an error: a link that leads nowhere is one. Each build is a whole one, so that no old page stays.
docs: $(VENV)/ready-docs
	@rm -rf $(SITE)
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going --fresh-env --builder html \
		--doctree-dir build/doctrees docs $(SITE)
	@echo $(SITE)/index.html

docs-reference: setup
	@$(BIN)/python scripts/reference.py

# Seeds and helpers are the tests'.
fuzz: tools
	@PYTHONPATH=scripts:tests/helpers $(BIN)/python -m fuzz.run --seconds $(or $(SECONDS),60) $(if $(PARSER),--parser "$(PARSER)")

bench: tools
	$(BIN)/python scripts/bench/overlay.py
	$(BIN)/python scripts/bench/series.py

bench-source: tools
	$(BIN)/python scripts/bench/source.py

bench-many: tools
	$(BIN)/python scripts/bench/many.py

bench-night: tools
	$(BIN)/python scripts/bench/night.py

# Needs torch and every Triton of the default recipe from the index; on two cores it takes some 4 minutes.
bench-smoke: tools
	$(BIN)/python scripts/bench/smoke.py

bench-index: tools
	$(BIN)/python scripts/bench/index.py

bench-shared: tools
	$(BIN)/python scripts/bench/shared.py

# A table and a plot of how cost grows: docs/development/growth.md [ONLY=modules TOP=1000].
bench-growth: tools
	$(BIN)/python scripts/bench/growth.py $(addprefix --only ,$(ONLY)) $(if $(TOP),--top $(TOP))

# How every command starts: docs/development/starts.md.
bench-starts: tools
	$(BIN)/python scripts/bench/starts.py

# What 'retread fit' knows where there is no clone: recipes, series and usage files in one file of the package.
catalogue: setup
	@$(BIN)/python scripts/catalogue.py

schemas: setup
	@$(BIN)/retread recipe schema --all docs/schemas

clean:
	rm -rf $(OUT) build .pytest_cache .mypy_cache .ruff_cache .hypothesis
