# Every target makes .venv on first use, and renews it when pyproject.toml or the pins change.
SHELL := bash
PYTHON ?= $(firstword $(shell command -v python3.11 python3))
VENV ?= .venv
PYTEST_ARGS ?= -n auto --maxprocesses 4

BIN := $(VENV)/bin
CONSTRAINTS := requirements/constraints.txt
PIP_INSTALL := $(BIN)/python -m pip install --quiet --constraint $(CONSTRAINTS)
LINT := "ruff check" "ruff format --check" "mypy"

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test lint docs check-docs format hooks clean

help: ## list the targets
	@grep -hE '^[a-z%-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: $(VENV)/.installed-plots ## train on digits with wrong labels and print the suspect labels
	$(BIN)/python examples/demo_digits.py

# One torch thread a worker: more would compete for the same cores.
test: export OMP_NUM_THREADS = 1
test: $(VENV)/.installed-tests ## lint, types, tests and doctests, as continuous integration runs them
	@$(call run_checks,$(LINT) "pytest $(PYTEST_ARGS)")

lint: $(VENV)/.installed-tests ## ruff and mypy alone
	@$(call run_checks,$(LINT))

# One torch thread: more would make the small networks of the gallery slower.
docs: export OMP_NUM_THREADS = 1
docs: $(VENV)/.installed-docs ## HTML in docs/_build/html, every warning an error, without network
	rm -rf docs/generated docs/_build/html
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

check-docs: ## open every page that make docs built in headless Chromium, wide and narrow
	python3 docs/check_pages.py

bench-accuracy: ARGS ?= --quick --n-jobs 2
bench-%: benchmarks/%.py $(VENV)/.installed-plots $(VENV)/.installed-benchmarks ## run benchmarks/<name>.py with $(ARGS)
	$(BIN)/python $< $(ARGS)

format: $(VENV)/.installed-tests ## let ruff rewrite what it can
	$(BIN)/python -m ruff check --fix
	$(BIN)/python -m ruff format

hooks: $(VENV)/.installed-dev $(VENV)/.installed-tests ## run the linters before each commit
	$(BIN)/python -m pre_commit install

clean: ## remove what the targets made, .venv included
	rm -rf $(VENV) build dist *.egg-info .*_cache docs/_build docs/generated docs/auto_examples

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# torch first and by its exact pin: left to the resolver, it would fetch gigabytes of candidates.
$(VENV)/.torch: $(CONSTRAINTS) | $(BIN)/python
	$(PIP_INSTALL) $$(grep '^torch==' $(CONSTRAINTS))
	@touch $@

$(VENV)/.installed-%: pyproject.toml $(VENV)/.torch
	$(PIP_INSTALL) --editable '.[$*]'
	@touch $@

# Runs every check, also after one has failed, and closes with one line for each.
define run_checks
failed=0; summary=(); \
for check in $(1); do \
    printf '\n--- %s\n' "$$check"; \
    if $(BIN)/python -m $$check; then outcome=passed; else outcome=FAILED; failed=1; fi; \
    summary+=("$$outcome  $$check"); \
done; \
printf '\n'; printf '%s\n' "$${summary[@]}"; exit $$failed
endef
