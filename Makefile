# make demo   the handwritten digits on the simulated accelerator
# make test   lint and tests
# Either sets up .venv first, and before that says what the machine lacks and how to install it.

PYTHON ?= python3
VENV   ?= .venv

# The demo's accelerator, and on how many of the held-out images (empty: all of them).
PRESET ?= ulx3s-85f
COUNT  ?=

PYTEST_ARGS ?=

# Test files side by side; what one file builds for its tests is built once.
JOBS ?= 2

BIN := $(VENV)/bin

# -qq: errors only. The index, proxies and certificates are pip's own configuration's business.
PIP := $(BIN)/python -m pip --no-input --disable-pip-version-check -qq

# Verilator builds its models with make, and must not inherit our flags and job server.
CLEAN_ENV := env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL -u MAKEOVERRIDES

# The checks stand first among the prerequisites, so they speak before anything is made.
.NOTPARALLEL:
.PHONY: help demo test setup lint clean check check-cocotb

help:
	@echo 'make demo    recognise handwritten digits on the simulated accelerator'
	@echo '             (PRESET=$(PRESET); COUNT=N for the first N images only)'
	@echo 'make test    lint and tests (PYTEST_ARGS=... is handed to pytest)'
	@echo 'make setup   only install what both need, into $(VENV)'
	@echo 'make lint    ruff'
	@echo 'make clean   remove .venv and everything that can be made again'
	@echo 'PYTHON=... chooses the interpreter (now $(PYTHON))'


demo: check $(VENV)/.demo
	@$(CLEAN_ENV) $(BIN)/python examples/digits/evaluate.py --preset $(PRESET) \
	    $(if $(COUNT),--count $(COUNT))

# pytest runs even when lint complains: one run tells everything, and its closing line comes last.
test: check check-cocotb $(VENV)/.test
	@lint=0; tests=0; \
	$(BIN)/ruff check . || lint=$$?; \
	$(CLEAN_ENV) $(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(PYTEST_ARGS) || tests=$$?; \
	[ $$lint = 0 ] || echo 'lint failed: its complaints stand above the output of pytest' >&2; \
	[ $$lint = 0 ] && [ $$tests = 0 ]

lint: check $(VENV)/.test
	@$(BIN)/ruff check .

setup: check check-cocotb $(VENV)/.demo $(VENV)/.test


# What must be there before anything is done. Everything missing is named in one go.
#
# g++, make     compile the simulator that Verilator writes.
# perl          Verilator's front end; Debian's perl-base lacks the modules it uses.
# python3-venv  Debian ships ensurepip in a package of its own.
check:
	@missing=; packages=; \
	lacks() { echo "Oarlock needs $$1: $$2" >&2; missing=1; packages="$$packages $$3"; }; \
	command -v g++ >/dev/null || lacks 'g++' 'not found.' g++; \
	command -v make >/dev/null || lacks make 'not found under that name.' make; \
	perl -MFindBin -MGetopt::Long -MPod::Usage -e 1 >/dev/null 2>&1 \
	    || lacks perl 'not found, or without its standard modules.' perl; \
	if ! '$(PYTHON)' -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
	    found=`'$(PYTHON)' --version 2>&1` || found='not found'; \
	    lacks 'Python 3.11 or newer' \
	        "$(PYTHON) is $$found (another one: make PYTHON=python3.11)." 'python3 python3-venv'; \
	elif ! '$(PYTHON)' -c 'import ensurepip, venv' >/dev/null 2>&1; then \
	    lacks python3-venv "$(PYTHON) cannot make virtual environments." python3-venv; \
	fi; \
	if [ -n "$$missing" ]; then \
	    sudo=; [ "`id -u`" = 0 ] || sudo='sudo '; \
	    echo "Install it with:  $${sudo}apt-get install$$packages" >&2; \
	    exit 1; \
	fi

# cocotb loads Python into the simulator; the library is again a package of its own on Debian, named
# by version. The demo does without.
check-cocotb: check
	@'$(PYTHON)' -c "$$FIND_LIBPYTHON" || exit 1

define FIND_LIBPYTHON
import ctypes, os, sys, sysconfig
name = sysconfig.get_config_var("INSTSONAME") or "libpython.so"
for candidate in (os.path.join(sysconfig.get_config_var("LIBDIR") or "", name), name):
    try:
        ctypes.CDLL(candidate)
        sys.exit(0)
    except OSError:
        pass
version = "%d.%d" % sys.version_info[:2]
sys.stderr.write(
    "The tests need the shared library of Python %s (cocotb loads it): not found.\n"
    "Install it with:  %sapt-get install libpython%s\n"
    "or choose a Python that was built with --enable-shared: make PYTHON=/usr/bin/python3\n"
    % (version, "" if os.getuid() == 0 else "sudo ", version))
sys.exit(1)
endef
export FIND_LIBPYTHON


# Stamps, not .venv/bin/python: that one exists as well when the making of it was interrupted.
$(VENV)/.made:
	@echo 'Making $(VENV) with $(PYTHON) ...'
	@'$(PYTHON)' -m venv '$(VENV)'
	@touch '$@'

$(VENV)/.demo: pyproject.toml $(VENV)/.made
	@echo 'Installing Oarlock and what the demo needs into $(VENV) (a minute or two) ...'
	@$(PIP) install -e '.[demo]'
	@touch '$@'

$(VENV)/.test: pyproject.toml $(VENV)/.made
	@echo 'Installing Oarlock and what the tests need into $(VENV) (a minute or two) ...'
	@$(PIP) install -e '.[test]'
	@touch '$@'


clean:
	rm -rf .venv build *.egg-info .pytest_cache .ruff_cache .hypothesis sim_build results.xml
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
