# Everything a fresh machine needs: Python 3.11 or newer, and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test lint bench faults stressed strangers mutants clean

demo: $(VENV)/.demo          ## three departments, a log and a gateway on this machine, and a story
	$(BIN)/sharegate demo $(ARGS)

test: $(VENV)/.test          ## everything that must hold
	$(BIN)/python -m tests.everything $(ARGS)

bench: $(VENV)/.test         ## ratios against a bare handler, one interleaved run
	$(BIN)/python -m tests.load.bench $(ARGS)

strangers: $(VENV)/.test     ## software that nobody here wrote checks a log that we wrote
	$(BIN)/python -m pytest tests/strangers --strangers $(ARGS)

mutants: $(VENV)/.test       ## break the decision path in small ways; which of them tests notice
	$(BIN)/python -m tests.mutation.mutants $(ARGS)

stressed: $(VENV)/.test      ## everything that must hold, on a machine that is too busy
	$(BIN)/python -m tests.stressed $(ARGS)

faults: $(VENV)/.test        ## the longer fault tests
	$(BIN)/python -m pytest tests/faults --rounds 100 $(ARGS)

lint: $(VENV)/.test          ## what `make test` checks without running anything
	$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy && $(BIN)/lint-imports

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(VENV)/bin/python deploy/requirements.lock pyproject.toml
	@echo "installing what the gateway needs (pinned, hash-checked)"
	$(BIN)/python -m pip install -qq --disable-pip-version-check --require-hashes -r deploy/requirements.lock
	$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.test: $(VENV)/bin/python tests/requirements.lock pyproject.toml
	@echo "installing what the tests need (pinned, hash-checked)"
	$(BIN)/python -m pip install -qq --disable-pip-version-check --require-hashes -r tests/requirements.lock
	$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@ $(VENV)/.demo

clean:                       ## forget the virtual environment and the demo
	rm -rf $(VENV) .demo
