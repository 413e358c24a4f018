# make demo    set up and import a sample workbook into the sandbox
# make test    set up and check everything
# make chaos   kill imports of 2,000 leads 25 times while the server breaks, four ways; SEED=n repeats one;
#              then read 1,000 damaged files of each kind
# make head-to-head    the same faults for this importer and for scripts that people write themselves
# make bench   what benchmarks/README.md shows
# make lock    compile the pinned requirements anew from pyproject.toml

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PEERS ?= .venv-bench
COMPILE := $(BIN)/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras

.PHONY: demo test chaos head-to-head bench lint types lock clean

$(VENV)/.runtime: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; found $$($(PYTHON) --version). Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing the pinned libraries into $(VENV) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: requirements-dev.txt $(VENV)/.runtime
	@echo "Installing the pinned test tools …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@touch $@

demo: $(VENV)/.runtime
	@mkdir -p demo
	@cp sample_data/clinics.xlsx demo/clinics.xlsx
	$(BIN)/lead-importer run demo/clinics.xlsx --config configs/clinics.yaml --sandbox --yes || test $$? -eq 1

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

# Compiled first, as each command that a test starts would do it anew where Python may not write what it compiled.
test: lint types
	@$(BIN)/python -m compileall -q importer tests
	$(BIN)/pytest

# Each prints a table; benchmarks/README.md keeps the last ones. throughput, start and memory set up their peers.
bench: $(VENV)/.dev
	$(BIN)/python benchmarks/pacing.py
	$(BIN)/python benchmarks/pacing_live.py
	$(BIN)/python benchmarks/results.py
	$(BIN)/python benchmarks/phones.py
	$(BIN)/python benchmarks/prepare.py
	$(BIN)/python benchmarks/throughput.py
	$(BIN)/python benchmarks/start.py
	$(BIN)/python benchmarks/memory.py

chaos: $(VENV)/.dev
	$(BIN)/python tests/chaos.py $(if $(SEED),--seed $(SEED))
	cd tests && ../$(BIN)/python mutations.py all 1000

$(PEERS)/.peers: benchmarks/peers.txt
	@test -x $(PEERS)/bin/python || $(PYTHON) -m venv $(PEERS)
	@echo "Installing what the scripts need into $(PEERS) …"
	@$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check -r benchmarks/peers.txt
	@touch $@

head-to-head: $(VENV)/.dev $(PEERS)/.peers
	$(BIN)/python benchmarks/head_to_head.py --peers $(PEERS)/bin/python

lock: $(VENV)/.runtime
	$(BIN)/python -m pip install --quiet pip-tools
	CUSTOM_COMPILE_COMMAND="make lock" $(COMPILE) --extra build --output-file requirements.txt pyproject.toml
	CUSTOM_COMPILE_COMMAND="make lock" $(COMPILE) --extra dev --constraint requirements.txt --output-file requirements-dev.txt pyproject.toml
	@# Options that the machine's own settings put there, such as where packages come from, are nobody else's.
	sed -i.bak -e '/^--/,/^$$/d' requirements.txt requirements-dev.txt && rm requirements.txt.bak requirements-dev.txt.bak

clean:
	rm -rf $(VENV) $(PEERS) demo build dist *.egg-info
