# Two commands on a fresh machine (Python 3.11, pip, make): `make demo` shows it running, `make test` shows it right.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PEER := $(VENV)/.compared
ARGS ?=
# One test process more than cores: half of a run waits for servers.
JOBS ?= $(shell $(PYTHON) -c 'import os; print(min((os.cpu_count() or 2) + 1, 6))')

.DEFAULT_GOAL := help
.PHONY: help install demo test bench chaos lint train clean constraints env-example

help: ## show what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 24
	@echo '  ARGS="…" is handed on: make test ARGS="-k rules", make demo ARGS="--json"'

install: $(STAMP) ## make the virtual environment, exactly as constraints.txt says

# Again only when what is installed, or which versions, has changed. What it says goes to stderr: stdout is the report's, which may
# be JSON on its way into another program.
$(STAMP): pyproject.toml constraints.txt hatch_build.py fraudstream/features/kernel.c
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo 'Python 3.11 or newer is needed: make PYTHON=python3.11 …' >&2; exit 1; }
	@echo 'Setting up $(VENV), about a minute …' >&2
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) >&2
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input -c constraints.txt -e '.[test,lint]' >&2
	@touch $@

demo: $(STAMP) ## run the whole fleet on embedded servers, with synthetic payments
	@$(BIN)/fraudstream demo $(ARGS)

# Dozens of processes import the same modules: compiled once is quicker, whatever the environment says.
test: export PYTHONDONTWRITEBYTECODE :=
test: $(STAMP) ## run every test
	@$(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS)

bench: $(PEER) ## measure throughput and latency on this machine, and the same job written on FastStream
	@$(BIN)/fraudstream bench --compare $(ARGS)

# What nothing but the comparison needs.
$(PEER): $(STAMP)
	@echo 'Adding what the comparison needs to $(VENV) …' >&2
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input -c constraints.txt -e '.[compare]' >&2
	@touch $@

chaos: $(STAMP) ## break a fleet in every way we know, and keep exact books
	@$(BIN)/fraudstream chaos $(ARGS)

lint: $(STAMP) ## check style and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy --strict fraudstream $(wildcard cmd/*.py) $(filter-out %/peer_faststream.py,$(wildcard benchmarks/*.py))

train: $(STAMP) ## train models/fraud.onnx again
	@$(BIN)/fraudstream train $(ARGS)

constraints: ## write constraints.txt from the newest versions that pyproject.toml allows
	rm -rf build/constraints && $(PYTHON) -m venv build/constraints
	build/constraints/bin/python -m pip install --quiet --disable-pip-version-check --no-input '.[test,lint]'
	{ sed -n '/^#/p' constraints.txt; build/constraints/bin/python -m pip freeze --quiet \
		| grep -viE '^(fraudstream|pip|setuptools|wheel)( @|==)' | LC_ALL=C sort -f; } > build/constraints.txt
	mv build/constraints.txt constraints.txt && rm -rf build/constraints

env-example: $(STAMP) ## write .env.example from the settings
	@$(BIN)/python -c 'from fraudstream.settings import example; print(example(), end="")' > .env.example

clean: ## remove the virtual environment and everything built
	rm -rf $(VENV) build dist reports .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
