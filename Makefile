# The local cloud and its tests, as root on Debian 12. What is missing is installed first; see dev/bootstrap.
HOSTS ?= 2
OPERATORS ?= 1
LAYERS ?=
PYTHON := .venv/bin/python
NEPHOS_DEV := .venv/bin/nephos-dev

.PHONY: help bootstrap demo up status down test bench lint format crds lock node-binaries helm

help: ## what can be made
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

bootstrap:
	@dev/bootstrap

demo: bootstrap ## two hosts, two web servers, one of them in the world
	@$(NEPHOS_DEV) demo

up: bootstrap ## the cloud alone: make up HOSTS=3 OPERATORS=2
	@$(NEPHOS_DEV) up --hosts $(HOSTS) --operators $(OPERATORS)

status: bootstrap ## what runs, and where its log is
	@$(NEPHOS_DEV) status

down: bootstrap ## every trace of the cloud goes, caches aside
	@$(NEPHOS_DEV) down

test: bootstrap ## all tests, or some layers: make test LAYERS="unit contract"
	@$(NEPHOS_DEV) test $(LAYERS)

bench: bootstrap ## the figures: a table, and a JSON file
	@PYTHONPATH=tests $(PYTHON) -m bench

lint: bootstrap ## format, lint, types, imports, generated files
	@$(NEPHOS_DEV) test lint

format: bootstrap ## rewrite the sources as the linter wants them
	@.venv/bin/ruff format .
	@.venv/bin/ruff check --fix .

crds: bootstrap ## the CRDs, from the models
	@.venv/bin/nephos-crds

lock: bootstrap ## requirements.lock, from the pyproject files
	@uv lock
	@uv export --quiet --frozen --all-packages --no-emit-workspace --no-header --no-annotate \
		--format requirements-txt --output-file requirements.lock

node-binaries: bootstrap ## kubelet, scheduler, containerd and CNI plugins, for the test on a real pod
	@$(NEPHOS_DEV) build node containerd

helm: bootstrap ## Helm, for the tests of the chart
	@$(NEPHOS_DEV) build helm
