# Every verb once; CI runs exactly `make lint` and `make test`.
PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help demo test test-long lint format bench docs notebooks pictures clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

.venv/bin/python:
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip

# Tests start hundreds of processes: none shall compile what another has compiled.
unexport PYTHONDONTWRITEBYTECODE

# Installing in place: the stamps say which extras are there.
INSTALL := $(BIN)/python -m pip install --quiet -c constraints.txt

.venv/.all: pyproject.toml constraints.txt | .venv/bin/python
	$(INSTALL) -e '.[all]'
	@touch $@

.venv/.dev: pyproject.toml constraints.txt | .venv/bin/python
	$(INSTALL) -e '.[dev]'
	@touch .venv/.all $@

demo: .venv/.all ## set up, then tissue -> benchmark -> baselines -> report in ./segmend-demo
	$(BIN)/segmend demo --out segmend-demo

test: .venv/.dev ## set up, then run every offline test
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-long: .venv/.dev ## tests of a minute or more, 300 kills of a build instead of 12 (twenty minutes)
	$(BIN)/python -m pytest --timeout 1200 -m long
	SEGMEND_TEST_KILLS=300 $(BIN)/python -m pytest --timeout 7200 tests/build/test_resume.py -k kills

lint: .venv/.dev ## style, types and import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/.dev ## put the code into its one style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.venv/.bench: .venv/.dev
	$(INSTALL) -e '.[bench]'
	@touch $@

bench: .venv/.bench ## run every benchmark beside its peers
	@for file in benchmarks/bench_*.py; do $(BIN)/python $$file || exit 1; done

docs: .venv/.dev ## write the generated pages again (docs/cli.md, docs/format.md)
	$(BIN)/python docs/generate.py

notebooks: .venv/.dev ## run the notebooks on stand-ins and keep their outputs
	$(BIN)/python notebooks/execute.py

pictures: .venv/.all ## draw the pictures of docs/views.md again
	$(BIN)/python docs/pictures.py

clean: ## remove what the verbs above made
	rm -rf .venv segmend-demo .pytest_cache .mypy_cache .ruff_cache .hypothesis
