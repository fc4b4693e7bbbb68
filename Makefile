# The two commands a newcomer needs: `make demo` and `make test`. Both set up what they need; a second call does not.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
CONFIG ?= examples/support_desk/config.yaml
ARGS   ?=

.PHONY: demo test test-long check setup model names bench chaos-train clean
.DEFAULT_GOAL := demo

demo: setup model            ## raw files → dataset version → QLoRA → gate → registry → served answer, on this machine
	$(BIN)/tuneloop run $(CONFIG) $(ARGS)

test: setup model            ## the default tests; COVERAGE=1: with coverage of tasks/ (trainer processes included) and its floor
	$(if $(COVERAGE),$(BIN)/coverage erase)
	$(BIN)/$(if $(COVERAGE),coverage run,python) -m pytest -n 3 --dist loadfile --no-loadscope-reorder $(ARGS)
	$(if $(COVERAGE),$(BIN)/coverage combine -q && $(BIN)/coverage report --fail-under=85)

test-long: setup model       ## whole runs and killed ones, which take longer; CI runs them too
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder -m long $(ARGS)

check: setup                 ## format, lint, types, import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.11"; exit 50; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt --editable '.[dev]'
	@# pip compiles on one core. Byte code is needed: without it each process compiles whatever it imports. Left out: a file of
	@# torch for Python 3.12. As with pip, a file that cannot be compiled is shown and does not end the set-up.
	-@$(BIN)/python -m compileall -q -j 0 -x py312_intrinsics $(VENV)/lib
	@touch $@

model: $(VENV)/.model

$(VENV)/.model: $(VENV)/.installed tasks/adapters/base_models.py
	$(BIN)/tuneloop models fetch smollm2-135m
	@touch $@

names: $(VENV)/.names         ## spaCy's language model, for names and addresses; the benchmarks of personal data need it

$(VENV)/.names: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[names]'
	@touch $@

BENCHMARKS := train packing near_duplicates pii leaks data

bench: setup model names     ## every measurement against its peers; each also alone: make bench-data
	@for name in $(BENCHMARKS); do echo "== $$name"; $(BIN)/python -m bench.$$name || exit 1; done

bench-data bench-pii: names

bench-%: setup model
	$(BIN)/python -m bench.$(subst -,_,$*) $(ARGS)

chaos-train: setup           ## kills trainings at random moments and at every write, compares bytes; goes on where it stopped
	$(BIN)/python -m bench.chaos_train $(ARGS)

clean:                       ## removes what the commands above made, not TUNELOOP_HOME
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .coverage*
