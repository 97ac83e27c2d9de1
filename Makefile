# `make demo` and `make test` set everything up in .venv by themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt
DATA ?= simulated
ROOT ?=
OUT ?= results
SETUP_FILES := pyproject.toml setup.py constraints.txt

.PHONY: help demo test test-sanitize bench lint format build test-cuda bench-cuda wheel clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

demo: $(VENV)/.demo build  ## compare the methods on simulated data (DATA=coat ROOT=folder for your own copy of Coat), then a quick benchmark
	$(BIN)/python examples/demo.py --data $(DATA) $(if $(ROOT),--root $(ROOT)) --out $(OUT)

test: $(VENV)/.test build  ## every test; those on real data need DEBIASREC_DATA=folder
	$(BIN)/python -m pytest -rs $(PYTEST)

lint: $(VENV)/.test  ## ruff, clang-format and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	git ls-files '*.cpp' '*.h' '*.cu' '*.cuh' | xargs $(BIN)/clang-format --dry-run -Werror
	$(BIN)/mypy

format: $(VENV)/.test  ## let ruff and clang-format rewrite the files
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	git ls-files '*.cpp' '*.h' '*.cu' '*.cuh' | xargs $(BIN)/clang-format -i

bench: $(VENV)/.test build  ## every benchmark, against plain torch, torch.compile and the peers
	$(BIN)/debiasrec bench --out $(OUT)/benchmarks

test-sanitize: $(VENV)/.test  ## the quick tests of the operators under the address and undefined-behaviour sanitizers
	$(BIN)/python tools/sanitize.py

test-cuda: $(VENV)/.test build  ## the tests that need a GPU
	$(BIN)/python -m pytest -rs -k cuda tests

bench-cuda: $(VENV)/.test build  ## the benchmarks on a GPU
	$(BIN)/debiasrec bench --device cuda --out $(OUT)/benchmarks

build: $(VENV)/.demo  ## recompile what changed
	$(BIN)/python setup.py --quiet build_ext --inplace

wheel: $(VENV)/.demo  ## a wheel in dist/
	$(BIN)/pip wheel --quiet --no-build-isolation --no-deps -w dist .

clean:  ## remove what was built
	rm -rf build dist $(VENV) debias_ext/_C.*.so

$(VENV)/.venv:
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.demo: $(VENV)/.venv $(SETUP_FILES)
	@echo "installing torch, the build tools and debias-ext into $(VENV)"
	$(PIP) torch==2.13.0 setuptools wheel pybind11 ninja
	$(PIP) --no-build-isolation -e '.[plot]'
	touch $@

$(VENV)/.test: $(VENV)/.demo
	$(PIP) --no-build-isolation -e '.[test,bench]'
	touch $@
