# `make demo` and `make test` are all that a newcomer needs: each sets itself up in .venv. `make smoke` follows the main
# path alone, in less than a minute.

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || echo python3)
VENV := .venv
BIN := $(VENV)/bin
JOBS ?= 2

# A file's tests stay in one process, so that what they share is made once.
PYTEST := $(BIN)/python -m pytest -n $(JOBS) --dist loadfile

.PHONY: demo smoke test test-slow test-all fuzz coverage check docs pictures package bench qt-libraries dicom-programs clean

# One phantom, of a scanner and a patient that training never saw, staged with the model that learned on others.
demo: $(VENV)/.cli
	rm -rf demo
	$(BIN)/gtrstaging phantom --stage T3 --seed 3 --scanner C --out demo/phantom
	$(BIN)/gtrstaging stage demo/phantom/ct --segmentation demo/phantom/tumour_seg.dcm --segment tumour \
		--model demonstration --out demo/result

# From a phantom to a report, a small batch, an evaluation, a vote, the readers; no page, hence no browser. Files without
# such tests are not even imported.
smoke: $(VENV)/.dev $(VENV)/.qt
	$(PYTEST) -m "smoke and not slow" $$(grep -rl --include="test_*.py" "mark\.smoke" Testing)

# For every save: five minutes of processor time, shared by JOBS processes.
test: $(VENV)/.dev $(VENV)/.qt $(VENV)/.browser $(VENV)/.archive
	$(PYTEST) -m "not slow"

# Slow tests share little: each goes to the process that is free.
test-slow: $(VENV)/.dev $(VENV)/.qt $(VENV)/.browser $(VENV)/.archive
	$(BIN)/python -m pytest -n $(JOBS) -m slow

# What the continuous integration runs: the slow tests as well.
test-all: $(VENV)/.dev $(VENV)/.qt $(VENV)/.browser $(VENV)/.archive
	$(PYTEST)

# Altered files by the thousand, read by the library and by independent readers; prints a table. About twenty minutes.
fuzz: $(VENV)/.dev
	cd Testing && ../$(BIN)/python -m fuzz --jobs $(JOBS)

# The quick tests again, with the share of the code that they run; it must not fall below the floor in pyproject.toml.
coverage: $(VENV)/.dev $(VENV)/.qt $(VENV)/.browser $(VENV)/.archive
	$(PYTEST) -m "not slow" --cov --cov-report=term:skip-covered --cov-report=html:build/coverage

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The documentation as a site; a warning is an error.
docs: $(VENV)/.dev
	$(BIN)/sphinx-build --fail-on-warning --keep-going --quiet docs build/docs
	@echo "Open build/docs/index.html"

# The pictures of README and docs, from phantoms and the model that is shipped: about three minutes.
pictures: $(VENV)/.dev $(VENV)/.qt $(VENV)/.browser
	$(BIN)/python docs/pictures/draw.py

# The wheel and the sdist, in dist/.
package: $(VENV)/.dev
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/twine check --strict dist/*

bench: $(VENV)/.dev
	$(BIN)/python benchmarks/latency.py

clean:
	rm -rf $(VENV) demo build dist *.egg-info

# pip, not uv: it is there wherever Python is. `make demo` needs no PyTorch; the tests need it, and two minutes for it.
$(VENV)/.cli: pyproject.toml | $(VENV)/.made
	$(BIN)/pip install --quiet --disable-pip-version-check --editable ".[cli]"
	touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/.made
	$(BIN)/pip install --quiet --disable-pip-version-check --editable ".[dev]"
	touch $@ $(VENV)/.cli

# The panel is tested on Qt without a screen, which needs some of the system's libraries all the same.
QT_LIBRARIES := libegl1 libgl1 libxkbcommon0 libfontconfig1 libdbus-1-3 libglib2.0-0 fonts-dejavu-core

# For those who install them by themselves: sudo apt-get install $$(make -s qt-libraries)
qt-libraries:
	@echo $(QT_LIBRARIES)

$(VENV)/.qt: $(VENV)/.dev
	@QT_QPA_PLATFORM=offscreen $(BIN)/python -c "import PySide6.QtWidgets, vtk" 2>/dev/null || { \
		echo "Qt's system libraries are missing; installing $(QT_LIBRARIES) (needs root)."; \
		apt-get update -qq && apt-get install -y -qq $(QT_LIBRARIES) \
		&& QT_QPA_PLATFORM=offscreen $(BIN)/python -c "import PySide6.QtWidgets, vtk"; } || { \
		echo "The panel's tests need Qt's system libraries. On Debian: sudo apt-get install $(QT_LIBRARIES)"; \
		exit 1; }
	touch $@

# Pages are tested in the system's own Chromium or Chrome; CHROME says where another one is.
BROWSERS := $$CHROME chromium google-chrome chromium-browser google-chrome-stable

$(VENV)/.browser: $(VENV)/.dev
	@for name in $(BROWSERS); do command -v $$name >/dev/null && exit 0; done; \
		echo "No browser was found; installing chromium (needs root)."; \
		apt-get update -qq && apt-get install -y -qq chromium || { \
		echo "Tests of the pages need a browser. On Debian: sudo apt-get install chromium, or set CHROME."; \
		[ -z "$$CI" ] || exit 1; echo "Without one they are skipped."; }
	touch $@

# A real archive for the tests of the room archive, Orthanc with its plug-in for DICOMweb; and the validators dciodvfy and
# dcentvfy for the objects that are written.
DICOM_PROGRAMS := orthanc orthanc-dicomweb dicom3tools

dicom-programs:
	@echo $(DICOM_PROGRAMS)

$(VENV)/.archive: $(VENV)/.dev
	@ls /usr/share/orthanc/plugins/libOrthancDicomWeb.so >/dev/null 2>&1 && command -v dciodvfy >/dev/null && exit 0; \
		echo "Orthanc or dciodvfy was not found; installing $(DICOM_PROGRAMS) (needs root)."; \
		apt-get update -qq && apt-get install -y -qq $(DICOM_PROGRAMS) || { \
		echo "Tests of DICOM results need them. On Debian: sudo apt-get install $(DICOM_PROGRAMS)"; \
		[ -z "$$CI" ] || exit 1; echo "Without it they are skipped."; }
	touch $@

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; assert (3, 11) <= sys.version_info[:2] <= (3, 13), sys.version' 2>/dev/null || { \
		echo "Python 3.11, 3.12 or 3.13 is needed, and $(PYTHON) is not one of them."; \
		echo "On Debian: apt-get install python3 python3-venv; or say where it is: make PYTHON=/path/to/python3.12"; \
		exit 1; }
	@$(PYTHON) -m venv $(VENV) || { \
		echo "Python's venv module is missing; installing Debian's python3-venv (needs root)."; \
		rm -rf $(VENV) && apt-get update -qq && apt-get install -y -qq python3-venv && $(PYTHON) -m venv $(VENV); } || { \
		echo "No virtual environment could be made. On Debian: sudo apt-get install python3-venv, then again."; \
		rm -rf $(VENV); exit 1; }
	touch $@
