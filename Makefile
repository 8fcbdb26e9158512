# Two commands: `make demo` runs the whole path on synthetic CT, `make test` runs the tests.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   := .venv
BIN    := $(VENV)/bin
DEMO   := runs/demo

.PHONY: demo test lint clean
.DEFAULT_GOAL := demo

$(VENV)/.train: pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV) (PyTorch is large: a few minutes)"
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[train]'
	@touch $@

$(VENV)/.dev: $(VENV)/.train
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[train,dicom,dev]'
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

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf $(DEMO) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
