# make train   set up, then train SDAR on the embedded ALFWorld (about five minutes on two cores once installed)
# make test    set up, then run the default test suite
# make test-all, make test-gymnasium, make lint, make build: see each
#
# Everything is installed into .venv once and used again; it is made anew when pyproject.toml or a requirements file
# changes. Needs Python 3.11 or 3.12, nothing else.

SHELL := /bin/bash
PYTHON ?= $(shell for p in python3.11 python3.12 python3; do "$$p" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' 2>/dev/null && { echo "$$p"; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
CONFIG ?= quickstart
ARGS ?=

.PHONY: train test test-all test-gymnasium lint build clean

train: $(VENV)/train.ok
	$(BIN)/sdar-gym train $(CONFIG) $(ARGS)

test: $(VENV)/test.ok
	$(BIN)/python -m pytest $(ARGS)

# The slow tests and those beside ALFWorld's own TextWorld stack too (which compiles C++ for some minutes, once).
test-all: $(VENV)/reference.ok
	$(BIN)/python -m pytest -m "" $(ARGS)

# The base install alone with the newest Gymnasium, in a clean venv, from outside the repository.
test-gymnasium: $(VENV)/test.ok
	$(BIN)/python -m pytest -m slow tests/test_newest_gymnasium.py $(ARGS)

lint: $(VENV)/dev.ok
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/pyright

build: $(VENV)/dev.ok
	$(BIN)/python -m build

clean:
	rm -rf $(VENV) dist build .pytest_cache .ruff_cache

$(VENV)/python.ok:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or 3.12 is needed; install it, or name it: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "venv failed; on Debian: apt-get install python3-venv"; exit 1; }
	touch $@

$(VENV)/train.ok: $(VENV)/python.ok pyproject.toml
	$(PIP) install -q -e '.[train]'
	touch $@

# Lucene's jar, the bridge to it and a JVM; --no-deps leaves pyserini's own neural encoders out.
$(VENV)/test.ok: $(VENV)/train.ok requirements-lucene.txt
	$(PIP) install -q -e '.[train,test]'
	$(PIP) install -q --no-deps -r requirements-lucene.txt
	touch $@

$(VENV)/reference.ok: $(VENV)/test.ok
	$(PIP) install -q -e '.[train,test,alfworld]'
	touch $@

$(VENV)/dev.ok: $(VENV)/test.ok
	$(PIP) install -q -e '.[train,test,dev]'
	touch $@
