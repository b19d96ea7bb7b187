# make demo [BUNDLE=kinematic] | make test | make thorough | make faults | make build | make lint
# Without a sourced ROS 2, everything (ROS 2 wheels included) is installed into .venv and nowhere else.
# With a sourced ROS 2, .venv sees the distribution's packages and the build goes to install/.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DELETE_ON_ERROR:
PYTHON ?= python3
VENV := $(CURDIR)/.venv
BUNDLE ?= models/ar1_nano@graphed
# Test workers, one more than two cores have: nodes wait for one another. 0: no second one. Nodes that are timed are tested after
# everything else, one at a time.
JOBS ?= 3
LINT := .venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/mypy alpamayo_ros
COLCON := colcon --log-base log build --cmake-args -DPython3_EXECUTABLE=$(VENV)/bin/python -DPython3_FIND_VIRTUALENV=ONLY --no-warn-unused-cli

ifdef ROS_DISTRO
VENV_FLAGS := --system-site-packages
ROS := $(ROS_DISTRO)
RUN := . install/setup.bash &&
BUILD := $(COLCON) --symlink-install
else
VENV_FLAGS :=
ROS := wheels
RUN :=
# Installed into the environment itself, so that .venv/bin/alpamayo needs no sourcing.
BUILD := export AMENT_PREFIX_PATH=$(VENV) CMAKE_PREFIX_PATH=$(VENV) PATH=$(VENV)/bin:$$PATH; \
  $(COLCON) --symlink-install --merge-install --install-base $(VENV)
endif

.PHONY: build demo test thorough gpu-test faults mutants fuzz lock sbom lint bench clean
build: .venv/built

.venv/environment: requirements.txt wheels/requirements.txt wheels/patch_cmake_exports.sh
	@echo "== .venv: ROS 2 ($(ROS)) and pinned dependencies"
	test -x .venv/bin/python || $(PYTHON) -m venv $(VENV_FLAGS) .venv
	.venv/bin/pip install --quiet --disable-pip-version-check -r requirements.txt $(if $(filter wheels,$(ROS)),-r wheels/requirements.txt)
	$(if $(filter wheels,$(ROS)),wheels/patch_cmake_exports.sh $(VENV))
	touch $@

.venv/tf2_msgs: .venv/environment wheels/tf2_msgs/package.xml wheels/tf2_msgs/CMakeLists.txt wheels/tf2_msgs/msg/TFMessage.msg
	@.venv/bin/python -c 'import tf2_msgs.msg' 2>/dev/null || { $(BUILD) --base-paths wheels/tf2_msgs --build-base build; }
	touch $@

SOURCES := CMakeLists.txt package.xml $(wildcard cmake/* msg/*) $(shell find alpamayo_ros config launch models -type f -not -name '*.pyc')
.venv/built: .venv/tf2_msgs $(SOURCES)
	@echo "== build"
	$(BUILD) --base-paths . --build-base build
	touch $@

demo: build
	@$(RUN) .venv/bin/alpamayo demo --out out/demo --bundle $(BUNDLE)

test: build
	@status=0
	{ $(LINT); } & lint=$$!
	$(RUN) .venv/bin/pytest -n $(JOBS) --dist loadfile -m "(not ros or patient) and not thorough" || status=1
	wait $$lint || { status=1; echo "lint failed: its words are above" >&2; }
	$(RUN) .venv/bin/pytest -m "ros and not patient and not thorough" || status=1
	exit $$status

# The tests that `make test` leaves out for their length: whole trainings and data sets, conversions, films, several processes, Ray, a browser,
# ONNX of every part.
thorough: build
	@status=0
	$(RUN) .venv/bin/pytest -n $(JOBS) --dist loadfile -m "thorough and not ros" || status=1
	$(RUN) .venv/bin/pytest -m "thorough and ros" || status=1
	exit $$status

# The short fault campaign in two shards, each with nodes and a DDS domain of its own. A machine that has other things to do spoils
# some runs, by its own stalls: status 1 where more than one of ten is not as expected.
faults: build
	@rm -rf out/faults
	$(RUN) { .venv/bin/alpamayo faults --out out/faults --shard 1/2 > /dev/null & }
	$(RUN) .venv/bin/alpamayo faults --out out/faults --shard 2/2 > /dev/null
	wait $$!
	$(RUN) .venv/bin/alpamayo faults --out out/faults --merge --at-least 0.9

# For a machine with a GPU, ROS or not: CUDA graphs, FP8 and, where it is installed, TensorRT's plans of ar1_nano (and of GPU_BUNDLE=DIR)
# are built, held against the reference and timed as `alpamayo bench engine` does (out/gpu/NAME); the figures of docs/performance.md for
# a network of the released size with drawn weights; with GPU_REFERENCE=DIR, a clone of NVlabs/alpamayo, its pipeline's beside them.
# GPU_PYTHON: an interpreter that has requirements.txt but for ROS, and what that clone pins.
GPU_PYTHON ?= .venv/bin/python
gpu-test:
	mkdir -p out/gpu
	PYTHONPATH=. $(GPU_PYTHON) -m pytest -m gpu test/gpu -s -rs $(if $(GPU_BUNDLE),--bundle $(GPU_BUNDLE)) $(if $(GPU_REFERENCE),--reference $(GPU_REFERENCE))

# Changes safety/ in small ways and runs its tests against each, in a copy with an environment of its own (docs/mutants.md).
mutants:
	rm -rf out/mutants
	mkdir -p out/mutants/alpamayo_ros out/mutants/test
	cp alpamayo_ros/{__init__,types,geometry,dynamics}.py out/mutants/alpamayo_ros
	cp -r alpamayo_ros/safety alpamayo_ros/reasoning out/mutants/alpamayo_ros
	cp -r test/safety out/mutants/test
	cp test/mutants_conftest.py out/mutants/test/conftest.py
	cp pyproject.toml out/mutants
	$(PYTHON) -m venv out/mutants/.venv
	out/mutants/.venv/bin/pip install --quiet --disable-pip-version-check mutmut==3.8.1 $$(grep -oE '^(numpy|pytest|hypothesis)==[0-9.]+' requirements.txt | sort -u -t= -k1,1)
	cd out/mutants
	OPENBLAS_NUM_THREADS=1 .venv/bin/mutmut run --max-children $$(nproc)
	.venv/bin/mutmut results

# FUZZER: a Python with atheris that sees .venv (docs/fuzz.md).
fuzz:
	for target in image_gate messages navigation_text; do $(FUZZER) test/fuzz/fuzz.py $$target --runs $(or $(RUNS),1000000); done

# TOOLS: the folder, with its /, of an environment with uv and cyclonedx-bom; empty: on the path.
VEHICLE := numpy|opencv-python-headless|simplejpeg|rosbags|apsw|lz4|backports\.zstd|PyYAML|pydantic|tyro|rich|safetensors|tokenizers
lock:
	mkdir -p out
	head -5 requirements.lock > out/lock.head
	grep -E '^($(VEHICLE))==' requirements.txt | grep -v 'python_version < "3.11"' | $(TOOLS)uv pip compile --universal \
	  --python-version 3.11 --generate-hashes --no-annotate --no-header -q - -o out/lock.body
	sed 's/ *$$//' out/lock.body | cat out/lock.head - > requirements.lock

sbom:
	mkdir -p out
	$(TOOLS)cyclonedx-py requirements requirements.lock --output-reproducible --of JSON --sv 1.6 -o out/sbom.json
	$(PYTHON) cmake/sbom.py out/sbom.json docs/sbom.cdx.json

lint: build
	@$(LINT)

bench: build
	@$(RUN) .venv/bin/alpamayo bench ros

clean:
	rm -rf .venv build install log out
