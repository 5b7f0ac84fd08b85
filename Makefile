# Every command of the project. `make run` needs only Python 3.11 or newer and make.
PYTHON ?= python3
HOST ?= 127.0.0.1
PORT ?= 8000
FUZZ_SECONDS ?= 120
VENV := .venv
BIN := $(VENV)/bin
DEPENDENCIES := pyproject.toml constraints.txt

.PHONY: run serving setup test check bench fuzz audit clean

run: serving ## serve the starter model
	$(BIN)/maeum serve --host $(HOST) --port $(PORT)

serving: $(VENV)/.serving ## install what serving needs, without training

setup: $(VENV)/.setup ## install serving, training and tests

test: setup
	$(BIN)/pytest

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: setup ## time the engine against the original; a quarter of an hour on an idle machine
	$(BIN)/python -m benchmarks.table

fuzz: setup ## send hostile files and requests for FUZZ_SECONDS each (default: 120)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[fuzz]'
	$(BIN)/python fuzz/decoder.py -max_total_time=$(FUZZ_SECONDS)
	$(BIN)/python fuzz/api.py --seconds $(FUZZ_SECONDS)

audit: setup ## write an SBOM, check licences and advisories of what serving installs; needs the internet
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[audit]'
	$(PYTHON) -m venv --clear build/serving
	build/serving/bin/python -m pip install --quiet --constraint constraints.txt '.[cpu,traces]'
	$(BIN)/python deploy/audit.py build/serving/bin/python build/sbom.json

clean: ## remove everything that this file makes
	rm -rf $(VENV) build *.egg-info

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.serving: $(DEPENDENCIES) | $(BIN)/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[cpu]'
	touch $@

$(VENV)/.setup: $(DEPENDENCIES) | $(BIN)/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[cpu,traces,train,test]'
	touch $@ $(VENV)/.serving
