# Everything here needs only Python >= 3.11 and make. `make help` lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: help run test faults bench pictures lint audit sbom install lock clean

help: ## show this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | while IFS='	' read -r target does; do printf '%-10s%s\n' "$$target" "$$does"; done

run: install ## run everything in one process, with an inbox that catches all mail
	$(BIN)/signup-service up

test: install ## run every test, on SQLite and PostgreSQL (which is included, or set TEST_DATABASE_URL)
	$(BIN)/pytest

faults: install ## run all fault tests in full and write docs/faults.md; an hour on an idle machine
	$(BIN)/pytest -n 2 tests/faults --long --table docs/faults.md

bench: install ## run the benchmark and write bench/results; 12 minutes on an idle machine
	$(BIN)/python -W "ignore:XDG_RUNTIME_DIR" -m bench

pictures: install ## draw docs/pictures again; needs Chromium, and uses this machine's fonts
	$(BIN)/python -m tests.browser.pictures

lint: install ## check formatting, style, types and imports
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

audit: install ## fail if a locked package has a known vulnerability, or could not be checked
	$(BIN)/python -m tools audit $(AUDIT_OPTIONS)

sbom: install ## write sbom.json, the list of all locked packages in CycloneDX format
	$(BIN)/python -m tools sbom

install: $(INSTALLED)

$(INSTALLED): requirements-dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

lock: ## resolve all dependencies again and write both lock files; needs uv
	uv pip compile -q --universal --python-version 3.11 --generate-hashes \
	  --no-annotate --no-header pyproject.toml -o requirements.lock
	uv pip compile -q --universal --python-version 3.11 --generate-hashes \
	  --no-annotate --no-header --extra dev pyproject.toml -o requirements-dev.lock

clean: ## delete the virtual environment, data and caches
	rm -rf $(VENV) data dist sbom.json .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
