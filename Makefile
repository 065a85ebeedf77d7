# Needs make and Python 3.11 or newer, nothing else. `make help` lists the commands.
PYTHON  ?= python3
WORKERS ?= 2
FLAGS   ?=
PAGES   ?=
ARGS    ?=
bin := .venv/bin
export PYTHON

.DEFAULT_GOAL := help
.PHONY: help demo demo-lm test test-ui test-processors faults fuzz coverage gpu lab pages readme export clean base gguf dev

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' Makefile
	@echo
	@echo "  PYTHON=python3.12       the Python that makes .venv, when there is none yet"
	@echo "  SPREC_DATA=folder       where raw data lie, for the pages that read them"

demo: base ## the main job, embedded and offline (ARGS="--help" for its options)
	$(bin)/sprec demo $(ARGS)

demo-lm: gguf ## the same with a pretrained model, SmolLM2-135M, on MovieLens, which takes much longer
	$(bin)/sprec model smollm2 && $(bin)/sprec demo --model smollm2 $(ARGS)

test: dev ## every check (WORKERS=4 pages at a time; FLAGS=slow adds the slow cells)
	@$(bin)/python .ci/check.py --workers $(WORKERS) --flags "$(FLAGS)"

test-ui: dev ## move every control in a real browser (needs Chromium and its driver; ARGS="--shots FOLDER")
	@$(bin)/pip install -q selenium
	@$(bin)/python .ci/ui.py $(ARGS)

test-processors: dev ## every page with each instruction set this processor has, one thread and two (PAGES="20_sft" for some)
	@$(bin)/python .ci/processors.py --workers $(WORKERS) $(ARGS) $(PAGES)

faults: dev ## kill, starve and damage a short run (ARGS="--points 60" for more)
	@$(bin)/python .ci/faults.py --workers $(WORKERS) $(ARGS)

fuzz: dev ## feed every reader with damaged files (ARGS="--seconds 600" for longer; uses atheris where it is installed)
	@$(bin)/python .ci/fuzz.py $(ARGS)

coverage: dev ## which lines of sprec/ the pages run (PAGES="20_sft" for some)
	@$(bin)/python .ci/cover.py --workers $(WORKERS) $(PAGES)

gpu: ## on a CUDA card: checks, then rows of a pretrained model (ARGS="--model FOLDER"; in the Python of PYTHON, no network)
	@$(PYTHON) .ci/gpu.py $(ARGS)

lab: dev ## JupyterLab on nbs/ (ARGS for its options)
	$(bin)/jupyter lab --notebook-dir=nbs $(ARGS)

pages: dev ## run every page in place, store outputs, clean, export, README (PAGES="10_data" for some)
	@$(bin)/python .ci/pages.py $(PAGES)
	@$(MAKE) --no-print-directory clean export readme

export: dev ## write sprec/ from the notebooks
	$(bin)/nbdev_export

clean: dev ## strip execution counts and metadata from the notebooks
	$(bin)/nbdev_clean

readme: dev ## write README.md and its figures from nbs/index.ipynb
	@$(bin)/python .ci/readme.py

base:
	@.ci/env.sh base

gguf:
	@.ci/env.sh gguf

dev:
	@.ci/env.sh dev
