# Two commands: `make search` installs and runs the main job, `make test` installs and passes the tests.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
# a module is one worker's, so that its Ray is started once; tests/conftest.py says in which order
PYTEST := $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

.PHONY: search test fast lint chaos install install-browser clean

search: install
	$(BIN)/python tuner.py --space deadzone_resnet20 --time-budget 8m

test: lint
	$(PYTEST)

fast: lint
	$(PYTEST) -m "not slow"

chaos: install
	$(BIN)/python benchmarks/chaos.py --kills 20 --plain --folder $$(mktemp -d)/chaos

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	@echo "installing into .venv (once; some minutes)"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[test,vit,onnx]'
	@touch $(INSTALLED)

# Debian's own Chromium, for the one test that opens a report's page; without it that test is skipped.
install-browser:
	@if command -v chromium >/dev/null; then echo "chromium is here"; \
	elif command -v apt-get >/dev/null; then \
	    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends chromium >/dev/null; } \
	    || echo "chromium could not be installed: the test in a browser is skipped"; \
	else echo "no apt-get here: the test in a browser is skipped where there is no Chromium"; fi

clean:
	rm -rf .venv build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
