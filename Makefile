# make demo    a network from PyTorch to C, to the host, to Thumb firmware, onto the scales
# make test    ruff, mypy and the tests
# make bench   a part of the benchmark suite, within a minute; NAME=suite for all of it, NAME=verify for another one
# make lint    ruff and mypy alone
# make clean   remove what was built; the virtual environment goes too
#
# Needs Python 3.11, gcc and make.  Debian packages that are missing are installed where root or sudo allows.
# On PyPI torch for Linux is the CUDA build, gigabytes: to get the CPU build there, set PIP_EXTRA_INDEX_URL to the index
# of CPU wheels that the PyTorch site names.

PYTHON ?= python3
JOBS ?= 2
NAME ?= suite --models mnist-mlp,mnist-cnn
TORCH := 2.13.0
VENV := .venv
PY := $(VENV)/bin/python
GENN := $(VENV)/bin/genn
PIP := $(PY) -m pip install --quiet --disable-pip-version-check -c requirements.lock
SOURCES := pyproject.toml setup.py requirements.lock $(wildcard emu/*.pyx emu/*.pxd emu/*.pxi emu/*.h genn/*.pyx genn/memory/*.pyx genn/*.pxd genn/_host.h)

.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: demo test bench lint clean packages-demo packages-test

demo: packages-demo $(VENV)/.installed
	@for model in mnist-mlp mnist-cnn; do for target in cortex-m0plus nucleo-f411re; do \
	  set -e; \
	  out=demo-out/$$model-$$target; \
	  echo; echo "== $$model: PyTorch to C for $$target"; \
	  $(GENN) convert $$model -o $$out --scheme int8 -t $$target; \
	  echo; echo "== $$model: PyTorch, NumPy reference and C on this machine"; \
	  $(GENN) verify $$out; \
	  echo; echo "== $$model: Thumb firmware on $$target"; \
	  $(GENN) emulate $$out; \
	  echo; echo "== $$model: flash and RAM on $$target"; \
	  $(GENN) footprint $$out; \
	done; done

test: packages-test lint
	@$(PY) -m pytest -q -n $(JOBS) --dist worksteal

lint: packages-demo $(VENV)/.tested
	@$(PY) -m ruff check .
	@$(PY) -m mypy

bench: packages-demo $(VENV)/.installed
	@$(GENN) bench $(NAME)

# The virtual environment: what is pinned, then this checkout in place with its Cython modules.
$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "GENN needs Python 3.11 or newer: set PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -m venv --clear $(VENV)
	@touch $@

$(VENV)/.installed: $(VENV)/.python $(SOURCES)
	@echo "installing Python packages into $(VENV)" >&2
	@$(PIP) setuptools wheel cython numpy unicorn
	@$(PIP) "torch==$(TORCH)+cpu" 2>/dev/null || $(PIP) "torch==$(TORCH)"
	@$(PIP) --no-build-isolation -e ".[torch]"
	@touch $@

$(VENV)/.tested: $(VENV)/.installed
	@$(PIP) pytest pytest-xdist hypothesis ruff mypy build pooch scipy wfdb ortools
	@touch $@

# Debian packages, before anything else is made.
packages-demo packages-test: packages-%:
	@command -v $(PYTHON) >/dev/null || { echo "python3 is missing: apt install python3" >&2; exit 1; }
	@missing=$$($(PYTHON) -I genn/doctor.py --missing $*) || exit 1; \
	[ -z "$$missing" ] && exit 0; \
	missing=$$(echo $$missing); \
	if ! command -v apt-get >/dev/null; then echo "please install what Debian calls: $$missing" >&2; exit 1; fi; \
	if [ "$$(id -u)" = 0 ]; then as="env"; elif sudo -n true 2>/dev/null; then as="sudo -n env"; \
	else echo "please run: sudo apt install $$missing" >&2; exit 1; fi; \
	echo "installing $$missing" >&2; \
	$$as apt-get update -qq >&2; \
	$$as DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null || \
	  { echo "apt-get could not install: $$missing" >&2; exit 1; }; \
	left=$$($(PYTHON) -I genn/doctor.py --missing $*); \
	[ -z "$$left" ] || { echo "still missing after apt-get: $$left" >&2; exit 1; }

clean:
	rm -rf $(VENV) build dist demo-out *.egg-info .pytest_cache .hypothesis .mypy_cache .ruff_cache
	rm -f genn/_host.c emu/_core.c genn/*.so emu/*.so
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
