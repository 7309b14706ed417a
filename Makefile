# Everything here makes its own virtual environment; PYTHON picks the interpreter.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
AS_ROOT = $(if $(filter 0,$(shell id -u)),,sudo)
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo docs test test-pi test-pi-trixie test-jetson test-engines test-pythons check format fuzz clean

demo: $(VENV)/demo  ## install, then train, bundle and deploy on real photos (under 10 minutes)
	$(BIN)/tofa-edge demo

test: export PYTHONDONTWRITEBYTECODE =  # Python is started hundreds of times
test: $(VENV)/dev  ## all tests: two at a time, then those that measure time
	$(BIN)/python -m pytest -m 'not quiet' -n 2 --dist loadscope
	$(BIN)/python -m pytest -m quiet

test-pi: $(VENV)/dev  ## install and deploy on an emulated Raspberry Pi 4 (kept in build/pi)
	$(BIN)/python -m tests.device.emulated.board pi $(MAY_SKIP)

test-pi-trixie: $(VENV)/dev  ## the same with Debian trixie and its Python 3.13
	$(BIN)/python -m tests.device.emulated.board pi-trixie $(MAY_SKIP)

test-jetson: $(VENV)/dev  ## the same as a Jetson Orin Nano, its processor alone
	$(BIN)/python -m tests.device.emulated.board jetson $(MAY_SKIP)

test-engines: $(VENV)/dev  ## engines on GPUs, in software: installs Mesa's Vulkan driver (lavapipe)
	ls /usr/share/vulkan/icd.d/lvp_icd*.json || $(AS_ROOT) apt-get install --yes mesa-vulkan-drivers libvulkan1
	TOFA_EDGE_SOFTWARE_GPU=1 $(BIN)/python -m pytest -m software_gpu -n 0 tests/conformance

test-pythons: $(VENV)/dev  ## every Python here beside the oldest and the newest of what is allowed
	$(BIN)/python -m tests.device.pythons $(PYTHONS)

check: $(VENV)/dev  ## format, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

docs: $(VENV)/dev  ## guides, commands and functions as a site to read from disk (site/index.html)
	$(BIN)/python -m mkdocs build --strict --quiet

format: $(VENV)/dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

fuzz: $(VENV)/dev  ## damaged bundles and photos, hostile bundles deployed, forged signatures, kills
	$(BIN)/python -m tests.fuzz.bundle --cases 20000
	$(BIN)/python -m tests.fuzz.photos --cases 20000
	$(BIN)/python -m tests.fuzz.deploy --cases 200
	$(BIN)/python -m tests.fuzz.killed --kills 50
	$(BIN)/python -m tests.fuzz.envelopes --cases 10000
	$(BIN)/python -m tests.fuzz.install_killed --kills 50

$(VENV)/demo: setup.cfg constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) -e '.[demo]'
	touch $@

$(VENV)/dev: setup.cfg constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) -e '.[dev]'
	$(INSTALL) --no-deps ofa tensorrt-stubs
	touch $@

clean:
	rm -rf $(VENV) build dist site *.egg-info demo
