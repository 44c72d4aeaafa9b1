# make train   set up, then train SDAR on the embedded ALFWorld (about a minute on two cores once installed)
# make test    set up, then run the default test suite
# make lint    set up, then lint, format and types
# make docs    set up, then build the documentation into site/, strictly; docs-serve shows it while it is written
# make test-all, test-newest, test-oldest, test-gymnasium, robustness, lock, build: see each
#
# Everything is installed into .venv once, in the versions of constraints.txt, and used again; it is made anew when
# pyproject.toml or a requirements file changes. Needs Python 3.11 or 3.12, nothing else.

SHELL := /bin/bash
PYTHON ?= $(shell for p in python3.11 python3.12 python3; do "$$p" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' 2>/dev/null && { echo "$$p"; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
LOCK := -c constraints.txt
CONFIG ?= quickstart
ARGS ?=

CHROMIUM_OR_SAY = for name in chromium chromium-browser google-chrome; do command -v $$name > /dev/null && exit 0; done; \
  echo "No Chromium, so that the tests of the viewer's page are skipped. On Debian: apt-get install chromium"

.PHONY: test-browser train test test-all test-newest test-oldest test-gymnasium robustness lock lint docs docs-serve build clean

train: $(VENV)/train.ok
	$(BIN)/sdar-gym train $(CONFIG) $(ARGS)

test: $(VENV)/test.ok
	$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

# The viewer's page in the system's Chromium.
test-browser: $(VENV)/test.ok
	@$(CHROMIUM_OR_SAY)
	$(BIN)/python -m pytest -m browser $(ARGS)

# The slow tests and those beside ALFWorld's own TextWorld stack too (which compiles C++ for some minutes, once).
test-all: $(VENV)/reference.ok
	@$(CHROMIUM_OR_SAY)
	$(BIN)/python -m pytest -m "" $(ARGS)

# The default suite with the newest versions that pyproject.toml admits, in a venv of their own, made anew each time.
test-newest:
	rm -rf .venv-newest
	$(MAKE) VENV=.venv-newest LOCK= test

# The default suite with the oldest transformers of the range, the newest that vLLM 0.32 admits.
test-oldest:
	rm -rf .venv-oldest constraints-oldest.txt
	sed 's/^transformers==.*/transformers==5.19.0/' constraints.txt > constraints-oldest.txt
	$(MAKE) VENV=.venv-oldest LOCK="-c constraints-oldest.txt" test

# Kills and resumes, damaged run folders, malformed command lines, hostile files and texts: each counts what held.
robustness: $(VENV)/test.ok
	$(BIN)/python scripts/robustness/command_lines.py
	$(BIN)/python scripts/robustness/hostile_readers.py
	$(BIN)/python scripts/robustness/damaged_states.py
	$(BIN)/python scripts/robustness/kills.py

# Locks what `make` installs, for Python 3.11 and 3.12, CPU and CUDA alike: the newest versions there are today.
lock: $(VENV)/dev.ok
	$(BIN)/uv pip compile --universal --python-version 3.11 --upgrade --no-emit-index-url --no-annotate \
	  --custom-compile-command "make lock" --extra train --extra search --extra test --extra dev --extra docs --extra alfworld \
	  pyproject.toml -o constraints.txt

# The base install alone with the newest Gymnasium, in a clean venv, from outside the repository.
test-gymnasium: $(VENV)/test.ok
	$(BIN)/python -m pytest -m slow tests/test_newest_gymnasium.py $(ARGS)

lint: $(VENV)/dev.ok
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/pyright

# A broken link, anchor, name of the reference or page outside the navigation fails the build. Needs no torch and no Ray.
docs: $(VENV)/docs.ok
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict $(ARGS)
	@echo "open site/index.html"

docs-serve: $(VENV)/docs.ok
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve $(ARGS)

build: $(VENV)/dev.ok
	$(BIN)/python -m build

clean:
	rm -rf $(VENV) .venv-newest .venv-oldest constraints-oldest.txt dist build site .pytest_cache .ruff_cache

$(VENV)/python.ok:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or 3.12 is needed; install it, or name it: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "venv failed; on Debian: apt-get install python3-venv"; exit 1; }
	touch $@

$(VENV)/train.ok: $(VENV)/python.ok pyproject.toml constraints.txt
	$(PIP) install -q $(LOCK) -e '.[train]'
	touch $@

# Lucene's jar, the bridge to it and a JVM; --no-deps leaves pyserini's own neural encoders out.
$(VENV)/test.ok: $(VENV)/train.ok requirements-lucene.txt
	$(PIP) install -q $(LOCK) -e '.[train,test]'
	$(PIP) install -q --no-deps -r requirements-lucene.txt
	touch $@

$(VENV)/reference.ok: $(VENV)/test.ok
	$(PIP) install -q $(LOCK) -e '.[train,test,alfworld]'
	touch $@

$(VENV)/dev.ok: $(VENV)/test.ok
	$(PIP) install -q $(LOCK) -e '.[train,test,dev]'
	touch $@

$(VENV)/docs.ok: $(VENV)/python.ok pyproject.toml constraints.txt
	$(PIP) install -q $(LOCK) -e '.[docs]'
	touch $@
