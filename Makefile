# Two environments: .venv runs and tests the service; .venv-train adds torch for model_export alone.
PYTHON ?= python3
VENV := .venv
TRAIN := .venv-train
ARCHIVES := .venv-archives
PIP_FLAGS := --quiet --disable-pip-version-check
# what is locked is taken by its hash; the package itself is built with the locked setuptools
LOCKED := --require-hashes --requirement
OURSELVES := --no-deps --no-build-isolation --editable .

.DEFAULT_GOAL := help
.PHONY: help install demo tools test test-archives test-faults test-model lint format bench bench-million bench-replicas bench-gpu bench-check docs lock sbom model clean

help:  ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/.installed: pyproject.toml requirements/cpu.txt
	@echo "installing the service into $(VENV) (a minute or two, once)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; set PYTHON=..."; exit 1; }
	@test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	@requirements/reach_index $(VENV)/bin/pip $(PIP_FLAGS)
	@$(VENV)/bin/pip install $(PIP_FLAGS) $(LOCKED) requirements/cpu.txt
	@$(VENV)/bin/pip install $(PIP_FLAGS) $(OURSELVES)
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements/dev.txt
	@echo "installing the test tools into $(VENV)"
	@$(VENV)/bin/pip install $(PIP_FLAGS) $(LOCKED) requirements/dev.txt
	@touch $@

$(TRAIN)/.installed: pyproject.toml
	@echo "installing the training environment into $(TRAIN) (torch: several GB, once)"
	@test -x $(TRAIN)/bin/python || $(PYTHON) -m venv $(TRAIN)
	@$(TRAIN)/bin/pip install $(PIP_FLAGS) --editable '.[train,dev]'
	@touch $@

install: $(VENV)/.installed  ## make .venv with the service in it

# PORT: another than 8000, where that is in use; 0 takes one that is free.
demo: $(VENV)/.installed  ## a synthetic night through the true pipeline, page on http://localhost:8000 (or PORT=)
	@exec $(VENV)/bin/alert-classifier demo $(if $(PORT),--port $(PORT))

tools: $(VENV)/.installed-dev  ## helm and a parser of compose files for their tests, where Go is (some minutes, once)
	@if ! command -v go >/dev/null; then echo "no Go here: the tests of the Helm chart and of docker-compose.yml skip"; \
	elif test -x .cache/bin/helm && test -x .cache/bin/compose-config; then :; \
	else echo "building helm and a parser of compose files for their tests (some minutes, once)"; \
		nice deploy/fetch_tools || echo "they could not be built: their tests skip"; fi

# TESTS: only some of them, as pytest's arguments.
test: tools  ## the normal tests, some 15 minutes (needs no network, no broker, no data; uses them where they are)
	@echo "$(if $(TESTS),pytest $(TESTS),all the normal tests: some 15 minutes on two cores; TESTS=tests/alerts runs some of them)"
	@$(VENV)/bin/python -m pytest $(TESTS)

$(ARCHIVES)/.installed: pyproject.toml
	@echo "installing Spark, Dask and LSDB into $(ARCHIVES) (700 MB, once)"
	@test -x $(ARCHIVES)/bin/python || $(PYTHON) -m venv $(ARCHIVES)
	@$(ARCHIVES)/bin/pip install $(PIP_FLAGS) --editable '.[cpu,dask,spark]' lsdb hypothesis pytest pytest-timeout
	@touch $@

test-archives: $(ARCHIVES)/.installed  ## the tests on Spark (needs Java), Dask and LSDB, some two minutes
	PATH=$(CURDIR)/$(ARCHIVES)/bin:$$PATH PYSPARK_PYTHON=$(CURDIR)/$(ARCHIVES)/bin/python \
		$(ARCHIVES)/bin/python -m pytest -p no:cacheprovider tests/archives

test-faults: $(VENV)/.installed-dev  ## long fault injection against real services
	$(VENV)/bin/python -m pytest -m faults --timeout=1800

test-model: $(TRAIN)/.installed  ## the tests that need torch
	$(TRAIN)/bin/python -m pytest -n 2 tests/model_export tests/inference/test_bring_your_own_model.py

lint: $(VENV)/.installed-dev  ## style, types and import arrows
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

format: $(VENV)/.installed-dev  ## put the code into its style
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

# PACKETS: a folder of real packets for the decoder. A result is kept only where its benchmark came to its end; of memory
# that of bench-million is kept.
bench: $(VENV)/.installed-dev  ## every benchmark, some 8 minutes; results and docs/performance.md are written anew
	@set -e; mkdir -p .cache/bench; for name in decode rust_decode rubin classify store api stream skies ages memory; do \
		echo "== $$name"; python=$(VENV)/bin/python; arguments=; module=$$name; kept=benchmarks/results/$$name.json; \
		case $$name in \
			decode) arguments="$(PACKETS)";; \
			rust_decode) arguments="$(PACKETS)"; command -v cargo >/dev/null || { echo "skipped: needs cargo"; continue; };; \
			classify) if test -x $(TRAIN)/bin/python; then python=$(TRAIN)/bin/python; fi;; \
			api) arguments=--pin;; \
			stream) arguments="--sky young";; \
			skies) module=stream; arguments="--sky young mature";; \
			memory) kept=.cache/bench/memory.json;; \
		esac; \
		$$python -m benchmarks.$$module $$arguments > .cache/bench/$$name.txt; \
		sed '$$d' .cache/bench/$$name.txt; tail -n 1 .cache/bench/$$name.txt > $$kept; \
	done
	@$(VENV)/bin/python -m benchmarks.report

bench-million: $(VENV)/.installed-dev  ## memory and disk at a million objects, queries and drain at ten (23 GB), some 40 minutes
	@mkdir -p .cache/bench; $(VENV)/bin/python -m benchmarks.memory --objects 1000000 > .cache/bench/million.txt
	@tail -n 1 .cache/bench/million.txt > benchmarks/results/million.json
	@$(VENV)/bin/python -m benchmarks.many --objects 10000000 > .cache/bench/many.txt
	@tail -n 1 .cache/bench/many.txt > benchmarks/results/many.json
	@$(VENV)/bin/python -m benchmarks.watches > .cache/bench/watches.txt
	@tail -n 1 .cache/bench/watches.txt > benchmarks/results/watches.json
	@$(VENV)/bin/python -m benchmarks.report

bench-replicas: $(VENV)/.installed-dev  ## one, two and four replicas over one PostgreSQL, some 10 minutes
	@mkdir -p .cache/bench; $(VENV)/bin/python -m benchmarks.replicas > .cache/bench/replicas.txt
	@sed '$$d' .cache/bench/replicas.txt; tail -n 1 .cache/bench/replicas.txt > benchmarks/results/replicas.json
	@$(VENV)/bin/python -m benchmarks.report

bench-gpu: $(TRAIN)/.installed  ## our graphs against torch on a CUDA device; replaces the CPU's onnxruntime in .venv-train
	@$(TRAIN)/bin/pip uninstall --yes $(PIP_FLAGS) onnxruntime
	@$(TRAIN)/bin/pip install $(PIP_FLAGS) --editable '.[gpu]'
	@mkdir -p .cache/bench; $(TRAIN)/bin/python -m benchmarks.gpu > .cache/bench/gpu.txt
	@sed '$$d' .cache/bench/gpu.txt; tail -n 1 .cache/bench/gpu.txt > benchmarks/results/gpu.json
	@$(TRAIN)/bin/python -m benchmarks.report

bench-check: $(VENV)/.installed-dev  ## fail where something has become a fifth slower than what it is compared with
	$(VENV)/bin/python -m pytest -m bench

docs: $(VENV)/.installed-dev  ## the documentation site, under site/
	$(VENV)/bin/mkdocs build --strict

lock: $(VENV)/.installed-dev  ## write requirements/*.txt anew from pyproject.toml; UPGRADE=--upgrade takes the newest
	@$(VENV)/bin/pip install $(PIP_FLAGS) uv
	@PATH="$(CURDIR)/$(VENV)/bin:$$PATH" requirements/lock $(UPGRADE)

sbom: $(VENV)/.installed-dev  ## what the service is made of, under build/: CycloneDX with hashes, and a list of licences
	@mkdir -p build
	@$(VENV)/bin/python -W ignore -m cyclonedx_py requirements requirements/cpu.txt --pyproject pyproject.toml \
		--output-reproducible --output-format JSON --output-file build/sbom.cdx.json
	@$(VENV)/bin/pip-licenses --format=markdown --output-file=build/licences.md \
		--packages $$(sed -n 's/^\([a-z0-9._-]*\)==.*/\1/p' requirements/cpu.txt)

model: $(TRAIN)/.installed  ## the whole chain: simulate, pre-train, fine-tune, calibrate, evaluate, export
	$(TRAIN)/bin/model-export run

clean:  ## remove environments and caches
	rm -rf $(VENV) $(TRAIN) $(ARCHIVES) .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis site build *.egg-info
