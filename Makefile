# Every target sets up what it needs. `make` alone prints this list.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/deepseek-operator
UV_VERSION := 0.13.9
# The environment's programs come first. Not `uv run`: Ray would start every worker by another `uv run`.
# uv, where the machine has none, is installed beside the other caches.
export PATH := $(CURDIR)/.venv/bin:$(PATH):$(CACHE)/uv/bin
export PYTHONPATH := operator:workloads:demo:tests/cluster:tests/e2e
# Torch spins up a thread a core in every process: two ranks then fight for two cores.
TEST_ENV := OMP_NUM_THREADS=1 RAY_USAGE_STATS_ENABLED=0 HF_HUB_OFFLINE=1

.PHONY: help
help: ## This list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-18s %s\n", $$1, $$2}'

# ---- setting up ------------------------------------------------------------------------------------------
.PHONY: setup
setup: .venv/.synced ## The Python environment, from the lock file

.venv/.synced: pyproject.toml uv.lock
	@command -v uv >/dev/null || { python3 -m venv "$(CACHE)/uv" && "$(CACHE)/uv/bin/pip" install --quiet uv==$(UV_VERSION); }
	uv sync --locked --quiet --compile-bytecode
	@touch $@

# ---- the demo --------------------------------------------------------------------------------------------
.PHONY: demo demo-down
demo: setup ## Train a small DeepSeek-V3 on a Kubernetes made here (or CLUSTER=current), end to end
	@python -m deepseek_demo up

demo-down: setup ## Remove all that the demo made (PURGE=1: also the caches)
	@python -m deepseek_demo down $(if $(PURGE),--purge)

# ---- the local Kubernetes ---------------------------------------------------------------------------------
NAMED = $(if $(NAME),--name $(NAME))

.PHONY: cluster cluster-down cluster-status
cluster: setup ## Boot a local Kubernetes: two real nodes, one of them a GPU pool (MODE=control-plane: no nodes)
	@python -m local_kubernetes up $(NAMED) $(if $(MODE),--mode $(MODE))

cluster-down: setup ## Remove it
	@python -m local_kubernetes down $(NAMED)

cluster-status: setup ## What it is and how to reach it (NAME=demo: the demo's)
	@python -m local_kubernetes status $(NAMED)

# ---- tests -------------------------------------------------------------------------------------------------
# `test` goes through every tier, also after a failure. What needs a cluster is built and tested beside what needs
# none, so that both cores have work; the end-to-end tests then have the machine to themselves.
PREPARE_LOG := reports/prepare-cluster.log
BESIDE := --no-print-directory --jobs=2 --keep-going --output-sync=target

.PHONY: test test-unit test-parity test-parity-full test-cluster test-e2e prepare-cluster
.PHONY: test-without-cluster test-with-control-plane
test: setup ## All tests
	@status=0; $(MAKE) $(BESIDE) test-without-cluster test-with-control-plane || status=1; \
	$(MAKE) --no-print-directory test-e2e || status=1; exit $$status

test-without-cluster: setup ## The tiers that need none: unit, parity
	@status=0; for tier in test-unit test-parity; do $(MAKE) --no-print-directory $$tier || status=1; done; exit $$status

test-with-control-plane: setup ## The cluster tier, and before it all that the end-to-end tests take ready-made
	@mkdir -p $(dir $(PREPARE_LOG))
	@$(MAKE) --no-print-directory horovod prepare-cluster > $(PREPARE_LOG) 2>&1 || { tail -n 30 $(PREPARE_LOG); exit 1; }
	@$(MAKE) --no-print-directory test-cluster

prepare-cluster: setup ## Build what the cluster tiers need ahead: Kubernetes, the S3 server, the images
	@for program in kubernetes coredns pause probe kwok helm versitygw; do \
	    nice python -m local_kubernetes binary $$program; done
	@python -m local_kubernetes image-tools
	@nice python -m deepseek_demo images operator worker worker-horovod

test-unit: setup ## Pure functions, properties, golden files
	@$(TEST_ENV) pytest tests/unit --numprocesses=2 --durations=5

test-parity: setup ## Model, gradients, checkpoints, the loop: against reference libraries and against themselves
	@$(TEST_ENV) pytest tests/parity -m "not slow" --numprocesses=2 --durations=15

test-parity-full: setup ## The wider matrix
	@$(TEST_ENV) pytest tests/parity

test-cluster: setup ## The operator on a real API server with KWOK nodes
	@$(TEST_ENV) pytest tests/cluster --durations=10

test-e2e: setup ## The whole path on the local Kubernetes: images, S3, Ray, kills, bad input
	@$(TEST_ENV) pytest tests/e2e --durations=25

# ---- Horovod -----------------------------------------------------------------------------------------------
.PHONY: horovod horovod-image
horovod: setup ## Build Horovod for .venv, where it is not built yet: minutes. Prints its folder for PYTHONPATH
	@nice docker/horovod/unpack

horovod-image: setup ## The worker image with Horovod, and to the demo's cluster where one runs
	@python -m deepseek_demo images worker-horovod

# ---- engineering -------------------------------------------------------------------------------------------
.PHONY: generate verify lint format
generate: setup ## CRDs, install.yaml
	@HELM=$$(python -m local_kubernetes binary helm) python -m deepseek_operator.generate

verify: setup ## Fails where something generated is out of date
	@HELM=$$(python -m local_kubernetes binary helm) python -m deepseek_operator.generate --check

lint: setup ## ruff, mypy --strict, import-linter, pip-audit, bill of materials: all of them, also after a failure
	@status=0; \
	for check in "ruff check ." "ruff format --check ." "mypy" "lint-imports" "python .ci/audit.py" "python .ci/sbom.py"; do \
	    echo "--- $$check"; $$check || status=1; done; exit $$status

format: setup ## Format the code
	ruff check --fix .
	ruff format .

# ---- benchmarks --------------------------------------------------------------------------------------------
.PHONY: bench-start bench-recovery bench-serve bench-train bench-memory bench-scaling bench-gpu bench-attention bench-prepare bench-checkpoint bench-stream bench-step-time bench-head-gates
bench-start: setup ## Where the time goes from kubectl apply to the first step
	@$(TEST_ENV) python bench/start.py

bench-recovery: setup ## Seconds from a kill to the next step, by what was killed
	@$(TEST_ENV) python bench/recovery.py

bench-serve: setup ## Milliseconds a token of 1 and 8 requests at once, against Hugging Face generate
	@$(TEST_ENV) python bench/serve.py

# What is compared with has an environment of its own: its dependencies are not ours.
PEERS_TRAIN := $(CACHE)/peers-train/bin/python
bench-train: setup ## Tokens a second and memory of training on one thread, against Hugging Face's model and torchtitan's
	@test -x $(PEERS_TRAIN) || uv venv --quiet --python 3.11 $(CACHE)/peers-train
	@uv pip sync --quiet --require-hashes --python $(PEERS_TRAIN) bench/peers/train.txt
	@$(TEST_ENV) python bench/train.py --torchtitan-python $(PEERS_TRAIN) $(ARGS)

bench-memory: setup ## Peak memory of training, a parameter and a token, against the plan's estimate
	@$(TEST_ENV) python bench/memory.py

bench-scaling: setup ## Two processes with a core each: replicas, shards, shared experts, over twice one alone
	@$(TEST_ENV) python bench/scaling.py

bench-gpu: setup ## The same at 1 billion parameters in bf16 on an NVIDIA GPU, with MFU; refused without one
	@$(TEST_ENV) python bench/gpu.py

bench-attention: setup ## Time and memory of dense, windowed and hashed attention by length; drawn by attention_figure.py
	@$(TEST_ENV) python bench/attention.py $(ARGS)

bench-step-time: setup ## The plan's model of step time: its error on published rates left out; SCALING=lines of bench-scaling
	@$(TEST_ENV) python bench/step_time.py $(if $(SCALING),--scaling $(SCALING))

bench-head-gates: setup ## Milliseconds of attention to a prompt behind gates, by how many are open, beside none
	@$(TEST_ENV) python bench/head_gates.py $(ARGS)

bench-checkpoint: setup ## Stall, GB/s and recovery with checkpoints of 1 GB in S3, against torch's DCP
	@$(TEST_ENV) python bench/checkpoint.py $(ARGS)

bench-prepare: setup ## MB/s a core of preparing text, and how well near-duplicates are found, against datatrove
	@$(TEST_ENV) python bench/prepare.py $(ARGS)

PEERS_STREAM := $(CACHE)/peers-stream/bin/python
bench-stream: setup ## Tokens a second from S3 to batches, against mosaicml-streaming and litdata; resume, memory
	@test -x $(PEERS_STREAM) || uv venv --quiet --python 3.11 $(CACHE)/peers-stream
	@uv pip sync --quiet --require-hashes --python $(PEERS_STREAM) bench/peers/stream.txt
	@$(TEST_ENV) python bench/stream.py --peer-python $(PEERS_STREAM) $(ARGS)
