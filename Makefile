# Every command of the project. `make run` needs only Python 3.11 or newer and make.
PYTHON ?= python3
HOST ?= 127.0.0.1
PORT ?= 8000
VENV := .venv
BIN := $(VENV)/bin
DEPENDENCIES := pyproject.toml constraints.txt

.PHONY: run serving setup test check bench clean

run: serving ## serve the starter model
	$(BIN)/maeum serve --host $(HOST) --port $(PORT)

serving: $(VENV)/.serving ## what serving needs, and nothing of training

setup: $(VENV)/.setup ## serving, training and tests

test: setup
	$(BIN)/pytest

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: setup ## times the engine beside the original; some minutes, on a machine that does nothing else
	$(BIN)/python benchmarks/table.py

clean: ## removes what this file makes
	rm -rf $(VENV) build *.egg-info

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.serving: $(DEPENDENCIES) | $(BIN)/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[cpu]'
	touch $@

$(VENV)/.setup: $(DEPENDENCIES) | $(BIN)/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[cpu,traces,train,test]'
	touch $@ $(VENV)/.serving
