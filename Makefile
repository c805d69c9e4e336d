# Every target makes .venv by itself when it is missing, with python3 and pip alone.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export OMP_NUM_THREADS ?= 1

.PHONY: help quickstart test test-installed slow check docs bench clean

help:  ## what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

# Two stamps: what running needs, and what developing needs besides.
$(VENV)/run-stamp: setup.cfg pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/test-stamp: $(VENV)/run-stamp
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test,offline]'
	@touch $@

$(VENV)/docs-stamp: $(VENV)/run-stamp
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	@touch $@

quickstart: $(VENV)/run-stamp  ## DEKAN's table in small, on embedded digits
	$(BIN)/dfdgbench sweep launch quickstart --output-dir quickstart --artifacts quickstart/artifacts --jobs 2
	$(BIN)/dfdgbench table quickstart quickstart

test: $(VENV)/test-stamp  ## the suite, without the groups that need installed programs
	$(BIN)/python -m pytest

test-installed: $(VENV)/test-stamp  ## the groups that need installed programs; each fails where it cannot run
	$(BIN)/python -m pytest -m 'wheel or slurm or browser or latex' --no-cov

slow: $(VENV)/test-stamp  ## what takes longer than a suite may
	$(BIN)/python -m pytest -m slow --no-cov

check: $(VENV)/test-stamp  ## format, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

docs: $(VENV)/docs-stamp  ## the site, in site/
	$(BIN)/mkdocs build --strict

bench: $(VENV)/test-stamp  ## speed, side by side with the plain way of doing it
	$(BIN)/python benchmarks/inversion_step.py

clean:  ## what the targets made, but not runs
	rm -rf $(VENV) build dist site *.egg-info .mypy_cache .ruff_cache .pytest_cache .coverage
