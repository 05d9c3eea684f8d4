# Two commands do all the set-up: `make demo` and `make test`. Each makes the virtual environment when it is missing.
# Variables: VENV=folder of the environment, PYTHON=interpreter that makes it, WORKERS=parallel test processes.
VENV    ?= .venv
PYTHON  ?= python3
WORKERS ?= 2

BIN     := $(VENV)/bin
PIP     := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
SETUP   := pyproject.toml constraints.txt

.PHONY: help demo test fast lint types docs clean
.DEFAULT_GOAL := help

help:
	@echo "make demo    install, run the main job (fit, sample, judge), say where the report lies"
	@echo "make test    install, run every test, the slow ones too"
	@echo "make fast    the quick tests only"
	@echo "make lint    ruff             make types   mypy"
	@echo "make docs    build site/      make clean   remove what these commands made"

demo: $(VENV)/.sundog-base
	$(BIN)/sundog demo

# One thread per process: the arrays are small and the processes already fill the cores.
test: $(VENV)/.sundog-test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) tests

fast: $(VENV)/.sundog-test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) -m "not slow" tests

lint: $(VENV)/.sundog-dev
	$(BIN)/ruff check .

types: $(VENV)/.sundog-dev
	$(BIN)/mypy

docs: $(VENV)/.sundog-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict --site-dir site

clean:
	rm -rf $(VENV) site build dist demo .pytest_cache .hypothesis .mypy_cache .ruff_cache .gallery

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "sundog needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>&1 || echo missing)." >&2; \
	  echo "Name another one: make demo PYTHON=python3.12" >&2; exit 1; }
	@echo "making the virtual environment $(VENV)"
	@$(PYTHON) -m venv $(VENV) || { \
	  echo "'$(PYTHON) -m venv' failed; on Debian and Ubuntu install the package python3-venv." >&2; \
	  rm -rf $(VENV); exit 1; }

# A stamp is younger than what it was installed from, so a second call installs nothing.
# Editable: a changed source file needs no new installation.
$(VENV)/.sundog-base: $(SETUP) | $(BIN)/python
	@echo "installing sundog and what it needs (about a minute; progress is quiet)"
	@$(PIP) --editable .
	@touch $@

# firstgalaxydata (public radio images that the tests read) declares torchvision, which would swap torch: --no-deps.
$(VENV)/.sundog-test: $(SETUP) | $(BIN)/python
	@echo "installing sundog and what its tests need (about a minute; progress is quiet)"
	@$(PIP) --editable '.[test]'
	@$(PIP) --no-deps firstgalaxydata==0.2.1
	@touch $@ $(VENV)/.sundog-base

$(VENV)/.sundog-dev $(VENV)/.sundog-docs: $(VENV)/.sundog-%: $(SETUP) | $(BIN)/python
	@echo "installing sundog with its extra '$*'"
	@$(PIP) --editable '.[$*]'
	@touch $@ $(VENV)/.sundog-base
