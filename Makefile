# Slipway. `make help` lists what there is. Everything a fresh Debian 12 with Python 3.11 lacks is
# installed by the targets themselves; downloads and builds are cached outside the tree.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

export SLIPWAY_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/slipway
export UV_CACHE_DIR ?= $(SLIPWAY_CACHE)/uv
export PYTHONUNBUFFERED := 1
export PYTHONPATH := $(CURDIR)

PYTHON ?= python3
PY := .venv/bin/python
UV := .venv/bin/uv
# The environment follows its lock: another lock, another stamp.
STAMP := .venv/.installed-$(shell cat requirements/dev.txt pyproject.toml 2>/dev/null | sha256sum | cut -c1-12)
CRD := crds/slipway.dev_modeldeployments.yaml
CHART := charts/slipway
SOURCES := operator runtime devcluster demo tests benchmarks charts docs

##@ Using it
.PHONY: help
help: ## Show this help
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} \
	  /^[a-z-]+:.*## / {printf "  %-17s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: $(STAMP) ## Serve a real model on a real Kubernetes, then change its version under traffic
	@$(PY) -m demo up

.PHONY: demo-down
demo-down: $(STAMP) ## Remove everything that `make demo` made
	@$(PY) -m demo down

.PHONY: cluster
cluster: $(STAMP) ## Start the project's own Kubernetes and print the export KUBECONFIG=… line
	@$(PY) -m devcluster packages
	@$(PY) -m devcluster up

.PHONY: cluster-down
cluster-down: $(STAMP) ## Remove that Kubernetes
	@$(PY) -m devcluster down

.PHONY: converter
converter: $(STAMP) ## Make .venv-converter, which converts models of other formats (1.8 GB)
	@test -x .venv-converter/bin/python || $(UV) venv -q --python $(PYTHON) .venv-converter
	@$(UV) pip sync -q --python .venv-converter/bin/python --require-hashes requirements/converter.txt
	@$(UV) pip install -q --python .venv-converter/bin/python --no-deps \
	  --build-constraints requirements/build.txt -e .

##@ Working on it
.PHONY: venv
venv: $(STAMP) ## Make the virtual environment .venv from its lock

$(STAMP):
	@echo "virtual environment: installing (a minute when cold)"
	@$(PYTHON) -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	  || { apt-get update -qq && apt-get install -y -qq --no-install-recommends python3 python3-venv; }
	@test -x .venv/bin/uv || { rm -rf .venv; $(PYTHON) -m venv .venv; \
	  .venv/bin/pip install -q --disable-pip-version-check --require-hashes -r requirements/uv.txt; }
	@$(UV) pip sync -q --python $(PY) --require-hashes requirements/dev.txt
	@$(UV) pip install -q --python $(PY) --no-deps --build-constraints requirements/build.txt -e .
	@rm -f .venv/.installed-* && touch $@

.PHONY: test
test: $(STAMP) ## Run everything that CI runs: static checks, unit, cluster and end-to-end tests
	@$(PY) -m tests.run all

.PHONY: test-all
test-all: test hunt test-ui test-supply test-convert test-clients test-h2spec test-autoscaling test-faults ## Run the longer tests too

.PHONY: test-supply
test-supply: $(STAMP) ## Fetch models from real stores, which are built once (minutes)
	@$(PY) -m tests.run supply

.PHONY: test-autoscaling
test-autoscaling: $(STAMP) ## Let a real load scale real pods; prints tables (minutes)
	@$(PY) -m tests.run autoscaling

.PHONY: static
static: $(STAMP) ## Check format, lint, types, imports and generated files
	@$(PY) -m tests.run static

.PHONY: unit
unit: $(STAMP) ## Run the tests that need no cluster
	@$(PY) -m tests.run unit

.PHONY: test-cluster
test-cluster: $(STAMP) ## Run the tests against a real API server
	@$(PY) -m tests.run cluster

.PHONY: test-ui
test-ui: $(STAMP) ## Look at the operator's page with a real browser, without a window
	@$(PY) -m tests.run ui

.PHONY: test-faults
test-faults: $(STAMP) ## Kill the operator at every write, and let the API server fail in every way
	@$(PY) -m tests.run faults

.PHONY: hunt
hunt: $(STAMP) ## Live a thousand random rollouts in simulation, and draw properties anew (minutes)
	@SLIPWAY_HUNT=$(or $(LIVES),1000) $(PY) -m pytest -q tests/unit/operator/plan \
	  -k "TestRollouts or TestCanaries"
	@SLIPWAY_HUNT=1 $(PY) -m pytest -q tests/unit -m hypothesis -k "not TestRollouts and not TestCanaries"

.PHONY: e2e
e2e: $(STAMP) ## Run the tests with real pods
	@$(PY) -m tests.run e2e

.PHONY: test-clients
test-clients: $(STAMP) ## Run real public clients against the runtime, each in its own environment
	@$(PY) -m tests.run clients

.PHONY: test-h2spec
test-h2spec: $(STAMP) ## Run the conformance suite of HTTP/2 against the gRPC port (two minutes)
	@$(PY) -m tests.h2spec

.PHONY: test-convert
test-convert: $(STAMP) ## Convert a trained model of every format, and compare predictions (minutes)
	@$(PY) -m tests.run convert

.PHONY: fmt
fmt: $(STAMP) ## Format the code
	@.venv/bin/ruff format $(SOURCES)
	@.venv/bin/ruff check --fix $(SOURCES)

##@ Measuring
.PHONY: bench-runtime
bench-runtime: $(STAMP) ## Measure the runtime beside its rivals (10 minutes, 2 cores)
	@$(PY) -m benchmarks.runtime

OBJECTS ?= 1000
.PHONY: bench-operator
bench-operator: $(STAMP) ## Measure the operator with OBJECTS=1000 ModelDeployments on a real API server
	@$(PY) -m devcluster packages
	@$(PY) -m benchmarks.operator --objects $(OBJECTS)

.PHONY: bench-rollout
bench-rollout: $(STAMP) ## Roll good and bad versions out under load: who is harmed, for how long?
	@$(PY) -m devcluster packages
	@$(PY) -m benchmarks.rollout

.PHONY: bench-soak
bench-soak: $(STAMP) ## Load a server with everything for ten minutes: does it keep what it gets?
	@$(PY) -m benchmarks.soak

.PHONY: bench-attack
bench-attack: $(STAMP) ## Attack a server in fifteen ways: how much later are good clients answered?
	@$(PY) -m benchmarks.attack

##@ Generating
.PHONY: crd
crd: $(STAMP) ## Write the CRD from its types, and copy it into the chart
	@$(PY) -m slipway_operator.api.crd --write $(CRD)
	@mkdir -p $(CHART)/files/crds && cp $(CRD) $(CHART)/files/crds/

.PHONY: chart
chart: crd ## Write the chart's README from its schema
	@$(PY) charts/generate_readme.py

.PHONY: docs
docs: $(STAMP) ## Write the generated parts of the documentation
	@$(PY) docs/generate.py
	@$(PY) -m benchmarks.runtime.page
	@$(PY) -m benchmarks.operator.page
	@$(PY) -m benchmarks.rollout.page
	@$(PY) -m benchmarks.attack.page
	@$(PY) -m tests.convert.page

.PHONY: proto
proto: $(STAMP) ## Write the messages of the gRPC wires from their .proto files
	@$(PY) runtime/generate_proto.py

.PHONY: golden
golden: $(STAMP) ## Rewrite the golden files; review the difference
	@UPDATE_GOLDEN=1 $(PY) -m pytest -q tests/unit tests/contract tests/chart

.PHONY: lock
lock: $(STAMP) ## Lock the requirements anew, with hashes
	@for lock in operator:operator runtime:runtime-base runtime-all:runtime; do \
	  $(UV) pip compile -q --no-header --no-annotate --python-version 3.11 --extra $${lock%:*} pyproject.toml -o requirements/$${lock#*:}.txt; done
	@$(UV) pip compile -q --no-header --no-annotate --python-version 3.11 --all-extras pyproject.toml -o requirements/dev.txt
	@$(UV) pip compile -q --no-header --no-annotate --python-version 3.11 --extra runtime-all \
	  --no-emit-package onnxruntime pyproject.toml requirements/cuda.in -o requirements/runtime-cuda.txt
	@$(UV) pip compile -q --no-header --no-annotate --python-version 3.11 --extra runtime-all \
	  pyproject.toml requirements/converter.in -o requirements/converter.txt
	@for name in build uv; do \
	  $(UV) pip compile -q --no-header --no-annotate --python-version 3.11 requirements/$$name.in -o requirements/$$name.txt; done
	@for name in tritonclient kserve ovmsclient open-inference schemathesis; do \
	  $(UV) pip compile -q --no-header --no-annotate --python-version 3.11 requirements/clients/$$name.in -o requirements/clients/$$name.txt; done
	@$(UV) pip compile -q --no-header --no-annotate --no-deps --python-version 3.11 requirements/clients/mlserver.in -o requirements/clients/mlserver.txt

.PHONY: lock-bench
lock-bench: $(STAMP) ## Lock the rivals' requirements anew, with hashes
	@$(PY) -m benchmarks.runtime.environments lock

.PHONY: images
images: $(STAMP) ## Build both images; prints their references
	@$(PY) -m devcluster packages
	@$(PY) -m devcluster images
