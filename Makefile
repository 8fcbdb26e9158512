# make demo         the whole path on synthetic CT
# make dev          .venv with all that development needs
# make test         the tests; make coverage measures what they run
# make test-faults  the fault campaign: malformed inputs, kills, limits, attacks; goes on where it ended
# make lint         style, spelling, types, import layers
# make web          the report's viewer and the service's page (needs Node 20.19 or newer)
# make test-system  the tests that need more than Python; installs what they need with apt and npm
# make gpu-check    what the GPU code does on this machine's GPU, in ten minutes
# make docs         the documentation as a site, in site/
# make dist         the sdist, and a wheel that carries the page
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   := .venv
BIN    := $(VENV)/bin
DEMO   := runs/demo
VIEWER := src/nnstudent/report/viewer/viewer.js.gz
PAGE   := src/nnstudent/web/page

.PHONY: bench-inference-quick gpu-check demo dev test test-faults coverage test-system web lint docs dist clean
.DEFAULT_GOAL := demo

$(VENV)/.train: pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV) (PyTorch is large: a few minutes)"
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[train]'
	@touch $@

$(VENV)/.dev: $(VENV)/.train
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[train,int8,onnx,dicom,web,dev]'
	@touch $@

dev: $(VENV)/.dev

# The demo is the real thing at its smallest: phantoms, the whole path on them, then a patient it has never seen.
demo: $(VENV)/.train
	@$(BIN)/nnstudent phantom $(DEMO)/phantoms --cases 16 --seed 1 --preset tiny
	@$(BIN)/nnstudent run $(DEMO)/phantoms -o $(DEMO)/run --preset demo
	@$(BIN)/nnstudent phantom $(DEMO)/patient --cases 1 --seed 2 --preset tiny
	@$(BIN)/nnstudent segment $(DEMO)/patient/images -o $(DEMO)/segmented --model $(DEMO)/run/bundle --preview
	@echo $(DEMO)/run/report.html

# A worker a core, and a core a worker: torch would start as many threads as there are cores in each.
# Its threads sleep while they wait; by themselves they would keep the other worker's core busy.
# Many tests start the command, which would be compiled each time where Python is told to keep no bytecode.
WORKERS ?= $(shell nproc 2>/dev/null || echo 2)
PYTEST  := PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup --no-loadscope-reorder

test: $(VENV)/.dev
	@$(PYTEST)

# The floor is in pyproject.toml.
coverage: $(VENV)/.dev
	@HYPOTHESIS_PROFILE=few $(PYTEST) --cov --cov-report=term:skip-covered --cov-report=html:runs/coverage

# FAULTS="--count 100000 --seed 7" lengthens it; a second call goes on, and tries again what was a fault.
# The property tests come first, with other examples than those of `make test`.
FAULTS ?= --count 10000
test-faults: $(VENV)/.dev
	@mkdir -p runs/faults
	@HYPOTHESIS_PROFILE=dev $(PYTEST) -q -m hypothesis
	@OMP_NUM_THREADS=1 $(BIN)/python -m tests.faults --record runs/faults/record.jsonl --scratch runs/faults \
	  --page docs/reference/reliability.md $(FAULTS)

web: $(VIEWER)

# The same call builds both.
$(VIEWER): $(wildcard frontend/*.json frontend/*.js frontend/*.html frontend/src/*.* frontend/src/page/*)
	@cd frontend && npm ci --no-progress && npm run build
	@gzip -9 --no-name --force $(basename $@)

$(VENV)/.system: $(VENV)/.dev tests/system/install
	@tests/system/install
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[train,dicom,web,dev,system]'
	@touch $@

test-system: $(VENV)/.system
	@$(MAKE) --no-print-directory web
	@cd frontend && npm run --silent check
	@$(BIN)/python -m pytest tests/system

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/mypy
	$(BIN)/lint-imports

$(VENV)/.docs: $(VENV)/.dev
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[train,dicom,web,dev,docs]'
	@touch $@

# A warning is an error, and so is a link that leads nowhere. Nothing is fetched.
docs: $(VENV)/.docs
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo 'site/index.html; with search: $(BIN)/python -m http.server -d site'

# The wheel is built from the sdist, so that the sdist is complete; then it is tried in a clean environment.
dist: $(VENV)/.dev
	@$(MAKE) --no-print-directory web
	@rm -rf dist
	@$(BIN)/python -m build --no-isolation --outdir dist .
	@NNSTUDENT_WHEEL=$$(ls dist/*.whl) $(BIN)/python -m pytest -q tests/system/test_wheel.py
	@ls -l dist

# The paper's student, trained on phantoms, and how fast it segments beside stock nnU-Net. A second call goes on where the first ended.
PAPER := runs/paper-plan
paper-plan: $(VENV)/.dev
	@test -f $(PAPER)/phantoms/cohort.json || $(BIN)/nnstudent phantom $(PAPER)/phantoms --cases 24 --full 24 --tumor 0 --partial 0 --unlabeled 0 --test 0 --seed 7
	@$(BIN)/nnstudent study $(PAPER)/phantoms -o $(PAPER)/coarse --preset bench/paper-plan-coarse.toml
	@test -f $(PAPER)/patients/cohort.json || $(BIN)/nnstudent phantom $(PAPER)/patients --cases 24 --full 14 --tumor 10 --partial 0 --unlabeled 0 --test 0 --seed 8
	@cd $(PAPER) && { echo id,image,label,annotated,role; ls patients/truth | sed 's|\(.*\).nii.gz|\1,patients/images/&,patients/truth/&,all,train|'; } > patients.csv
	@$(BIN)/nnstudent index $(PAPER)/patients.csv -o $(PAPER)/tumors
	@$(BIN)/nnstudent study $(PAPER)/tumors -o $(PAPER)/student --preset bench/paper-plan.toml --start $(PAPER)/coarse
	@$(BIN)/nnstudent study $(PAPER)/tumors -o $(PAPER)/last --preset bench/paper-plan-last.toml --start $(PAPER)/student

# What the GPU code does on this machine's GPU: ten minutes, no network. It prints a table for docs/results.md.
gpu-check: $(VENV)/.dev
	@$(BIN)/python -m bench.gpu_check --json runs/gpu-check.json

SIZES   ?= 55,100,150,215,334,448,499,554
REPEATS ?= 3
bench-inference: paper-plan
	@$(BIN)/python -m bench.inference --sizes $(SIZES) --repeats $(REPEATS) --json runs/bench-inference.json

# The network's speed with random weights, beside the bundled student: minutes, and nothing is trained.
bench-inference-quick: $(VENV)/.dev
	@$(BIN)/python -m bench.inference --untrained --no-stock --repeats 2 --json runs/bench-inference-quick.json

clean:
	rm -rf $(DEMO) $(dir $(VIEWER)) $(PAGE) frontend/node_modules build dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis
