# Every target sets up what it needs, once. Plain `make` lists the targets.

MODELS := $(patsubst %/train.py,%,$(wildcard */train.py))
FOLDERS := common ci $(MODELS)
PYTHON := .venv/bin/python

.PHONY: help setup smoke $(MODELS:%=smoke-%) test $(FOLDERS:%=test-%) lint bench demo test-demo sample-data \
	$(MODELS:%=sample-data-%)

## help                 this list
help:
	@sed -n 's/^## /  make /p' Makefile
	@echo "  Models: $(MODELS)"

## setup                both environments: .venv (TensorFlow 2.21) and .venv-ascend (TensorFlow 2.6.5)
setup: .venv/.ready .venv-ascend/.ready

.venv/.ready: requirements.txt
	@bash ci/setup.sh .venv 3.11 requirements.txt

.venv-ascend/.ready: requirements-ascend.txt
	@bash ci/setup.sh .venv-ascend 3.9 requirements-ascend.txt optional

.venv/.ready-demo: requirements-demo.txt .venv/.ready
	@$(PYTHON) -m pip install -qq --disable-pip-version-check -r requirements.txt -r requirements-demo.txt && touch $@

## demo                 a page on this machine with a tab for each model; CKPT_<MODEL>=RUN shows a training of your own
demo: .venv/.ready-demo
	@$(PYTHON) ci/demo.py

## smoke                trains every model on sample data for a minute or less, evaluates it, ends with a table
smoke: .venv/.ready
	@PYTHON="$(CURDIR)/$(PYTHON)" bash ci/smoke.sh

## smoke-<Model>        the same for one model
$(MODELS:%=smoke-%): smoke-%: .venv/.ready
	@PYTHON="$(CURDIR)/$(PYTHON)" bash ci/smoke.sh $*

## test                 the linter, then all tests on both stacks
test: setup
	@$(PYTHON) ci/run_tests.py

## test-<folder>        the tests of a model, of common or of ci, on both stacks
$(FOLDERS:%=test-%): test-%: setup
	@$(PYTHON) ci/run_tests.py $*

## test-demo            the page in chromium, which has to be installed
test-demo: .venv/.ready-demo
	@$(PYTHON) -m pytest -q -p no:cacheprovider ci/test_demo.py

## lint                 ruff: mistakes and formatting
lint: .venv/.ready
	@$(PYTHON) -m ruff check . && $(PYTHON) -m ruff format --check .

## bench                seconds per step, images/s, share of the machine's peak, per model and precision
bench: .venv/.ready
	@$(PYTHON) ci/bench.py $(if $(AGAINST),--against $(AGAINST))

## sample-data          writes every model's sample data to build/sample_data/<Model>
sample-data: $(MODELS:%=sample-data-%)

$(MODELS:%=sample-data-%): sample-data-%: .venv/.ready
	@test -e build/sample_data/$* || $(PYTHON) $*/sample_data.py --output_path build/sample_data/$*
