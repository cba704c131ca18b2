"""Packages in Slicer's Python: which are missing, the arguments of pip, and that no installed one is replaced."""

import importlib.metadata
import subprocess
import sys

import pytest
import standin
from GTRStagingSlicer import dependencies

from GTRStagingLib.errors import InputError


@pytest.fixture
def lacking(monkeypatch):
    """A Slicer that lacks these packages, until somebody installs them."""
    state = {"names": ()}
    real = dependencies._version

    def version(name):
        return None if name in state["names"] else real(name)

    monkeypatch.setattr(dependencies, "_version", version)

    def of(*names):
        state["names"] = names

    return of


@pytest.fixture
def pip(desk, monkeypatch, lacking):
    """Let what is asked of Slicer's pip succeed, and give what it was asked."""
    import slicer.packaging

    for name in ("pip_install", "pip_ensure"):
        real = getattr(slicer.packaging, name)

        def succeed(*arguments, real=real, **options):
            real(*arguments, **options)
            lacking()

        monkeypatch.setattr(slicer.packaging, name, succeed)
    return desk.record.installed


def test_here_nothing_is_missing():
    assert dependencies.missing(full=True) == []


def test_what_is_missing_or_too_old_is_named(lacking, monkeypatch):
    lacking("jinja2", "torch", "onnxruntime")
    assert dependencies.in_words(dependencies.missing()) == "onnxruntime, jinja2"
    assert dependencies.in_words(dependencies.missing(full=True)) == "onnxruntime, jinja2, torch"
    lacking()
    monkeypatch.setattr(dependencies, "_version", lambda name: "0.0.1")
    assert "numpy" in dependencies.in_words(dependencies.missing())


def test_what_slicer_built_without_a_record_for_pip_is_not_installed_again(lacking):
    lacking("SimpleITK", "numpy", "scipy", "pillow")
    assert dependencies.missing() == []


def test_torch_comes_through_its_extension_or_the_error_says_how(lacking):
    lacking("torch", "torchvision")
    with pytest.raises(InputError, match=r"Install the extension “PyTorch” .*SlicerPyTorch.*folder of wheels"):
        dependencies.install(full=True)


def test_the_extension_is_asked_for_the_versions_that_are_needed(desk, lacking, monkeypatch):
    asked = {}

    class PyTorchUtilsLogic:
        def installTorch(self, **options):  # noqa: N802
            asked.update(options)
            lacking()
            return object()

    module = type(sys)("PyTorchUtils")
    module.PyTorchUtilsLogic = PyTorchUtilsLogic
    monkeypatch.setitem(sys.modules, "PyTorchUtils", module)
    lacking("torch", "torchvision")
    dependencies.install(full=True)
    assert asked == {
        "askConfirmation": False, "torchVersionRequirement": ">=2.6", "torchvisionVersionRequirement": ">=0.21"
    }  # fmt: skip
    assert desk.record.installed == []


def test_the_light_installation_is_by_pip_ensure_with_everything_pinned(pip, lacking):
    lacking("onnxruntime", "jinja2", "torch")
    dependencies.install()
    (call,) = pip
    assert call["requirements"] == ["onnxruntime>=1.20", "jinja2>=3.1"]
    assert (call["prompt_install"], call["requester"]) == (False, "GTR Staging")
    pins = call["constraints_text"].splitlines()
    assert f"numpy=={importlib.metadata.version('numpy')}" in pins
    assert not any(pin.lower().startswith(("jinja2==", "onnxruntime==")) for pin in pins)


def test_from_a_folder_of_wheels_pip_takes_no_other_source(pip, lacking, tmp_path):
    lacking("jinja2", "torch")
    dependencies.install(tmp_path, full=True)
    (call,) = pip
    assert call["requirements"] == ["--no-index", "--find-links", str(tmp_path), "jinja2>=3.1", "torch>=2.6"]


# -- removing --------------------------------------------------------------------------------------------------------


def test_what_was_installed_can_be_removed_and_nothing_else(desk, pip, lacking, monkeypatch):
    real = dependencies._installed_versions()
    found = [dict(real), {**real, "onnxruntime-fake": "1.0", "flatbuffers-fake": "2.0"}]
    monkeypatch.setattr(dependencies, "_installed_versions", lambda: found[0] if not pip else found[1])
    assert dependencies.removable() == []
    lacking("onnxruntime")
    dependencies.install()
    assert dependencies.removable() == ["flatbuffers-fake", "onnxruntime-fake"]
    found[1] = {**found[1], "flatbuffers-fake": "3.0"}  # another extension has replaced it since
    assert dependencies.remove() == ["onnxruntime-fake"]
    assert desk.record.uninstalled == ["onnxruntime-fake"]
    assert dependencies.removable() == []


def test_the_panel_offers_the_extension_and_a_restart(desk, panel, lacking):
    lacking("torch", "torchvision")
    panel.exit(), panel.enter()
    assert (panel.ui.installButton.visible, panel.ui.fullButton.visible) == (False, True)
    panel.ui.fullButton.click()
    asked = [one.text for one in desk.record.shown if one.kind == "confirm"]
    assert len(asked) == 3
    assert "up to 3 GB" in asked[0]
    assert "extension “PyTorch”" in asked[1]
    assert "Restart Slicer now?" in asked[2]
    assert desk.record.extensions == [("PyTorch", False, False)]
    assert desk.record.restarts == [True]


def test_declining_the_extension_installs_nothing(desk, panel, lacking):
    lacking("torch", "torchvision")
    desk.record.confirm = False
    panel.ui.fullButton.click()
    assert desk.record.extensions == desk.record.restarts == desk.record.installed == []


def test_a_light_installation_is_enough_to_stage(desk, panel, lacking):
    lacking("torch", "torchvision")
    panel.exit(), panel.enter()
    assert panel.packages.ensure()
    assert panel.ui.dependenciesLabel.text == "light installation"
    assert desk.record.shown == []


def test_the_panel_removes_after_asking(desk, panel, monkeypatch):
    monkeypatch.setattr(dependencies, "removable", lambda: ["onnxruntime"])
    panel.exit(), panel.enter()
    panel.ui.removeButton.click()
    assert desk.record.uninstalled == ["onnxruntime"]
    assert desk.record.restarts == [True]


def test_an_extension_that_cannot_be_installed_is_an_error(desk):
    desk.record.confirm = False
    with pytest.raises(InputError, match="could not be installed.*folder of wheels"):
        dependencies.install_extension()


def test_an_old_package_is_not_replaced(lacking, monkeypatch):
    real = dependencies._version
    monkeypatch.setattr(dependencies, "_version", lambda name: "1.0" if name == "numpy" else real(name))
    with pytest.raises(InputError, match=r"contains numpy 1\.0; expected numpy>=1\.26.*replaces no installed package"):
        dependencies.install()


def test_on_slicer_5_10_pip_is_called_the_old_way(bare, lacking, monkeypatch):
    import slicer.util

    made = standin.install(bare, version="5.10")
    try:
        calls = []
        monkeypatch.setattr(slicer.util, "pip_install", lambda arguments: (calls.append(arguments), lacking()))
        lacking("jinja2")
        dependencies.install()
        ((option, _path, package),) = calls
        assert (option, package) == ("-c", "jinja2>=3.1")
    finally:
        made.uninstall()


def test_a_failure_of_pip_is_an_error_with_a_remedy(desk, lacking, monkeypatch, tmp_path):
    import slicer.packaging

    def pip_install(*arguments, **options):
        raise subprocess.CalledProcessError(1, "pip")

    monkeypatch.setattr(slicer.packaging, "pip_install", pip_install)
    lacking("jinja2")
    with pytest.raises(InputError, match=rf"from {tmp_path} \(pip: 1\); expected a wheel of each of them"):
        dependencies.install(tmp_path)


def test_a_package_that_is_still_missing_is_an_error(desk, lacking):
    lacking("jinja2")
    with pytest.raises(InputError, match="packages jinja2 are still missing after the installation.*Restart Slicer"):
        dependencies.install()
