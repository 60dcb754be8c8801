PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
LINTERS := $(VENV)/linters
VERSION := -c "import sys; print(*sys.version_info[:2], sep='.')"

.PHONY: demo test lint notebooks readme clean

demo: $(INSTALLED)
	$(BIN)/tomopy-ganrec demo

# Without the slow ones; PYTEST_ARGS="-m slow" runs those. Each process of the tests has OMP_NUM_THREADS threads (1 unless set), and there are as many
# processes as cores for them, up to four. Threads that wait do not spin: on a shared machine that costs ten times the time.
test: export OMP_NUM_THREADS := $(or $(OMP_NUM_THREADS),1)
test: export OMP_WAIT_POLICY := passive
test: $(INSTALLED)
	$(BIN)/python -m pytest --nbmake -n $${WORKERS:-$$($(BIN)/python tests/workers.py)} --dist worksteal -m "not slow" $(PYTEST_ARGS)

# Runs the notebooks and keeps their outputs; NOTEBOOKS names some of them, GANREC_NOTEBOOK_SIZE=quick|minutes|full says how much.
# JUPYTER is the Python that runs them: one with TomoPy shows TomoPy.
JUPYTER ?= $(BIN)/python
notebooks: $(INSTALLED)
	$(JUPYTER) notebooks/make.py $(NOTEBOOKS)

# Draws the README's tables from docs/results.
readme: $(INSTALLED)
	$(BIN)/python docs/tools/result_tables.py

lint: $(LINTERS)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/typos

# PYTHON=python3.10 replaces an environment of another Python; without it, the one that is there stays.
CREATE := $(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
ifneq ($(origin PYTHON), file)
ifneq ($(shell $(PYTHON) $(VERSION)), $(shell $(BIN)/python $(VERSION) 2>/dev/null))
.PHONY: $(INSTALLED)
CREATE := $(PYTHON) -m venv --clear $(VENV)
endif
endif

$(INSTALLED): setup.cfg setup.py pyproject.toml constraints.txt
	$(CREATE)
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e ".[astra,io,benchmark,notebooks,test]"
	touch $@

$(LINTERS): $(INSTALLED)
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) demo build *.egg-info
