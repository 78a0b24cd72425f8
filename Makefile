# Everything here needs only Python >= 3.11 and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: run test faults bench pictures lint audit sbom install lock clean

run: install ## the whole service in one process, with an inbox for its mail
	$(BIN)/signup-service up

test: install ## every test; PostgreSQL comes along, or set TEST_DATABASE_URL; Chromium and npm are used where they are
	$(BIN)/pytest

faults: install ## every fault with all its rounds, an hour or so on a machine that does nothing else; writes docs/faults.md
	$(BIN)/pytest -n 2 tests/faults --long --table docs/faults.md

bench: install ## the ratios that are promised, twelve minutes or so; leave the machine alone meanwhile
	$(BIN)/python -W "ignore:XDG_RUNTIME_DIR" -m bench

pictures: install ## draws docs/pictures anew; needs Chromium, and looks as good as the machine's fonts
	$(BIN)/python -m tests.browser.pictures

lint: install
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

audit: install ## fails if a locked package has a known vulnerability, or was not audited
	$(BIN)/python -m tools audit $(AUDIT_OPTIONS)

sbom: install ## writes sbom.json: every locked package, in CycloneDX
	$(BIN)/python -m tools sbom

install: $(INSTALLED)

$(INSTALLED): requirements-dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

lock: ## writes both lock files anew; needs uv
	uv pip compile -q --universal --python-version 3.11 --generate-hashes \
	  --no-annotate --no-header pyproject.toml -o requirements.lock
	uv pip compile -q --universal --python-version 3.11 --generate-hashes \
	  --no-annotate --no-header --extra dev pyproject.toml -o requirements-dev.lock

clean:
	rm -rf $(VENV) data dist sbom.json .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
