# Everything starts from Python >= 3.11 and the package registry; uv and all packages stay inside this folder.

CORES ?= 2
ARGS ?=
COVERAGE ?=
UV_VERSION := 0.13.9
PYTHON ?=

UV := .uv/bin/uv
UV_READY := .uv/ready-$(UV_VERSION)
READY := .venv/.ready
RUN := $(UV) run --no-sync --
PINS := $(UV) export --quiet --locked --no-dev --no-hashes --no-emit-project --no-header --no-annotate
STUDY_SCHEMA := config/study.schema.json

# uv takes the Python that made .uv/ and downloads none; another active environment does not count.
export UV_PYTHON := $(CURDIR)/.uv/bin/python
export UV_PYTHON_DOWNLOADS := never
export UV_PROJECT_ENVIRONMENT := $(CURDIR)/.venv
unexport VIRTUAL_ENV PYTHONPATH

# Where HOME can't be written, as for a container's uid without a user, caches go below this folder.
ifneq ($(shell test "$${HOME:-/}" != / && test -d "$$HOME" && test -w "$$HOME" && echo yes),yes)
$(info HOME cannot be written: HOME=$(CURDIR)/cache/home from here on. Plain snakemake does the same, unless HOME is not set at all: set it.)
export HOME := $(shell mkdir -p '$(CURDIR)/cache/home')$(CURDIR)/cache/home
endif

.DEFAULT_GOAL := help
.PHONY: help setup study test test-fast test-slow test-gpu bench docs lint format envs schema digests clean
.DELETE_ON_ERROR:

help: ## list these commands
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | awk -F '\t' '{printf "make %-10s %s\n", $$1, $$2}'

setup: $(READY) ## install everything into .uv/ and .venv/

study: $(READY) ## run the study of config/config.yaml (CORES=4 for more cores, ARGS="..." for Snakemake)
	$(RUN) snakemake --cores $(CORES) $(ARGS)

test: export OMP_NUM_THREADS := 1
test: $(READY) ## run the tests, or with ARGS="tests/config" some of them; COVERAGE=1 shows the coverage of src
	$(RUN) pytest -n 2 --dist worksteal $(if $(COVERAGE),--cov --cov-report=term --cov-fail-under=85) $(ARGS)

# The packages that need no study, no ranks and no feature network, without what asks Snakemake.
FAST := $(addprefix tests/,common cli config variants diffusion models sampling paper plan results)
test-fast: export OMP_NUM_THREADS := 1
test-fast: $(READY) ## run tests that take less than a minute together, without any study
	$(RUN) pytest -n 2 --dist worksteal -m 'not slow and not gpu and not dag' $(FAST) $(ARGS)

# pytest's exit code 5 says that no test is marked slow.
test-slow: $(READY) ## run the tests that take minutes
	$(RUN) pytest -m slow $(ARGS) || test $$? -eq 5

test-gpu: $(READY) ## run the tests that need a GPU, four minutes on one
	$(RUN) pytest -m gpu tests/gpu $(ARGS)

bench: $(READY) ## measure every row of benchmarks/ beside its peer, and compare with the stored ratios
	$(RUN) python -m benchmarks $(ARGS)

docs: $(READY) ## write the documentation site to site/, and check that its pages ask for nothing from a network
	NO_MKDOCS_2_WARNING=1 $(RUN) mkdocs build --strict
	$(RUN) python .ci/check_site.py site

lint: $(READY) ## check style, types, rules, and that schema and envs are up to date
	$(RUN) ruff check
	$(RUN) ruff format --check
	$(RUN) mypy
	$(RUN) snakefmt --check Snakefile workflow/Snakefile rules
	$(RUN) snakemake --lint
	$(RUN) dit-scaling schema --check $(STUDY_SCHEMA)
	$(PINS) | $(RUN) python workflow/export_envs.py --check

format: $(READY) ## format Python and rules
	$(RUN) ruff check --fix
	$(RUN) ruff format
	$(RUN) snakefmt Snakefile workflow/Snakefile rules

envs: $(READY) ## write envs/*.yaml from uv.lock
	$(PINS) | $(RUN) python workflow/export_envs.py

schema: $(READY) ## write the JSON schema of config files
	$(RUN) dit-scaling schema $(STUDY_SCHEMA)

digests: $(READY) ## write the digests of the shipped studies, which a test compares
	$(RUN) python tests/config/test_digests.py

clean: ## delete .uv/, .venv/ and caches, never results
	rm -rf .uv .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage .coverage.*

# Compiling every file of the packages takes four times the CPU time of importing those that are used.
$(READY): uv.lock pyproject.toml $(UV_READY)
	$(UV) sync --locked --no-compile-bytecode
	env -u PYTHONDONTWRITEBYTECODE $(RUN) python workflow/compile_imports.py
	@touch $@

$(UV_READY):
	@rm -rf .uv
	@for python in $(PYTHON) python3 python3.14 python3.13 python3.12 python3.11 python; do \
	    "$$python" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
	    "$$python" -m venv .uv && exit; \
	done; \
	echo 'No Python >= 3.11 with venv found. Install one (Debian, Ubuntu: apt install python3 python3-venv)' >&2; \
	echo 'or name it: make PYTHON=/path/to/python3.12' >&2; \
	exit 1
	.uv/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@touch $@
