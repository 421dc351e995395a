# Needs Python 3.11, make and a Python package registry; everything else goes into .venv.
PYTHON ?= python3.11
SCALE ?= laptop
VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
REPORT := results/$(SCALE)/report.html
# Tests of a file share what they prepare; tests/conftest.py says which files come first.
PYTEST_ARGS ?= -n auto --dist loadfile --no-loadscope-reorder
export PATH := $(BIN):$(PATH)
# Modules of ours are compiled once, also where the shell forbids to keep that, not by each of hundreds of jobs.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: all install test lint unit test-long test-slurm drills clean-venv help

all: install ## Install what is missing, compute all figures of SCALE (laptop), write the report
	snakemake --cores all --config scale=$(SCALE)
	snakemake --cores all --config scale=$(SCALE) --report $(REPORT) --quiet all
	@echo "The report is $(CURDIR)/$(REPORT)"

install: $(VENV)/installed ## Create .venv from requirements.lock

$(VENV)/installed: requirements.lock pyproject.toml
	@found=$$(command -v $(PYTHON) || command -v python3) && \
	  "$$found" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || \
	  { echo "Python 3.11 is needed: put python3.11 on PATH or say make PYTHON=/path/to/python3.11"; exit 1; }
	test -x "$(BIN)/python" || "$$(command -v $(PYTHON) || command -v python3)" -m venv $(VENV)
	"$(BIN)/python" -m pip install --quiet --disable-pip-version-check --no-compile --requirement requirements.lock
	@# on all cores, where pip compiles on one; what is left out, or no valid source, is compiled when imported
	"$(BIN)/python" -m compileall -qq -j 0 -x '/tests?/|/testing/' "$(VENV)"/lib/python*/site-packages || true
	"$(BIN)/python" -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

test: install ## Lint, type-check and test all that needs no GPU, cluster or network
	@# lint runs beside the tests and says what it found after them, where it is seen; neither stops the other
	@said=$$(mktemp) && lint= || exit 1; \
	trap 'kill $$lint 2>/dev/null; rm -f "$$said"' EXIT; trap 'exit 130' INT; trap 'exit 143' TERM; \
	$(MAKE) --no-print-directory lint >"$$said" 2>&1 & lint=$$!; \
	failed=0; $(MAKE) --no-print-directory unit || failed=$$?; \
	linted=0; wait $$lint || linted=$$?; lint=; \
	echo "make lint ended with $$linted:"; cat "$$said"; \
	test $$failed -ne 0 || failed=$$linted; exit $$failed

lint: install ## ruff, snakefmt, mypy and Snakemake's own linter
	ruff check .
	ruff format --check .
	snakefmt --check --compact-diff Snakefile workflow/rules
	mypy
	snakemake --lint --config scale=smoke

unit: install ## The tests
	python -m pytest $(PYTEST_ARGS)

test-long: install ## Tests of minutes each that are no part of test
	python -m pytest -m long

test-slurm: install ## Install (Debian, root) and start a SLURM of one node, run the smoke scale through it, stop it
	python tests/slurm_node.py install --accounts
	python -m pytest -m cluster tests/test_slurm.py

drills: install ## Break things on purpose and write the table of docs/reliability.md (up to an hour)
	cd tests && python -m drills.run --write ../docs/reliability.md

clean-venv: ## Delete the environment
	rm -rf $(VENV)

help: ## List these commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'
