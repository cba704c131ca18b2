"""Packages in Slicer's Python: which are missing, the arguments of pip, and that no installed one is replaced."""

import importlib.metadata
import subprocess
import sys

import pytest
import standin
from GTRStagingSlicer import dependencies
from packaging.requirements import Requirement

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


def installed(desk, monkeypatch, lacking):
    """Let what is asked of pip succeed, and give what it was asked."""
    import slicer.packaging

    real = slicer.packaging.pip_install

    def pip_install(*arguments, **options):
        real(*arguments, **options)
        lacking()

    monkeypatch.setattr(slicer.packaging, "pip_install", pip_install)
    return desk.record.installed


def test_here_nothing_is_missing():
    assert dependencies.missing() == []


def test_what_is_missing_or_too_old_is_named(lacking, monkeypatch):
    lacking("jinja2", "torch", "grad-cam", "ttach")
    assert dependencies.in_words(dependencies.missing()) == "torch, grad-cam, jinja2, ttach"
    lacking()
    monkeypatch.setattr(dependencies, "_version", lambda name: "0.0.1")
    assert "numpy" in dependencies.in_words(dependencies.missing())


def test_what_slicer_built_without_a_record_for_pip_is_not_installed_again(lacking):
    lacking("SimpleITK", "numpy", "scipy", "pillow")
    assert dependencies.missing() == []


def test_torch_comes_through_its_extension_or_the_error_says_how(lacking):
    lacking("torch", "torchvision")
    with pytest.raises(InputError, match=r"Install the extension “PyTorch” .*SlicerPyTorch.*folder of wheels"):
        dependencies.install()


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
    dependencies.install()
    assert asked == {
        "askConfirmation": False, "torchVersionRequirement": ">=2.6", "torchvisionVersionRequirement": ">=0.21"
    }  # fmt: skip
    assert desk.record.installed == []


def test_everything_installed_is_pinned_and_grad_cam_comes_alone(desk, lacking, monkeypatch, tmp_path):
    calls = installed(desk, monkeypatch, lacking)
    lacking("grad-cam", "jinja2", "torch")
    real = dependencies.missing
    seen = []

    def missing():  # until the second call of pip, nothing is there
        seen.append(1)
        return real() if len(seen) > 1 else [Requirement(n) for n in ("torch", "grad-cam", "jinja2")]

    monkeypatch.setattr(dependencies, "missing", missing)
    dependencies.install(tmp_path)
    first, second = calls
    assert first["requirements"] == ["--no-index", "--find-links", str(tmp_path), "--no-deps", "grad-cam"]
    assert second["requirements"] == ["--no-index", "--find-links", str(tmp_path), "torch", "jinja2"]
    for call in calls:
        pins = call["constraints_text"].splitlines()
        assert f"numpy=={importlib.metadata.version('numpy')}" in pins
        assert not any(pin.lower().startswith(("jinja2==", "torch==")) for pin in pins)


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
