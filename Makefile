# Everything here needs only Python >= 3.11 and make. `make help` lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check
COMPILE := uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-annotate --no-header
RUN := $(VENV)/.run-installed
DEV := $(VENV)/.dev-installed

.PHONY: help run test faults relays proxies bench pictures lint audit sbom install lock clean

help: ## show this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | while IFS='	' read -r target does; do printf '%-10s%s\n' "$$target" "$$does"; done

run: $(RUN) ## run everything in one process, with an inbox that catches all mail
	$(BIN)/signup-service up

# With bytecode, or each worker, and each process of a test, would compile all anew.
test: $(DEV) ## run every test, on SQLite and PostgreSQL (which is included, or set TEST_DATABASE_URL)
	PYTHONDONTWRITEBYTECODE= $(BIN)/pytest

faults: $(DEV) ## run all fault tests in full and write docs/faults.md; an hour on an idle machine
	$(BIN)/pytest -n 2 tests/faults --long --table docs/faults.md

relays: $(DEV) ## send mails through Debian's Postfix and Exim; as root on Debian, and changes nothing there
	REAL_RELAYS=1 $(BIN)/pytest -n 0 tests/faults/test_real_relays.py --long

proxies: $(DEV) ## run the service behind nginx, HAProxy, Caddy and Varnish, those that are installed
	$(BIN)/pytest -n 0 tests/proxies --long

bench: $(DEV) ## run the benchmark and write bench/results; 18 minutes on an idle machine
	$(BIN)/python -W "ignore:XDG_RUNTIME_DIR" -m bench

pictures: $(DEV) ## draw docs/pictures again; needs Chromium, and uses this machine's fonts
	$(BIN)/python -m tests.browser.pictures

lint: $(DEV) ## check formatting, style, types and imports
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

audit: $(DEV) ## fail if a locked package has a known vulnerability, or could not be checked
	$(BIN)/python -m tools audit $(AUDIT_OPTIONS)

sbom: $(DEV) ## write sbom.json, the list of all locked packages in CycloneDX format
	$(BIN)/python -m tools sbom

install: $(DEV) ## install what running, testing and developing need

$(VENV)/pyvenv.cfg:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)

# Without a build, because its tools are not in requirements.lock: a command, and the path to this folder.
$(RUN): requirements.lock | $(VENV)/pyvenv.cfg
	$(PIP_INSTALL) --require-hashes -r requirements.lock
	@$(BIN)/python -c 'import os, sysconfig; \
	  print(os.getcwd(), file=open(sysconfig.get_path("purelib") + "/signup-service.pth", "w"))'
	@printf '#!/bin/sh\nexec "$$(dirname "$$0")/python" -m service "$$@"\n' > $(BIN)/signup-service
	@chmod +x $(BIN)/signup-service
	@touch $@

# After the above, for this build's command is the better one: the shell can complete it.
$(DEV): requirements-dev.lock pyproject.toml $(RUN)
	$(PIP_INSTALL) --require-hashes -r requirements-dev.lock
	$(PIP_INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

lock: ## resolve all dependencies again and write both lock files; needs uv
	$(COMPILE) pyproject.toml -o requirements.lock
	$(COMPILE) --extra dev pyproject.toml -o requirements-dev.lock

clean: ## delete the virtual environment, data and caches
	rm -rf $(VENV) data dist sbom.json .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
