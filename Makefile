# make serve: install what is needed into .venv, once, and serve.   make test: check everything.   make check: the quick part of it.
# Both need Python >= 3.11 and nothing else; after the first time they need no network.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Each process of the tests, and each server that they start, would compile all modules again where bytecode may not be written.
PYTEST := PYTHONDONTWRITEBYTECODE= "$(BIN)/python" -m pytest -n auto --dist loadgroup
PIP := "$(BIN)/python" -m pip install --quiet --disable-pip-version-check --no-input

.PHONY: serve test check style bench clean help

help:
	@sed -n '1,2s/^# //p' Makefile

serve: $(VENV)/installed
	@exec "$(BIN)/steno" serve

test: style
	$(PYTEST) $(PYTEST_OPTIONS)

check: style
	$(PYTEST) tests/domain tests/commands tests/projections $(PYTEST_OPTIONS)

style: $(VENV)/installed-dev
	"$(BIN)/ruff" check .
	"$(BIN)/ruff" format --check .
	"$(BIN)/mypy"

bench: $(VENV)/installed-dev
	"$(BIN)/python" -m bench all

clean:
	rm -rf "$(VENV)" .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps are written last, so that an install that was cut short is taken up again.
$(VENV)/installed: pyproject.toml
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11) and f"Python 3.11 or newer is needed, {sys.executable} is {sys.version.split()[0]}: make PYTHON=python3.12 …")'
	@test -x "$(BIN)/python" || "$(PYTHON)" -m venv "$(VENV)"
	@echo "Installing into $(VENV) (once) …"
	@$(PIP) --editable .
	@touch "$@"

$(VENV)/installed-dev: $(VENV)/installed
	@echo "Installing what the tests need …"
	@$(PIP) --editable '.[dev]'
	@touch "$@"
