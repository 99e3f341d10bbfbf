PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help install demo demo-at-most-once bench test test-hosting hostile deploys soak-sockets soak-streams test-all faults lint types clean

help:     ## say what there is
	@sed -n 's/^\([a-z-]*\):[^#]*## /make \1\t/p' Makefile | expand -t 26

install: $(READY)  ## make the environment in .venv

demo: $(READY)  ## run the live blog; REDIS_URL=redis://… on Redis, PORT=… elsewhere
	@$(BIN)/python examples/liveblog/demo.py

demo-at-most-once: $(READY)  ## lose messages on purpose, and see which; REDIS_URL=redis://… on a Redis of its own
	@$(BIN)/python examples/at_most_once/demo.py --picture at-most-once.svg

# Most tests wait most of the time: four run at once, whatever the number of cores.
test: $(READY)  ## run the whole test suite, with a real Redis and a real browser
	@scripts/provide redis chromium iproute2
	@$(BIN)/python -m pytest -n 4

test-hosting: $(READY)  ## try the ASGI servers, Channels 4, nginx, supervisor and systemd
	@scripts/provide nginx supervisor chromium
	@test -x .venv-channels-4/bin/uvicorn || { $(BIN)/python -m venv .venv-channels-4 && \
		.venv-channels-4/bin/pip install --quiet --disable-pip-version-check --editable . "channels>=4,<5"; }
	@$(BIN)/python -m pytest tests/hosting

hostile: $(READY)  ## send 20,000 hostile inputs to the interface server, and 5,000 replies
	@HOSTILE=20000 $(BIN)/python -m pytest -q tests/interface_server/test_hostile.py

deploys: $(READY)  ## restart, replace and kill workers behind 1,000 talking sockets, and stream to them; DEPLOYS=… for fewer
	@scripts/provide redis
	@DEPLOYS=$${DEPLOYS:-1000} $(BIN)/python -m pytest tests/worker/test_sockets.py tests/worker/test_streaming.py

soak-sockets: $(READY)  ## 5,000 idle and 500 busy sockets for ten minutes, with restarting workers; SECONDS=… for less
	@scripts/provide redis
	@$(BIN)/python -m benchmarks.soak_sockets $(SECONDS)

soak-streams: $(READY)  ## 1 GB each way at 1 MB/s: the most memory of each process (17 minutes); MEGABYTES=… for less
	@scripts/provide redis
	@$(BIN)/python -m benchmarks.streams $(MEGABYTES)

bench: .venv-bench/.ready  ## measure this project against its peers, in 25 minutes; QUICK=1 for a first look
	@scripts/provide redis wrk
	@.venv-bench/bin/python -m benchmarks $(if $(QUICK),--quick)

test-all: $(READY)  ## run it with each Python and Django that go together, as far as they are here
	@scripts/provide redis chromium iproute2
	@$(BIN)/nox

faults: $(READY)  ## break Redis in every way, at length: 10,000 messages each
	@scripts/provide redis iproute2
	@FAULTS=long $(BIN)/python -m pytest -n 2 tests/faults tests/layers/test_against_model.py

lint: $(READY)  ## check style, format and import directions
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check .
	@$(BIN)/lint-imports

types: $(READY)  ## check types, strictly
	@$(BIN)/mypy

clean:  ## remove what the other verbs made
	rm -rf $(VENV) .venv-channels-4 .venv-bench .nox build dist *.egg-info .coverage htmlcov .import_linter_cache .mypy_cache .pytest_cache .ruff_cache

$(READY): setup.cfg pyproject.toml
	@scripts/environment $(VENV) $(PYTHON)
	@touch $@

.venv-bench/.ready: benchmarks/requirements.txt setup.cfg
	@command -v $(PYTHON) >/dev/null || { echo "There is no $(PYTHON) here: name a Python 3.10 or later: make PYTHON=…" >&2; exit 1; }
	@echo "Making the environment of the benchmarks in .venv-bench"
	@$(PYTHON) -m venv --clear .venv-bench
	@.venv-bench/bin/pip install --quiet --disable-pip-version-check --requirement benchmarks/requirements.txt
	@touch $@
