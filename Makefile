# Python >= 3.11, make and a package index are all that is needed; uv comes into .uv/ where it is missing.
PYTHON ?= python3
UV := $(or $(shell command -v uv 2>/dev/null),.uv/bin/uv)
RUN := .venv/bin/
NAME ?=
# Each suite is a process with servers of its own, two at a time, the longest first: much of their time is waiting.
SUITES := tests/e2e services/analysis services/requirements services/search cli libs/stack libs/common tests/benches
export UV_PYTHON_DOWNLOADS = never
export UV_COMPILE_BYTECODE = 1

.DEFAULT_GOAL := help
.PHONY: help demo up check test strictdoc e2e chaos bench specs migrate format

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## (.*)/\1\t\2/' | \
	  awk -F'\t' '{printf "  make %-10s %s\n", $$1, $$2}'

.uv/bin/uv:
	@echo "uv is missing: installing it into .uv/"
	@$(PYTHON) -m venv .uv && .uv/bin/python -m pip install --quiet --disable-pip-version-check uv

.venv/.synced: pyproject.toml uv.lock libs/common/pyproject.toml libs/stack/pyproject.toml cli/pyproject.toml \
  services/requirements/pyproject.toml services/search/pyproject.toml services/analysis/pyproject.toml | $(filter .uv/bin/uv,$(UV))
	$(UV) sync --frozen --quiet --python $(PYTHON)
	@touch $@

demo: .venv/.synced ## bring the suite up and show the main job on live telemetry (KEEP=1 leaves it up)
	@$(RUN)plumbline demo $(if $(KEEP),--keep)

up: .venv/.synced ## the same stack in the foreground; Ctrl-C stops it
	@$(RUN)plumbline up

check: .venv/.synced ## ruff, mypy --strict, import-linter, drift of the generated API documents
	$(RUN)ruff check .
	$(RUN)ruff format --check .
	$(RUN)mypy libs/*/src cli/src services/*/src
	$(RUN)lint-imports --no-cache
	$(RUN)python -m plumbline_common.specs --check

test: .venv/.synced ## the tests that end within minutes, on real PostgreSQL, NATS and Envoy; coverage is printed
	@rm -f .coverage*
	@$(MAKE) --no-print-directory --keep-going -j2 $(if $(filter output-sync,$(.FEATURES)),--output-sync) $(addprefix suite-,$(subst /,--,$(SUITES)))
	@$(RUN)python -m slipcover --merge .coverage.*.json --out .coverage.json

suite-%:
	@echo "== $(subst --,/,$*)"; $(RUN)python -m slipcover --json --out .coverage.$*.json -m pytest -q $(subst --,/,$*) -m "not long and not chaos" $(ARGS)

strictdoc: .venv/.synced ## ReqIF exports, opened by StrictDoc in an environment of its own
	PLUMBLINE_STRICTDOC="$(UV) tool run --quiet --from strictdoc==0.30.4 strictdoc" \
	  $(RUN)python -m pytest services/requirements/tests/interchange -k strictdoc

e2e: .venv/.synced ## all journeys and the one trace, through the gateway only; the API beside its workers
	$(RUN)pytest services -m long $(ARGS)
	$(RUN)pytest tests/e2e -m "not chaos" $(ARGS)

chaos: .venv/.synced ## processes are killed and stores wiped while the suite works
	$(RUN)pytest tests/e2e -m chaos $(ARGS)

bench: .venv/.synced ## the benches (NAME=crud, events, ingest, cardinality, analysis, jobs, watchdog, requirements, search, detection, streams, nab, vus, batch, logs), one JSON line a figure
	@$(RUN)python benchmarks/run.py $(NAME)

specs: .venv/.synced ## write openapi.json and asyncapi.json of each service and of the gateway
	$(RUN)python -m plumbline_common.specs

migrate: .venv/.synced ## bring the schemas to the newest (PLUMBLINE_<NAME>_OWNER_DATABASE_URL of each)
	for name in requirements search analysis; do $(RUN)python -m plumbline_common.migrate plumbline_$$name || exit 1; done

format: .venv/.synced ## let ruff put the code in order
	$(RUN)ruff check --fix .
	$(RUN)ruff format .
