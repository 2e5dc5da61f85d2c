# Everything is made in this folder: the Python environment in .venv, what runs leave behind in .local.
SHELL := /bin/sh
PYTHON ?= $(shell for p in python3.12 python3.11 python3.13 python3.10 python3; do \
	$$p -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo $$p && break; done)
NO_PYTHON := Python 3.10 to 3.13 is needed, and none is on the PATH: install python3 (Debian: apt-get install python3 python3-venv; macOS: brew install python@3.12).
READY := .venv/ready
# Those that have a lock file beside that of `make run`: rows of lib/src/adbazureml/runtime/stacks.py.
OTHER_STACKS := 17.3-lts-ml 19-ml
STACK ?= 17.3-lts-ml
BIN := .venv/bin

help:  ## show this list
	@grep -hE '^[a-z0-9.-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 16

run: $(READY)  ## run all notebooks on this machine, with a line a step and a summary
	@$(BIN)/python tools/walk.py

test: $(READY) .venv/connect/ready .venv/flavours .venv/jars  ## run the tests, tier by tier: unit, service, spark, walk
	@$(BIN)/python tools/tiers.py

test-unit test-service test-spark test-walk: $(READY) .venv/connect/ready .venv/flavours .venv/jars  ## run one tier of them
	@$(BIN)/python tools/tiers.py $(@:test-%=%)

test-full: $(READY) .venv/connect/ready .venv/flavours .venv/jars  ## run all tests: what takes long or needs repetition too, and every other stack
	@$(BIN)/python tools/tiers.py unit service spark walk full
	@for stack in $(OTHER_STACKS); do $(MAKE) --no-print-directory test-stack STACK=$$stack || exit 1; done

test-stack: .venv-$(STACK)/ready  ## run the walk and the Azure ML tests on another runtime's stack: make test-stack STACK=19-ml
	@.venv-$(STACK)/bin/python -m pytest tests/service/azureml_mlflow tests/service/registry/test_register.py -m "service and not full" -n 2 --dist loadfile -p no:cacheprovider
	@rm -rf .local/test-$(STACK)
	@ADBAZUREML_HOME="$(CURDIR)/.local/test-$(STACK)" .venv-$(STACK)/bin/python tools/walk.py

stacks: $(READY)  ## write the table of stacks into the docs
	@$(BIN)/python tools/stacks.py

lint: $(READY)  ## check style, types, and which room imports which
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@report=$$($(BIN)/lint-imports --no-cache) || { echo "$$report"; exit 1; }

check: lint  ## lint, and run the tests that start nothing: before each commit
	@$(BIN)/python -m pytest tests/unit -m "unit and not full" -n 2 --dist loadfile -p no:cacheprovider

bench: $(READY)  ## measure the figures that docs/measured.md gives
	@$(BIN)/python benchmarks/run.py

ui: $(READY)  ## show both local stores in MLflow's UI, until Ctrl-C
	@$(BIN)/python tools/ui.py

lab: $(READY)  ## open the notebooks in Jupyter
	@$(BIN)/jupyter lab --notebook-dir notebooks

wheel: $(READY)  ## build the wheel into lib/dist
	@$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir lib/dist ./lib && ls lib/dist

wheel-check: wheel  ## install the wheel into an empty environment, and import it there
	@rm -rf .local/wheel && $(BIN)/uv venv --quiet --python $(BIN)/python .local/wheel
	@$(BIN)/uv pip install --quiet --python .local/wheel/bin/python --constraints requirements.txt lib/dist/adbazureml-*.whl
	@cd .local && wheel/bin/python -c "import adbazureml; [getattr(adbazureml, name) for name in adbazureml.__all__]" && wheel/bin/adbazureml --version

coverage: $(READY) .venv/connect/ready .venv/jars  ## measure which lines and branches the tests run, in their child processes too
	@$(BIN)/python tools/tiers.py --coverage

requirements: $(READY)  ## resolve the requirements*.in anew into requirements*.txt
	UV_CUSTOM_COMPILE_COMMAND="make requirements" $(BIN)/uv pip compile --quiet --universal --python-version 3.10 --no-annotate \
		--constraints runtimes/dbr-18-lts-ml.txt requirements.in --output-file requirements.txt
	UV_CUSTOM_COMPILE_COMMAND="make requirements" $(BIN)/uv pip compile --quiet --universal --python-version 3.10 --no-annotate \
		--constraints runtimes/dbr-17.3-lts-ml.txt requirements-17.3-lts-ml.in --output-file requirements-17.3-lts-ml.txt
	UV_CUSTOM_COMPILE_COMMAND="make requirements" $(BIN)/uv pip compile --quiet --universal --python-version 3.10 --no-annotate \
		requirements-19-ml.in --output-file requirements-19-ml.txt
	UV_CUSTOM_COMPILE_COMMAND="make requirements" $(BIN)/uv pip compile --quiet --universal --python-version 3.10 --no-annotate \
		requirements-docs.in --output-file requirements-docs.txt

docs: .venv-docs/ready  ## build the documentation as a site that opens from disk
	@NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --quiet
	@echo "Open file://$(CURDIR)/.local/docs/index.html"

parameters: $(READY)  ## write what the settings say of each parameter into the docs and the jobs
	@$(BIN)/python tools/parameters.py

messages: $(READY)  ## write each sentence that an error says into the docs
	@$(BIN)/python tools/messages.py

clean:  ## remove what runs left behind: local stores, tables, endpoints' logs
	rm -rf .local

OTHERS_READY := $(OTHER_STACKS:%=.venv-%/ready)
$(OTHERS_READY): .venv-%/ready: requirements-%.txt lib/pyproject.toml
$(READY): requirements.txt lib/pyproject.toml
# Compiled at once: where PYTHONDONTWRITEBYTECODE is set, as in many containers, every process would compile all that it
# imports, which takes three times as long as the imports.
$(READY) $(OTHERS_READY):
	@test -n "$(PYTHON)" || { echo "$(NO_PYTHON)"; exit 1; }
	@$(PYTHON) lib/src/adbazureml/runtime/java.py
	@echo "Preparing $(@D) with $(PYTHON) (about 1 GB, once) ..."
	@$(PYTHON) -m venv $(@D)
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check "$$(grep '^uv==' requirements.txt)"
	@$(@D)/bin/uv pip install --quiet --compile-bytecode --python $(@D)/bin/python -r $<
	@$(@D)/bin/uv pip install --quiet --python $(@D)/bin/python --no-deps --editable ./lib
	@touch $@

.venv-docs/ready: requirements-docs.txt
	@test -n "$(PYTHON)" || { echo "$(NO_PYTHON)"; exit 1; }
	@$(PYTHON) -m venv $(@D)
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

.venv/connect/ready: requirements-connect.txt $(READY)
	@$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --no-deps --target $(@D) -r $<
	@touch $@

.venv/flavours: requirements-flavours.txt $(READY)
	@if command -v uv >/dev/null; then \
		uv pip install --quiet --compile-bytecode --python $(BIN)/python --no-deps -r $<; \
	else \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r $<; \
	fi
	@touch $@

# Two processes that fetch the same jars at once get in each other's way.
.venv/jars: $(READY)
	@ADBAZUREML_HOME="$(CURDIR)/.local/jars" $(BIN)/python -c "from adbazureml import runtime; runtime.spark().stop()"
	@touch $@

.PHONY: help run test test-unit test-service test-spark test-walk test-full test-stack stacks lint check bench ui lab wheel wheel-check coverage requirements docs parameters messages clean
