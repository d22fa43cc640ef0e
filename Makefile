# Every target makes .venv from constraints.txt first, when it is missing or older than what it is made from.
PYTHON ?= python3
BIN := .venv/bin
MADE := .venv/made

.PHONY: venv demo test test-slow lint
venv: $(MADE)

$(MADE): constraints.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .[dev]
	touch $(MADE)

demo: $(MADE)
	$(BIN)/spr demo

lint: $(MADE)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint
	$(BIN)/pytest -m "not slow and not gpu"

test-slow: $(MADE)
	$(BIN)/pytest -m "slow and not gpu"
