# Every target makes .venv on first use, and renews it when pyproject.toml or the pins change.
SHELL := bash
PYTHON ?= $(firstword $(shell command -v python3.11 python3))
VENV ?= .venv
OLDEST_VENV ?= .venv-oldest
# Each worker begins with a block of whole files, so that it makes their shared fixtures alone.
PYTEST_ARGS ?= -n auto --maxprocesses 4 --dist worksteal

BIN := $(VENV)/bin
CONSTRAINTS := requirements/constraints.txt
OLDEST := requirements/oldest.txt
PIP_INSTALL := $(BIN)/python -m pip install --quiet --constraint $(CONSTRAINTS)
TORCH := $$(grep '^torch==' $(CONSTRAINTS))
NEW_PIP := 'pip>=25.1'  # the first that installs dependency groups
LINT := "ruff check" "ruff format --check" "mypy"

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test test-oldest lint docs check-docs dist format hooks clean

help: ## list the targets
	@grep -hE '^[a-z%-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: $(VENV)/.extra-plots ## train on digits with wrong labels and print the suspect labels
	$(BIN)/python examples/demo_digits.py

# One torch thread a worker: more would compete for the same cores.
test: export OMP_NUM_THREADS = 1
test: $(VENV)/.group-tests ## lint, types, tests and doctests, as continuous integration runs them
	@$(call run_checks,$(LINT) "pytest $(PYTEST_ARGS)")

# One contract of each estimator and a file of each folder; ARGS=tests/common runs all contracts.
OLDEST_TESTS := $(addprefix tests/,common/test_life_cycle.py::test_round_trip \
    audit/test_outliers.py audit/test_duplicates.py callbacks/test_early_end.py \
    cleaning/test_purified_classifier_routing.py datasets/test_long_tail.py \
    engine/test_preprocessing.py inspection/test_audit_displays.py learners/test_posterior.py \
    learners/test_learners.py::test_a_tree_is_that_of_scikit_learn \
    meta/test_losses.py methods/test_l2r.py \
    metrics/test_scorers.py::test_grid_search_by_trusted_accuracy mixture/test_beta_limits.py \
    networks/test_networks.py noise/test_noise.py package/test_pipeline.py \
    representation/test_representation_losses.py)
test-oldest: export OMP_NUM_THREADS = 1
test-oldest: ARGS ?= $(OLDEST_TESTS)
test-oldest: $(OLDEST_VENV)/.installed ## tests on the oldest versions that pyproject.toml allows
	.ci/ten-lines | $(OLDEST_VENV)/bin/python -
	$(OLDEST_VENV)/bin/python -m pytest $(PYTEST_ARGS) $(ARGS)

lint: $(VENV)/.group-tests ## ruff and mypy alone
	@$(call run_checks,$(LINT))

# One torch thread: more would make the small networks of the gallery slower.
docs: export OMP_NUM_THREADS = 1
docs: $(VENV)/.group-docs ## HTML in docs/_build/html, every warning an error, without network
	rm -rf docs/generated docs/_build/html
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

check-docs: ## open every page that make docs built in headless Chromium, wide and narrow
	python3 docs/check_pages.py

bench-accuracy: ARGS ?= --quick --n-jobs 2
bench-%: benchmarks/%.py $(VENV)/.group-benchmarks ## run benchmarks/<name>.py with $(ARGS)
	$(BIN)/python $< $(ARGS)

dist: $(VENV)/.group-release ## sdist and wheel in dist/, checked, and README's ten lines in fresh environments
	rm -rf dist
	$(BIN)/python -m build --quiet
	$(BIN)/python -m twine check --strict dist/*
	for name in pinned oldest newest; do \
	    .ci/try-wheel "$$name" "$(PYTHON)" dist/*.whl || exit 1; \
	done

format: $(VENV)/.group-tests ## let ruff rewrite what it can
	$(BIN)/python -m ruff check --fix
	$(BIN)/python -m ruff format

hooks: $(VENV)/.group-dev ## run the linters before each commit
	$(BIN)/python -m pre_commit install

clean: ## remove what the targets made, .venv included
	rm -rf $(VENV) $(OLDEST_VENV) build dist *.egg-info .*_cache docs/_build docs/generated docs/auto_examples

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# torch first and by its exact pin: left to the resolver, it would fetch gigabytes of candidates.
$(VENV)/.torch: $(CONSTRAINTS) | $(BIN)/python
	$(BIN)/python -m pip install --quiet $(NEW_PIP)
	$(PIP_INSTALL) $(TORCH)
	@touch $@

$(VENV)/.extra-%: pyproject.toml $(VENV)/.torch
	$(PIP_INSTALL) --editable '.[$*]'
	@touch $@

$(VENV)/.group-%: pyproject.toml $(VENV)/.torch
	$(PIP_INSTALL) --editable '.[audit,plots,onnx]' --group $*
	@touch $@

$(OLDEST_VENV)/.installed: pyproject.toml $(CONSTRAINTS) $(OLDEST)
	$(PYTHON) -m venv --clear $(OLDEST_VENV)
	$(OLDEST_VENV)/bin/python -m pip install --quiet $(TORCH) $$(grep '^numpy==' $(OLDEST))
	$(OLDEST_VENV)/bin/python -m pip install --quiet --constraint $(OLDEST) \
	    --requirement $(OLDEST) --editable '.[audit,plots]'
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
