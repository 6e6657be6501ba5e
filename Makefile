# make serve: install what is needed into .venv, once, and serve.   make test: check everything.   make check: the quick part of it.
# They need Python >= 3.11 and nothing else; after the first time they need no network.   make lock: renew the locked versions.
# make node: install the clients for Node that the tests drive, which needs npm. make front-end: Open WebUI's page for the browser test.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Each process of the tests, and each server that they start, would compile all modules again where bytecode may not be written.
PYTEST := PYTHONDONTWRITEBYTECODE= "$(BIN)/python" -m pytest -n auto --dist loadgroup
PIP := "$(BIN)/python" -m pip install --quiet --disable-pip-version-check --no-input

LOCK = "$(VENV)/lock/bin/uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --custom-compile-command 'make lock'

.PHONY: serve test check style bench node front-end lock clean help

help:
	@sed -n '1,3s/^# //p' Makefile

serve: $(VENV)/installed
	@exec "$(BIN)/steno" serve

test: style $(VENV)/clients/installed
	$(PYTEST) $(PYTEST_OPTIONS)

check: style
	$(PYTEST) tests/domain tests/commands tests/projections $(PYTEST_OPTIONS)

style: $(VENV)/installed-dev
	"$(BIN)/ruff" check .
	"$(BIN)/ruff" format --check .
	"$(BIN)/mypy"

bench: $(VENV)/installed-dev
	"$(BIN)/python" -m bench all

# Renews the versions that are installed. For every Python and machine at once; what it writes names no registry.
lock:
	@test -x "$(VENV)/lock/bin/uv" || { "$(PYTHON)" -m venv "$(VENV)/lock" && "$(VENV)/lock/bin/python" -m pip install --quiet --disable-pip-version-check uv; }
	$(LOCK) --upgrade --extra dev pyproject.toml requirements/build.in --output-file requirements/dev.txt
	$(LOCK) --upgrade --constraint requirements/dev.txt pyproject.toml requirements/build.in --output-file requirements/serve.txt
	$(LOCK) --upgrade requirements/clients.in --output-file requirements/clients.txt

# The clients for Node that the tests drive, from npm. Without them those tests are skipped. The scripts of packages are not run.
node: $(VENV)/node/installed

# Open WebUI's page, which a test uses in a browser. Without it that test is skipped.
front-end: $(VENV)/front-end/LICENSE

clean:
	rm -rf "$(VENV)" .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps are written last, so that an install that was cut short is taken up again.
# The locked versions first, by their hashes; then the project itself, built by the locked hatchling, without looking at what it needs.
$(VENV)/installed: pyproject.toml requirements/serve.txt
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11) and f"Python 3.11 or newer is needed, {sys.executable} is {sys.version.split()[0]}: make PYTHON=python3.12 …")'
	@test -x "$(BIN)/python" || "$(PYTHON)" -m venv "$(VENV)"
	@echo "Installing into $(VENV) (once) …"
	@$(PIP) --require-hashes --requirement requirements/serve.txt
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch "$@"

# wheels/ is for the test that installs the built wheel into an empty environment: it needs no network then.
$(VENV)/installed-dev: $(VENV)/installed requirements/dev.txt
	@echo "Installing what the tests need …"
	@$(PIP) --require-hashes --requirement requirements/dev.txt
	@rm -rf "$(VENV)/wheels"
	@"$(BIN)/python" -m pip download --quiet --disable-pip-version-check --no-input --dest "$(VENV)/wheels" --require-hashes --requirement requirements/serve.txt
	@touch "$@"

# Other people's clients in an environment of their own: what they need may contradict what the server needs.
$(VENV)/clients/installed: requirements/clients.txt
	@test -x "$(VENV)/clients/bin/python" || "$(PYTHON)" -m venv "$(VENV)/clients"
	@echo "Installing the clients that the tests drive (once, a minute or two) …"
	@"$(VENV)/clients/bin/python" -m pip install --quiet --disable-pip-version-check --no-input --require-hashes --requirement requirements/clients.txt
	@touch "$@"

$(VENV)/front-end/LICENSE: $(VENV)/installed
	@"$(BIN)/steno" front-end install --to "$(VENV)/front-end"

$(VENV)/node/installed: tests/clients/node/package.json tests/clients/node/package-lock.json
	@mkdir -p "$(VENV)/node"
	@cp tests/clients/node/package.json tests/clients/node/package-lock.json "$(VENV)/node/"
	@npm ci --prefix "$(VENV)/node" --no-audit --no-fund --ignore-scripts --loglevel=error
	@touch "$@"
