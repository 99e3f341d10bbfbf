PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
DEMO   := $(VENV)/.ready-for-demos
export VENV
# Images for containers switch the cache of compiled modules off: then every program that a test starts compiles them anew.
export PYTHONDONTWRITEBYTECODE =

.DEFAULT_GOAL := help
.PHONY: help install site docs links demo demo-at-most-once test coverage test-all newest test-hosting faults hostile deploys \
	soak-sockets soak-streams bench lint format types build audit constraints clean

help:  ## list the verbs
	@sed -n 's/^\([a-z-]*\):[^#]*## /make \1\t/p' Makefile | expand -t 24

install: $(READY)  ## make the environment in .venv

demo: $(DEMO)  ## run the live blog; REDIS_URL=redis://… on Redis, PORT=… on another port
	@$(BIN)/python examples/liveblog/demo.py

demo-at-most-once: $(DEMO)  ## lose messages on purpose and count them; REDIS_URL=redis://… on a Redis of its own
	@$(BIN)/python examples/at_most_once/demo.py --picture at-most-once.svg

# Tests wait more than they compute: six at once, whatever the number of processors.
test: $(READY)  ## run the tests but the slow ones, with a real Redis and a real browser; 8 minutes
	@scripts/provide redis chromium iproute2 && $(BIN)/python -m pytest -n 6 -m 'not slow'

coverage: $(READY)  ## run all tests, measure branch coverage and hold the floor in setup.cfg
	@scripts/provide redis chromium iproute2 && { scripts/provide npm || :; } && $(BIN)/coverage erase && $(BIN)/coverage run -m pytest -n 6 && $(BIN)/coverage combine --quiet && $(BIN)/coverage report

test-all: $(READY)  ## run the tests with each supported pair of Python and Django found here
	@scripts/provide redis chromium iproute2 && scripts/nox --session tests

newest: $(READY)  ## run the tests with the newest releases of what the project requires, bounds ignored
	@scripts/provide redis chromium iproute2 && scripts/nox --session newest

test-hosting: $(READY) .venv-channels-4/.ready  ## try other ASGI servers, Channels 4, nginx, supervisor and systemd
	@scripts/provide nginx supervisor chromium && { scripts/provide caddy || :; } && $(BIN)/python -m pytest tests/hosting

faults: $(READY)  ## break Redis in every way: 10,000 messages each
	@scripts/provide redis iproute2 && FAULTS=long $(BIN)/python -m pytest -n 2 tests/faults tests/layers/test_against_model.py tests/layers/test_group_delivery.py

hostile: $(READY)  ## send 50,000 hostile inputs to the interface server, 5,000 replies, and every value to bindings
	@HOSTILE=50000 $(BIN)/python -m pytest -q -s tests/interface_server/test_hostile.py tests/binding/test_hostile_values.py

deploys: $(READY)  ## restart and kill workers behind 1,000 busy sockets; DEPLOYS=… for fewer
	@scripts/provide redis && DEPLOYS=$${DEPLOYS:-1000} $(BIN)/python -m pytest tests/worker/test_sockets.py tests/worker/test_streaming.py

soak-sockets: $(READY)  ## 5,000 idle and 500 busy sockets, workers restarting, 10 minutes; SECONDS=… for less
	@scripts/provide redis && $(BIN)/python -m benchmarks.soak_sockets $(SECONDS)

soak-streams: $(READY)  ## 1 GB each way at 1 MB/s, with the peak memory, 17 minutes; MEGABYTES=… for less
	@scripts/provide redis && $(BIN)/python -m benchmarks.streams $(MEGABYTES)

bench: .venv-bench/.ready  ## measure this project beside its peers, 32 minutes; QUICK=1 for a first look
	@scripts/provide redis wrk && { scripts/provide nchan || :; } && .venv-bench/bin/python -m benchmarks $(if $(QUICK),--quick)

lint: $(READY)  ## check style, format, spelling and import directions
	@$(BIN)/ruff check --quiet . && $(BIN)/ruff format --quiet --check . && $(BIN)/typos && $(BIN)/lint-imports --no-logo

format: $(READY)  ## rewrite the Python files in the project's format
	@$(BIN)/ruff check --quiet --fix . && $(BIN)/ruff format --quiet .

types: $(READY)  ## check types, strictly
	@$(BIN)/mypy

site: $(READY)  ## build the pages into a site in build/docs; warnings are errors
	@$(BIN)/python -m sphinx -q -W --keep-going -b html docs build/docs

docs: site  ## build the site, check the pages and follow those with code
	@scripts/provide redis chromium && $(BIN)/python -m pytest -q -n 2 tests/test_documents.py tests/test_reference.py tests/test_checks.py tests/test_messages.py tests/test_troubleshooting.py tests/test_prose.py tests/test_snippets.py

links: $(READY)  ## follow the links of the pages to other sites
	@$(BIN)/python -m sphinx -q -b linkcheck docs build/links

build: $(READY)  ## build and check the source distribution and the wheel in dist/
	@rm -rf dist && $(BIN)/python -m build && $(BIN)/uvx twine check --strict dist/*

audit: $(READY)  ## look for known vulnerabilities in what is installed, with the advisories of pypi.org
	@$(BIN)/pip freeze --exclude-editable | $(BIN)/uvx pip-audit --strict --no-deps --disable-pip --requirement /dev/stdin

# Without Django: its releases are what noxfile.py goes through, and its bug-fix releases concern every site at once.
constraints: $(READY)  ## move constraints.txt to the newest releases that the bounds allow
	@$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.10 --extra dev --no-annotate --no-emit-package django --custom-compile-command "make constraints" --output-file constraints.txt setup.cfg

clean:  ## remove what the other verbs made
	@rm -rf $(VENV) .venv-channels-4 .venv-bench .nox build dist *.egg-info .coverage .coverage.* htmlcov .hypothesis .*_cache

$(READY): setup.cfg pyproject.toml constraints.txt
	@scripts/environment $(VENV) $(PYTHON) --constraint constraints.txt --editable '.[dev]' && touch $@

# The demos need little of what the tests need; an environment for development holds it.
$(DEMO): setup.cfg pyproject.toml constraints.txt
	@{ [ $(READY) -nt setup.cfg ] || scripts/environment $(VENV) $(PYTHON) --constraint constraints.txt --editable '.[demo]'; } && touch $@

.venv-channels-4/.ready: setup.cfg
	@scripts/environment .venv-channels-4 $(PYTHON) --editable . 'channels>=4,<5' 'channels_redis>=4,<5' && touch $@

.venv-bench/.ready: benchmarks/requirements.txt setup.cfg
	@scripts/environment .venv-bench $(PYTHON) --requirement benchmarks/requirements.txt && { ! command -v npm >/dev/null || npm install --silent --prefix .venv-bench ws@8; } && touch $@
