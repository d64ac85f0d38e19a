# Two commands do all the set-up on a fresh Debian machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help demo test lint coverage mutation sim sim-pairs lab lab-faults lab-moves lab-down bench microbench fuzz clean

help:  ## Show the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV) || { echo "python3-venv is missing: apt-get install python3-venv"; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

demo: $(STAMP)  ## Move a simulated domain by a git commit, live, in under a minute
	$(BIN)/reconciler demo

# The emulated hosts leave much of the machine idle: everything else runs beside them. (By a name of its own: a line
# with MAKE in it is run even by `make -n`.) Two labs at once slow each other: a move took 1.4 times as long.
AGAIN := $(MAKE) --no-print-directory
test: lint  ## All checks and tests, with a real move between two real Xen hosts in QEMU
	$(BIN)/python -m tests.lab prepare
	@log=$$(mktemp); \
	$(AGAIN) coverage >$$log 2>&1 & rest=$$!; \
	$(BIN)/python -m pytest -m lab -v; lab=$$?; \
	wait $$rest; status=$$?; cat $$log; rm -f $$log; \
	[ $$lab = 0 ] && [ $$status = 0 ]

coverage: $(STAMP)  ## All tests that need no lab, and the branches they must reach
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -m "not lab and not slow"
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --include='reconciler/planning/*,reconciler/moves/*' --fail-under=100
	$(BIN)/coverage report --fail-under=90

mutation: $(STAMP)  ## Change planning and moves in every small way: do tests notice? Options, such as --seconds 600, in ARGS
	$(BIN)/python -m tests.mutation $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# With LOG=FILE what is done is kept there, and a run that was stopped goes on from it.
KEEP = $(if $(LOG),--log $(LOG))
sim: $(STAMP)  ## Every single fault at every command, on simulated hosts; with SEEDS=N random runs instead
ifdef SEEDS
	$(BIN)/python -m tests.simulation.campaign swarm --seeds $(SEEDS) $(KEEP)
else
	$(BIN)/python -m tests.simulation.campaign single $(KEEP)
	$(BIN)/python -m tests.simulation.campaign mutants
endif

sim-pairs: $(STAMP)  ## Pairs of faults on simulated hosts
	$(BIN)/python -m tests.simulation.campaign pairs $(KEEP)

lab: $(STAMP)  ## Boot two real Xen hosts in QEMU and leave them running
	$(BIN)/python -m tests.lab up

lab-faults: $(STAMP)  ## Every fault at every step on real Xen and DRBD, hours; a part: FAULTS=kill,full STEPS=ship,go
	$(BIN)/python -m tests.lab.faults --faults "$(FAULTS)" --steps "$(STEPS)"

COUNT ?= 50
lab-moves: $(STAMP)  ## COUNT=50 moves in a row in the lab, the guest writing all the time; hours
	$(BIN)/python -m tests.lab.row --count $(COUNT)

bench: $(STAMP)  ## Moves by hand and by the tool, each three times from one snapshot, hours; options such as --ways seed,live in ARGS
	$(BIN)/python -m tests.lab.bench $(ARGS)

lab-down: $(STAMP)  ## End the lab
	$(BIN)/python -m tests.lab down

microbench: $(STAMP)  ## How long the daemon's own work takes: plan, validate, a pass, commit to first command
	$(BIN)/python -m pytest tests/microbench --benchmark-enable --benchmark-only $(if $(JSON),--benchmark-json=$(JSON))

SECONDS ?= 600
fuzz: $(STAMP)  ## Fuzz every parser and check of input, guided by coverage, each for SECONDS=600
	$(BIN)/python -m tests.fuzz all --seconds $(SECONDS)

clean:  ## Remove the virtual environment and caches
	rm -rf $(VENV) .coverage .coverage.* mutants .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info
