# `make demo` runs the whole path on synthetic CT, `make test` runs the tests. `make web` builds the report's viewer (needs Node 20.19
# or newer), `make test-system` runs the tests that need more than Python, and installs what they need with apt and npm.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   := .venv
BIN    := $(VENV)/bin
DEMO   := runs/demo
VIEWER := src/nnstudent/evaluation/report/viewer/viewer.js

.PHONY: demo test test-system web lint clean
.DEFAULT_GOAL := demo

$(VENV)/.train: pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV) (PyTorch is large: a few minutes)"
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[train]'
	@touch $@

$(VENV)/.dev: $(VENV)/.train
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[train,int8,dicom,dev]'
	@touch $@

# The demo is the real thing at its smallest: phantoms, the whole path on them, then a patient it has never seen.
demo: $(VENV)/.train
	@$(BIN)/nnstudent phantom $(DEMO)/phantoms --cases 16 --seed 1 --preset tiny
	@$(BIN)/nnstudent run $(DEMO)/phantoms -o $(DEMO)/run --preset demo
	@$(BIN)/nnstudent phantom $(DEMO)/patient --cases 1 --seed 2 --preset tiny
	@$(BIN)/nnstudent segment $(DEMO)/patient/images -o $(DEMO)/segmented --model $(DEMO)/run/bundle --preview
	@echo $(DEMO)/run/report.html

test: $(VENV)/.dev
	@$(BIN)/python -m pytest

web: $(VIEWER)

$(VIEWER): $(wildcard frontend/*.json frontend/*.js frontend/src/*)
	@cd frontend && npm ci --no-progress && npm run build

$(VENV)/.system: $(VENV)/.dev tests/system/install
	@tests/system/install
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[train,dicom,dev,system]'
	@touch $@

test-system: $(VENV)/.system
	@$(MAKE) --no-print-directory web
	@$(BIN)/python -m pytest tests/system

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf $(DEMO) $(dir $(VIEWER)) frontend/node_modules build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
