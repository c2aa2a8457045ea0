# Everything works in .venv, in this checkout. `make demo` and `make test` do all of their own set-up.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
JOBS ?= 2

.PHONY: demo test test-all check docs clean help

help:
	@echo "make demo      walk the whole road on sample photos (no downloads of photos or weights)"
	@echo "make test      run the tests (make test-all: the slow ones too)"
	@echo "make check     formatting, lint, types, generated docs"
	@echo "make docs      write the generated pages under docs/"

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "featherlite needs Python 3.11 or newer; $(PYTHON) is older. Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@echo "Setting up $(VENV) (once; about two minutes, 2 GB)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $(READY)

demo: $(READY)
	@$(BIN)/featherlite demo demo

test: $(READY)
	@$(BIN)/python -m pytest -m "not slow" -n $(JOBS) --dist loadfile

test-all: $(READY)
	@$(BIN)/python -m pytest -n $(JOBS) --dist loadfile

check: $(READY)
	@$(BIN)/ruff format --check src tests benchmarks
	@$(BIN)/ruff check src tests benchmarks
	@$(BIN)/mypy
	@$(BIN)/python -m featherlite.cli.reference --check docs/commands.md

docs: $(READY)
	@$(BIN)/python -m featherlite.cli.reference docs/commands.md

clean:
	@rm -rf demo out .mypy_cache .pytest_cache .ruff_cache
