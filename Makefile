# `make demo` and `make test` set everything up on a fresh machine: Python 3.10 or newer, make and pip suffice.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export OVFORGE_DEMO ?= demo

.PHONY: demo test lint format clean
.DEFAULT_GOAL := demo

# Debian splits ensurepip off: without it, the machine's own pip puts pip into the new environment.
$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV) 2>/dev/null || { \
		$(PYTHON) -m venv --clear --without-pip $(VENV) && \
		$(PYTHON) -m pip --quiet --python $(VENV)/bin/python install pip; }

# A stamp per set of extras: it is made anew when the pins or the package's own list change.
$(VENV)/.demo-ready: $(VENV)/bin/python constraints.txt pyproject.toml
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[sample,viewer]'
	touch $@

$(VENV)/.test-ready: $(VENV)/.demo-ready requirements-readers.txt
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[sample,diffusion,ray,viewer,torch,test]'
	$(BIN)/python -m pip install --quiet --no-deps --constraint constraints.txt --requirement requirements-readers.txt
	touch $@

demo: $(VENV)/.demo-ready
	$(BIN)/python tools/demo.py $(OVFORGE_DEMO)

test: $(VENV)/.test-ready lint
	$(BIN)/python -m pytest -n 2 --dist worksteal

lint: $(VENV)/.test-ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: $(VENV)/.test-ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) $(OVFORGE_DEMO)
