# Two commands on a fresh machine:  make demo   and   make test.
# A target whose result is there already is not made again.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: help venv demo test test-fast test-faults mutants coverage lint format clean

help:
	@echo "make demo    fine-tune ResNet-50 on images of solar cells (WEIGHTS=none: train it from scratch)"
	@echo "make test    the whole test suite (7 minutes on two cores)"
	@echo "make test-fast    what a change needs first: without slow tests, documentation, study and injected faults (two minutes)"
	@echo "make test-faults    kills, full disks, dead processes, bad data: what is survived (up to 50 minutes)"
	@echo "make coverage    the test suite, and which lines and branches it reaches: htmlcov/index.html"
	@echo "make mutants    change the code in 300 places, one at a time, and list the changes that no test notices (an hour)"
	@echo "make lint    style, types and the direction of imports"
	@echo "make venv    only the virtual environment, with all extras"
	@echo "make clean   remove what make demo made"

venv: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade "pip>=24"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[all]'
	@touch $@

test: $(INSTALLED)
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal

test-fast: $(INSTALLED)
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal -m "not slow and not faults" --ignore tests/docs --ignore tests/tools --ignore tests/bench --ignore tests/etl/layouts --ignore tests/study --ignore tests/faults --ignore tests/training/recovery

# Kills, full disks, dead processes, bad data, a fuzzer; a table of what was survived at the end.
FUZZ_S ?= 300
LAYOUTS_N ?= 2000
test-faults: $(INSTALLED)
	FUZZ_S=$(FUZZ_S) LAYOUTS_N=$(LAYOUTS_N) $(BIN)/python -m pytest --numprocesses 2 --dist worksteal -m "faults or not faults" tests/faults tests/training/recovery tests/runtime/test_sharding.py tests/etl/layouts/test_generated.py

# Processes that tests start on their own (torchrun, killed runs) are not counted.
coverage: $(INSTALLED)
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal --cov --cov-report=term --cov-report=xml --cov-report=html

# Continues where it stopped: delete build/mutants.jsonl to start over.
MUTANTS ?= --count 300 --seed 0
mutants: $(INSTALLED)
	$(BIN)/python tools/mutants.py $(MUTANTS)

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# --- the demo: the four commands that anyone types, on the solar cells of the elpv-dataset package ---------------------

WEIGHTS ?= imagenet
SEED ?= 0
SCRATCH := $(filter none,$(WEIGHTS))
RUN ?= demo/run$(if $(SCRATCH),-scratch)
RECIPE := examples/solar-cells$(if $(SCRATCH),-from-scratch).yaml

demo: $(RUN)/evaluation/test.json
	@echo
	@echo "The report is in $(RUN)/report.html: open it in a browser."

demo/solar-cells/cells.csv: examples/solar_cells.py | $(INSTALLED)
	$(BIN)/python examples/solar_cells.py demo/solar-cells

demo/dataset/dataset.yaml: demo/solar-cells/cells.csv
	$(BIN)/resnet50 prepare demo/solar-cells/cells.csv --images demo/solar-cells/images --label-column label --split 0.65/0.10/0.25 --seed 0 --out demo/dataset --overwrite

$(RUN)/model.safetensors: demo/dataset/dataset.yaml $(RECIPE)
	$(BIN)/resnet50 train demo/dataset --config $(RECIPE) --weights $(WEIGHTS) --seed $(SEED) --out $(RUN) --overwrite

$(RUN)/evaluation/test.json: $(RUN)/model.safetensors
	$(BIN)/resnet50 evaluate $(RUN) --split test

clean:
	rm -rf demo
