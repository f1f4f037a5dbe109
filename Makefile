# The study in two commands: `make study` and `make test`. `make help` lists the rest.

PRESET ?= demo
FOLD   ?= 1
SEED   ?= 0
CORES  ?= all
DATA   ?=

VENV := .venv
RUN  := $(VENV)/bin/python
# Named after the pins, so that a changed lock installs again and an unchanged one costs nothing.
STAMP := $(VENV)/.installed-$(shell cat requirements.lock pyproject.toml | cksum | cut -d' ' -f1)

# Any path is passed on as it is, through the shell and through Snakemake, which strips quotes and reads YAML.
space       := $() $()
yaml_quoted  = $(space)'$(subst ','',$(1))'$(space)
shell_quoted = '$(subst ','\'',$(1))'

# Snakemake and Jupyter keep their own below HOME, which need not be a folder that may be written.
ifneq ($(shell test -w "$$HOME" && echo yes),yes)
export HOME := $(CURDIR)/.snakemake/home
$(shell mkdir -p "$(CURDIR)/.snakemake/home")
endif

SNAKEMAKE = $(RUN) -m snakemake --cores $(CORES) --rerun-incomplete --config preset=$(PRESET) \
	fold=$(FOLD) seed=$(SEED) $(if $(DATA),$(call shell_quoted,data_dir=$(call yaml_quoted,$(DATA))))

export PYTHONNOUSERSITE := 1
unexport PYTHONPATH

.DEFAULT_GOAL := help
.PHONY: help setup study plan book pdf test lint lab mutants bench bench-gpu cluster-test judge parity studio lock unlock clean distclean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo "  make study PRESET=demo|esc10|deep|wide|paper|ablate-steps|tiny  DATA=<folder with meta/ and audio/>"
	@echo "             FOLD=<held-out fold>  SEED=<training seed>  CORES=<how many>"

setup: $(STAMP) ## make .venv and install the pinned packages (the other commands do it too)

$(STAMP):
	@sh tools/set_up.sh
	@rm -f $(VENV)/.installed-*
	@touch $@

study: $(STAMP) ## run the whole study and build the book
	@$(SNAKEMAKE)
	@echo "The book: book/_build/html/index.html"

plan: $(STAMP) ## list what `make study` would run now
	@$(SNAKEMAKE) --dry-run

book: $(STAMP) ## build the book again (and first whatever it lacks)
	@$(SNAKEMAKE) --forcerun book -- book
	@echo "The book: book/_build/html/index.html"

pdf: book ## print the book: book/_build/envsound.pdf (needs Chromium)
	@$(RUN) -m envsound.book --pdf

test: $(STAMP) ## run the tests
	@$(RUN) -m pytest

lint: $(STAMP) ## check the code (ruff), the notebooks, and who imports whom
	@$(RUN) -m ruff check .
	@find notebooks -name '*.ipynb' -not -path '*/.ipynb_checkpoints/*' -exec $(RUN) -m nbstripout --verify {} +
	@$(RUN) -m pytest --quiet --durations=0 tests/test_notebooks.py tests/test_house.py
	@$(VENV)/bin/lint-imports --no-cache

lab: $(STAMP) ## open JupyterLab
	@$(RUN) -m jupyterlab $(if $(filter 0,$(shell id -u)),--allow-root)

mutants: $(STAMP) ## prove the tests: make each mistake of tests/mutations.yml, and see its test fail
	@$(RUN) tests/mutants.py

bench: $(STAMP) ## time the model beside soundstorm-pytorch (installed into .bench for this alone)
	@$(RUN) -m pip install --quiet --no-deps --upgrade --target .bench --requirement tools/bench_requirements.txt
	@$(VENV)/bin/envsound bench

bench-gpu: $(STAMP) ## the same on a GPU, and the study's own tokens there
	@$(RUN) -m pip install --quiet --no-deps --upgrade --target .bench --requirement tools/bench_requirements.txt
	@$(VENV)/bin/envsound bench model --device cuda --out data/runs/speed_gpu
	@$(VENV)/bin/envsound bench tokens --device cuda --out data/runs/speed_gpu

cluster-test: $(STAMP) ## run the preset tiny as jobs of a SLURM that is installed for it (as root, on Debian)
	@$(RUN) -c "import snakemake_executor_plugin_slurm" 2>/dev/null || \
		$(RUN) -m pip install --quiet --constraint requirements.lock -e ".[cluster]"
	@$(RUN) tests/cluster/run.py

judge: $(STAMP) ## install aiSFX, the network behind two judges of notebook 18, into .judge
	@$(RUN) -m pip install --quiet --no-deps --upgrade --target .judge --requirement tools/judge_requirements.txt

parity: $(STAMP) ## compare the language model with MusicGen's of transformers (installed into .parity for this alone)
	@$(RUN) -m pip install --quiet --no-deps --upgrade --target .parity --requirement tools/parity_requirements.txt
	@PYTHONPATH=.parity $(RUN) -c "import prodigyopt, transformers"
	@PYTHONPATH=.parity $(RUN) -m pytest tests/systems/test_language.py tests/systems/test_text.py \
		-k "transformers or prodigy or t5"

studio: $(STAMP) ## open a local page to make sounds with (installs Gradio the first time)
	@$(RUN) -c "import gradio" 2>/dev/null || $(RUN) -m pip install --quiet --constraint requirements.lock -e ".[studio]"
	@$(VENV)/bin/envsound studio

lock: ## pin the packages again (needs uv)
	@sh tools/lock.sh

unlock: $(STAMP) ## release the folder after a run that was killed
	@$(SNAKEMAKE) --unlock

clean: ## remove the built book and the tools' caches; keep runs, recordings and .venv
	rm -rf _build book/_build book/executed book/_static/audio book/_static/generated build src/*.egg-info
	rm -rf .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find src tests notebooks -name __pycache__ -o -name .ipynb_checkpoints | xargs rm -rf

distclean: clean ## remove the runs, the cached codes and .venv too; keep recordings
	rm -rf data/runs data/cache .snakemake .bench .judge .parity $(VENV)
