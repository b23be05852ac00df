# Needs make and Python 3.11 or 3.12; everything else goes into .venv, at the versions and hashes of requirements/dev.txt.
SECONDS ?=
BROKER ?=
SUMMARY ?=
ARGS ?=

BIN := .venv/bin
INSTALLED := .venv/.installed

# Tests start hundreds of processes of ours: compiled anew each time, the modules would cost them a third of a second.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help install demo test check lock bench screenshots clean

help: ## Say what there is
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

install: $(INSTALLED) ## Make .venv with the `fraud` command and all tools (the others do it when needed)

demo: $(INSTALLED) ## See it work, until Ctrl-C: [SECONDS=20] [SUMMARY=file] [BROKER=kafka]
	$(BIN)/fraud demo $(if $(SECONDS),--seconds $(SECONDS)) $(if $(SUMMARY),--summary $(SUMMARY)) $(if $(BROKER),--broker $(BROKER))

# Three files at a time, however few the cores: most tests wait. Each process has brokers of its own. One at a time: ARGS=-n0
test: $(INSTALLED) ## Run all tests, those on a real Kafka too: [ARGS="tests/detection -x"]
	$(BIN)/pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder $(ARGS)

check: $(INSTALLED) ## Lint, formatting, types, import directions, locks
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	PATH="$(CURDIR)/$(BIN):$$PATH" requirements/compile.sh --check

lock: $(INSTALLED) ## Pin the dependencies of pyproject.toml anew: [ARGS=--upgrade]
	PATH="$(CURDIR)/$(BIN):$$PATH" requirements/compile.sh $(ARGS)

bench: $(INSTALLED) ## Measure how many events a second, and how late their verdicts are: [ARGS="--latency 20"]
	$(BIN)/python -m bench.throughput $(ARGS)

screenshots: $(INSTALLED) ## Make the pictures of the pages in docs/images anew; wants chromium
	$(BIN)/python -m docs.screenshots

clean: ## Remove all that make and the tools made here; never a recovery store
	rm -rf .venv dist build .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A python3.12 in the PATH may be a shim that only complains, and Debian's lacks ensurepip: so it is tried, not looked at.
$(INSTALLED): requirements/dev.txt pyproject.toml
	@for python in $(or $(PYTHON),python3.12 python3.11 python3); do \
	  if $$python -c 'import ensurepip, sys; sys.exit(sys.version_info[:2] not in {(3, 11), (3, 12)})' 2>/dev/null; then \
	    echo "making .venv with $$($$python --version)"; \
	    exec $$python -m venv .venv; \
	  fi; \
	done; \
	echo "make: expected Python 3.11 or 3.12 with its venv module (Debian: apt-get install python3-venv)," \
	  "got none of: $(or $(PYTHON),python3.12 python3.11 python3); name one with PYTHON=..." >&2; \
	exit 1
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@
