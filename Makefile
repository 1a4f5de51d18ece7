# Two commands do everything: `make conformance` certifies the models, `make test` tests the suite.
# FRAMEWORKS="torch keras" (default), torch or keras; ARGS passes options to pytest.
PYTHON ?= python3
VENV ?= .venv
FRAMEWORKS ?= torch keras
ARGS ?=

# Bytecode under the environment and the checkout saves a second at every start.
unexport PYTHONDONTWRITEBYTECODE

BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest
TOOL := $(BIN)/python -m onnx_conformance
ifneq (,$(filter-out torch keras,$(FRAMEWORKS)))
$(error FRAMEWORKS is "torch keras", torch or keras, not "$(FRAMEWORKS)")
endif
GROUPS := base $(FRAMEWORKS)
HALF := $(addprefix --framework=,$(FRAMEWORKS))
# Several files are separated by spaces, unless all of it is one file's path.
space := $(subst ,, )
OWN := $(if $(wildcard $(subst $(space),\ ,$(MODELS_FROM))),'--models-from=$(MODELS_FROM)',$(addprefix --models-from=,$(MODELS_FROM)))
STAMP := $(VENV)/.installed-$(subst $(eval) ,-,$(strip $(GROUPS)))
LINT_STAMP := $(VENV)/.installed-lint
DOCS_STAMP := $(VENV)/.installed-docs
GPU_STAMP := $(VENV)/.installed-gpu

# One small and one image model of each framework; those of an absent half are skipped by name.
TEST_MODELS := simple_net mobilenet_v2 keras_sequential keras_mobilenet_v2

TEST_JOBS ?= 2

MODEL ?= resnet18
OPSET ?= 14
EXPORTER ?= torch_torchscript

.PHONY: help quick conformance new-model bench gate gate-selftest test test-network coverage lint detection false-alarms calibrate-budget quantised-seeds wild localisation overhead docs pictures install clean

help:
	@echo "Certify"
	@echo "  make conformance FRAMEWORKS=torch ARGS='--model simple_net'   a first verdict, after two minutes of installation"
	@echo "  make conformance   certify the models: matrix, .conformance/report.html, results.json"
	@echo "    MODELS_FROM=FILE.py         your own models; make new-model NAME=my_net writes such a file"
	@echo "    FRAMEWORKS=torch            (or keras) install and run one framework"
	@echo "    ARGS='--model resnet18'     any option of the suite: .venv/bin/python -m pytest --help"
	@echo "  make variants MODEL=resnet50   optimised, half precision, int8: which may we ship?"
	@echo "    VARIANT=\"fp16 int8_static\" BATCH=\"1 8\" EXPORTER=torch_dynamo"
	@echo "    ARGS='--calibration-data=DIR --evaluation-data=OTHER_DIR'   on samples of yours"
	@echo "  make versions ORT=\"1.24.4 1.28.0\"   may we bump? verdicts and paired speeds of those versions"
	@echo "  make openvino      the same for OpenVINO's build of ONNX Runtime"
	@echo "  make gpu           all checks that need a GPU, within 15 minutes: docs/gpu.md"
	@echo "  make kit MODEL=resnet18 OUT=kit.zip   what another machine needs to be judged here"
	@echo "Time"
	@echo "  make bench         native beside ONNX Runtime at batch 1, 4, 8, 16 (8 min)"
	@echo "  make gate BASELINE=DIR   is today's conversion worse than the one kept by --save-onnx?"
	@echo "Tools"
	@echo "  make convert MODEL=resnet18 OPSET=18 OUT=models/resnet18.onnx   export, check, keep the file if it passes"
	@echo "  make compare IMAGE=dog.jpg   a photograph through the native model and ONNX Runtime"
	@echo "  make inspect ARTIFACT=FILE   what is in an ONNX file, and which provider runs its nodes"
	@echo "  make providers     which execution providers work here, and what to install for the others"
	@echo "  make doctor        what works here, what is missing, what clashes"
	@echo "  make clean         empty .conformance (cache, reports, repro bundles)"
	@echo "The suite itself"
	@echo "  make test          lint, its tests, then one small and one image model of each framework"
	@echo "  make quick         the unit tests alone: no framework, no whole run"
	@echo "  make coverage      how much of the library's code they run"
	@echo "  make lint          ruff, mypy, the direction of imports, spelling"
	@echo "  make docs          the documentation as a site: .conformance/docs/index.html"
	@echo "  make pictures      draw the pictures of README and docs anew"
	@echo "  make detection     how many wrong conversions it finds, beside other tools (20 min);"
	@echo "                     ARGS=--small: faults of sizes, state and boxes in small models"
	@echo "  make false-alarms  clean exports with fresh seeds: none may fail (10 min)"
	@echo "  make calibrate-budget PROVIDER=cuda   which factor do clean exports need there?"
	@echo "  make quantised-seeds   clean int8 files pass and spoiled ones fail, for 100 seeds (5 min)"
	@echo "  make wild          models and files of other people: is each verdict right?"
	@echo "  make localisation  how often the node that introduces an error is named correctly"
	@echo "  make gate-selftest the gate's error rates on this machine (30 min; N=200 for more)"
	@echo "  make overhead      its time compared with a bare script's, for MODEL and EXPORTER"

conformance: $(STAMP)
	$(TOOL) run $(HALF) $(call given,--model,MODEL) $(OWN) $(ARGS)

new-model: $(STAMP)
	@test -n "$(NAME)" || { echo "make new-model NAME=my_net [OUT=my_net.py]"; exit 2; }
	@$(TOOL) new-model '$(NAME)' $(if $(OUT),'$(OUT)')

bench: $(STAMP)
	$(TOOL) bench $(HALF) $(call given,--model,MODEL) $(OWN) $(ARGS)

# The `=` matters: pytest takes a folder that stands alone for the root of the tests.
gate: $(STAMP)
	@test -n "$(BASELINE)$(findstring --engine,$(ARGS))" || { echo "make gate BASELINE=DIR: the folder that --save-onnx kept (make conformance ARGS=--save-onnx=DIR)"; exit 2; }
	$(TOOL) gate $(HALF) $(if $(BASELINE),--gate=$(BASELINE)) $(OWN) $(ARGS)

gate-selftest: $(STAMP)
	$(BIN)/python -m studies.gate_error_rates $(if $(N),--n=$(N)) $(ARGS)

# Two processes: a file's tests share what they set up, so a file is not divided.
test: $(STAMP) lint
	$(PYTEST) tests/meta -n $(TEST_JOBS) --dist loadfile --no-loadscope-reorder
	$(TOOL) run $(HALF) $(addprefix --model=,$(TEST_MODELS)) $(ARGS)

# A worker on a host in another network, and links that are cut: both take root.
test-network: $(STAMP)
	$(PYTEST) tests/meta/run/test_remote_host.py -k "network or cut"

quick: $(STAMP)
	$(PYTEST) tests/meta -m "not slow" -q

# What the tests that start no worker cover of the judge's side.
coverage: $(STAMP) $(LINT_STAMP)
	$(PYTEST) tests/meta -m "not slow" -q --cov --cov-report=term

# Each is a hook of .pre-commit-config.yaml, too, so that versions are named in one place.
LINTERS := lint-ruff lint-format lint-mypy lint-imports lint-spelling
.PHONY: $(LINTERS)
lint: $(LINTERS)

lint-ruff: $(LINT_STAMP)
	$(BIN)/ruff check .

lint-format: $(LINT_STAMP)
	$(BIN)/ruff format --check .

lint-mypy: $(STAMP) $(LINT_STAMP)
	$(BIN)/mypy

lint-imports: $(LINT_STAMP)
	$(BIN)/lint-imports

lint-spelling: $(LINT_STAMP)
	$(BIN)/codespell

detection: $(STAMP)
	$(BIN)/python -m studies.detection $(ARGS)

false-alarms: $(STAMP)
	$(BIN)/python -m studies.false_alarms $(ARGS)

calibrate-budget: $(STAMP)
	$(BIN)/python -m studies.calibrate_budget $(or $(PROVIDER),cpu) $(if $(N),--n=$(N)) $(addprefix --variant=,$(VARIANT)) $(ARGS)

quantised-seeds: $(STAMP)
	$(BIN)/python -m studies.quantised_seeds $(if $(N),--n=$(N)) $(ARGS)

wild: $(STAMP)
	$(BIN)/python -m studies.wild $(ARGS)

localisation: $(STAMP)
	$(BIN)/python -m studies.localisation $(MODEL) $(EXPORTER) $(OPSET) $(ARGS)

overhead: $(STAMP)
	$(BIN)/python -m studies.overhead $(MODEL) $(EXPORTER)

# The site, with strict links: .conformance/docs/index.html. Its reference is written from the code.
docs: $(STAMP) $(DOCS_STAMP)
	$(BIN)/python docs/reference.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet
	@echo "documentation: .conformance/docs/index.html"

# Every picture of README and docs, from real runs and from the figures that the studies wrote.
pictures: $(STAMP)
	$(BIN)/python docs/images/concept.py
	$(BIN)/python docs/images/bars.py
	$(BIN)/python docs/images/terminal.py

install: $(STAMP)

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(None if (3, 11) <= sys.version_info < (3, 14) else "Python 3.11 to 3.13 is needed, this is %d.%d: make PYTHON=python3.11" % sys.version_info[:2])'
	$(PYTHON) -m venv $(VENV)

$(STAMP): pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing: $(GROUPS) (about two minutes and 7.5 GB for both frameworks)"
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt $(addprefix --group ,$(GROUPS))
	@touch $@

$(GPU_STAMP): pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group gpu
	@touch $@

$(DOCS_STAMP): pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group docs
	@touch $@

$(LINT_STAMP): pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group lint
	@touch $@

clean:
	rm -rf .conformance

# Everyday tools. `given` is a variable's option, where it was given on the command line or in the
# environment: the defaults above are of other targets.
.PHONY: convert compare inspect kit doctor gpu providers openvino versions variants
OUT ?=
VALIDATE ?=
WEIGHTS ?=
IMAGE ?=
ARTIFACT ?=
VARIANT ?=
BATCH ?=
ORT ?= 1.24.4
ANSWERS ?=
OPENVINO ?= 1.24.1
asked = $(filter-out undefined default file,$(origin $(1)))
given = $(if $(call asked,$(2)),'$(1)=$($(2))')
WEIGHTS_OPTION = $(if $(WEIGHTS),--weights=$(WEIGHTS))

convert: $(STAMP)
	@$(TOOL) convert '$(MODEL)' $(call given,--exporter,EXPORTER) $(call given,--opset,OPSET) $(call given,--variant,VARIANT) $(if $(OUT),'--out=$(OUT)') $(if $(filter no,$(VALIDATE)),--no-validate) $(WEIGHTS_OPTION) $(OWN) $(ARGS)

compare: $(STAMP)
	@test -n "$(IMAGE)" || { echo "make compare IMAGE=dog.jpg: the photograph to look at"; exit 2; }
	@$(TOOL) compare '$(IMAGE)' $(call given,--model,MODEL) $(call given,--exporter,EXPORTER) $(call given,--opset,OPSET) $(if $(ARTIFACT),'--artifact=$(ARTIFACT)') $(WEIGHTS_OPTION) $(OWN) $(ARGS)

inspect: $(STAMP)
	@test -n "$(ARTIFACT)" || { echo "make inspect ARTIFACT=model.onnx: the file to look into"; exit 2; }
	@$(TOOL) inspect '$(ARTIFACT)' $(ARGS)

# Everything that a run asks of ONNX Runtime, for a machine without a framework.
kit: $(STAMP)
	@$(TOOL) kit $(HALF) $(call given,--model,MODEL) $(call given,--exporter,EXPORTER) $(call given,--opset,OPSET) $(if $(OUT),'--out=$(OUT)') $(WEIGHTS_OPTION) $(OWN) $(ARGS)

doctor: $(STAMP)
	@$(TOOL) doctor $(ARGS)

# All checks that need a GPU, within a quarter of an hour: examples/gpu/check.sh says what.
gpu: $(STAMP) $(GPU_STAMP)
	@VENV='$(VENV)' examples/gpu/check.sh

providers: $(STAMP)
	@$(TOOL) providers $(ARGS)

variants: $(STAMP)
	@$(TOOL) variants '$(MODEL)' $(call given,--exporter,EXPORTER) $(call given,--opset,OPSET) $(addprefix --variant=,$(VARIANT)) $(addprefix --batch-size=,$(BATCH)) $(WEIGHTS_OPTION) $(OWN) $(ARGS)

# May we bump, or move? Certified and timed in an environment for each version or build, beside this
# one. ORT and OPENVINO, where both are given, share one table. ANSWERS="old=DIR new=DIR" compares what
# a kit's run.py wrote under two drivers.
OTHERS = $(TOOL) versions $(1) $(addprefix --batch-size=,$(BATCH)) $(HALF) $(call given,--model,MODEL) $(WEIGHTS_OPTION) $(OWN) $(ARGS)
OPENVINO_BUILD = openvino=onnxruntime-openvino==$(OPENVINO)

openvino: $(STAMP)
	@$(call OTHERS,$(if $(call asked,ORT),$(ORT)) $(OPENVINO_BUILD))

versions: $(STAMP)
	@test -n "$(strip $(ORT)$(ANSWERS))" || { echo 'make versions ORT="1.24.4 1.28.0": the versions of ONNX Runtime to look at'; exit 2; }
	@$(call OTHERS,$(if $(ANSWERS),$(addprefix --answers=,$(ANSWERS)),$(ORT) $(if $(call asked,OPENVINO),$(OPENVINO_BUILD))))
