"""Find, install and remove the packages that staging needs in Slicer's Python, without replacing installed ones.

Importing this module installs nothing. The panel asks before an installation; headless runs require an option for it.
The light installation stages by ONNX Runtime; the full one adds PyTorch, for GPUs and models without graphs. torch is
installed by the PyTorch extension, which chooses the build for the computer's GPU, or from a folder of wheels. Slicer
5.11 and newer install by `slicer.packaging.pip_ensure`, older ones by `slicer.util.pip_install`.
"""

import importlib
import importlib.metadata
import importlib.util
import json
import logging
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import slicer

from GTRStagingLib.errors import InputError
from GTRStagingSlicer.words import tr as _

try:
    from packaging.requirements import Requirement
except ImportError:  # Slicer 5.10 contains it only inside pip
    from pip._vendor.packaging.requirements import Requirement  # type: ignore[no-redef]

RESOURCES = Path(__file__).resolve().parents[1] / "Resources"
LIGHT, FULL = "requirements.txt", "requirements-full.txt"
REQUESTER = "GTR Staging"
PYTORCH_EXTENSION, PYTORCH_PAGE = "PyTorch", "https://github.com/fepegar/SlicerPyTorch"
INSTALLED = "GTRStaging-packages.json"
"""File beside Slicer's settings: the packages that this module has installed, with their versions."""

SLICERS_OWN = {"SimpleITK": "SimpleITK", "numpy": "numpy", "scipy": "scipy", "pillow": "PIL"}
"""Package -> module of Slicer's own packages: some builds of Slicer contain them without metadata for pip."""


class ExtensionMissingError(InputError):
    """Lack of the extension that installs PyTorch."""


def requirements(name: str = LIGHT) -> list[Requirement]:
    """Return the lines of a file of requirements, `LIGHT` or `FULL`."""
    lines = (line.partition("#")[0].strip() for line in (RESOURCES / name).read_text(encoding="utf-8").splitlines())
    return [Requirement(line) for line in lines if line]


def missing(*, full: bool = False) -> list[Requirement]:
    """Return the packages that are missing or too old; with `full` also PyTorch's."""
    wanted = requirements() + (requirements(FULL) if full else [])
    return [one for one in wanted if not _satisfied(one)]


def _satisfied(requirement: Requirement) -> bool:
    """Return whether a package is installed in a sufficient version."""
    found = _version(requirement.name)
    if found is None and requirement.name in SLICERS_OWN:
        return importlib.util.find_spec(SLICERS_OWN[requirement.name]) is not None
    return found is not None and requirement.specifier.contains(found, prereleases=True)


def _version(name: str) -> str | None:
    """Return the installed version of a package; None if it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def in_words(lacking: Sequence[Requirement]) -> str:
    """List the names, as in 'onnxruntime, jinja2'."""
    return ", ".join(one.name for one in lacking)


def question(lacking: Sequence[Requirement], wheels: Path | None = None) -> str:
    """Return the question that the panel asks before an installation."""
    source = _("from the internet") if wheels is None else _("from {folder}").format(folder=wheels)
    size = (
        _("PyTorch is large (up to 3 GB) and takes some minutes.")
        if any(one.name == "torch" for one in lacking)
        else _("They are about 60 MB.")
    )
    return _(
        "GTR Staging needs packages that are missing in Slicer's Python: {names}.\n\nInstall them {source}? {size} "
        "Slicer's own packages are not replaced."
    ).format(names=in_words(lacking), source=source, size=size)


def install(wheels: Path | None = None, *, full: bool = False) -> None:
    """Install the missing packages; the caller has asked the user before.

    Parameters
    ----------
    wheels
        Folder of wheels, for a computer without network; then no other source is used.
    full
        Also install PyTorch.

    Raises
    ------
    ExtensionMissingError
        If the PyTorch extension is missing; nothing else is installed then.
    InputError
        If pip fails, or a package is still missing afterwards.
    """
    lacking = missing(full=full)
    if not lacking:
        return
    _refuse_replacing(lacking)
    of_pytorch = {one.name for one in requirements(FULL)}
    torch = [one for one in lacking if one.name in of_pytorch]
    # If only torchvision is missing, pip finds the version for the installed torch, which is pinned like all others.
    by_extension = wheels is None and any(one.name == "torch" for one in torch)
    before = _installed_versions()
    try:
        if by_extension:
            _install_torch()
        if rest := [one for one in lacking if not (by_extension and one in torch)]:
            _pip(rest, wheels)
    finally:  # also what was installed before an error can be removed
        importlib.invalidate_caches()
        _note({name: found for name, found in _installed_versions().items() if name not in before})
    if still := missing(full=full):
        raise InputError(
            _("The packages {names} are still missing after the installation. Restart Slicer and try again; if the "
              "error persists, see the log (Help, Report a Bug).").format(names=in_words(still))
        )  # fmt: skip


def removable() -> list[str]:
    """Return the packages that this module has installed and that are still there in the same version."""
    found = _installed_versions()
    return sorted(name for name, version in _noted().items() if found.get(name) == version)


def remove() -> list[str]:
    """Remove the packages that this module has installed, and return their names; the caller has asked before.

    Raises
    ------
    InputError
        If pip fails.
    """
    names = removable()
    if names:
        try:
            slicer.util.pip_uninstall(" ".join(names))
        except Exception as error:  # CalledProcessError, and other errors of a dialog
            logging.info("pip failed", exc_info=True)
            raise InputError(
                _("The packages {names} could not be removed ({error}); expected pip to remove them. Restart Slicer "
                  "and try again before a case is staged.").format(names=", ".join(names), error=error)
            ) from error  # fmt: skip
        importlib.invalidate_caches()
    if (record := _record()) is not None:
        record.unlink(missing_ok=True)
    return names


def install_extension() -> None:
    """Install the extension PyTorch from the Extensions Server; Slicer must restart before it can be used.

    Raises
    ------
    InputError
        If it cannot be installed.
    """
    manager = slicer.app.extensionsManagerModel()
    asked = manager.interactive
    manager.interactive = False  # the caller has asked
    try:
        done = manager.installExtensionFromServer(PYTORCH_EXTENSION, False)
    finally:
        manager.interactive = asked
    if not done:
        raise InputError(
            _("The extension “PyTorch” could not be installed. Check the network, install it in the Extensions Manager "
              "({link}), or install from a folder of wheels.").format(link=PYTORCH_PAGE)
        )  # fmt: skip


def _record() -> Path | None:
    """Return the file of what was installed; None in a headless run, which has no settings."""
    app = getattr(slicer, "app", None)
    return None if app is None else Path(app.slicerUserSettingsFilePath).with_name(INSTALLED)


def _noted() -> dict[str, str]:
    record = _record()
    if record is None:
        return {}
    try:
        found = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # nothing was installed, or the file is damaged: then nothing is removed
        return {}
    return {str(k): str(v) for k, v in found.items()} if isinstance(found, dict) else {}


def _note(added: dict[str, str]) -> None:
    """Add packages to the record of what was installed."""
    record = _record()
    if added and record is not None:
        record.write_text(json.dumps({**_noted(), **added}, indent=2), encoding="utf-8")


def _installed_versions() -> dict[str, str]:
    return {d.metadata["Name"]: d.version for d in importlib.metadata.distributions() if d.metadata["Name"]}


def _refuse_replacing(lacking: Sequence[Requirement]) -> None:
    """Raise `InputError` if a package is installed but too old: it is never replaced."""
    old = [f"{one.name} {_version(one.name)}" for one in lacking if _version(one.name) is not None]
    if old:
        wanted = ", ".join(str(one) for one in lacking if _version(one.name) is not None)
        raise InputError(
            _("Slicer's Python contains {old}; expected {wanted}. GTR Staging replaces no installed package. Update it "
              "yourself, or use a newer Slicer.").format(old=", ".join(old), wanted=wanted)
        )  # fmt: skip


def _install_torch() -> None:
    """Install torch and torchvision with the PyTorch extension."""
    try:
        from PyTorchUtils import PyTorchUtilsLogic
    except ModuleNotFoundError as error:
        raise ExtensionMissingError(
            _("PyTorch is missing, and the PyTorch extension, which would install it, is missing too. Install the "
              "extension “PyTorch” in the Extensions Manager ({link}), restart Slicer, and try again. Without "
              "network, install from a folder of wheels.").format(link=PYTORCH_PAGE)
        ) from error  # fmt: skip
    wanted = {one.name: str(one.specifier) for one in requirements(FULL)}
    installed = PyTorchUtilsLogic().installTorch(
        askConfirmation=False,
        torchVersionRequirement=wanted["torch"],
        torchvisionVersionRequirement=wanted["torchvision"],
    )
    if installed is None:
        raise InputError(
            _("PyTorch was not installed. Install it in the module PyTorch Utils, which reports the error.")
        )


def _pip(wanted: Sequence[Requirement], wheels: Path | None) -> None:
    """Run pip with all installed packages pinned to their versions."""
    with tempfile.TemporaryDirectory() as folder:
        constraints = Path(folder) / "installed.txt"
        constraints.write_text("\n".join(_pinned(wanted)) + "\n", encoding="utf-8")
        try:
            _pip_install([str(one) for one in wanted], constraints, wheels)
        except Exception as error:  # CalledProcessError in every version, and other errors of a dialog
            logging.info("pip failed", exc_info=True)
            where = _("the network") if wheels is None else str(wheels)
            reason = f"pip: {error.returncode}" if isinstance(error, subprocess.CalledProcessError) else str(error)
            raise InputError(
                _("The packages could not be installed from {where} ({reason}); expected a wheel of each of them. "
                  "Check {where}, then try again; the log (Help, Report a Bug) contains pip's output.")
                .format(where=where, reason=reason)
            ) from error  # fmt: skip


def _pip_install(wanted: list[str], constraints: Path, wheels: Path | None) -> None:
    """Call the pip of the Slicer that runs."""
    source = [] if wheels is None else ["--no-index", "--find-links", str(wheels)]
    try:
        from slicer import packaging
    except ImportError:  # Slicer 5.10
        slicer.util.pip_install(["-c", str(constraints), *source, *wanted])
        return
    if wheels is None:  # offers to restart, if a package was in use
        packaging.pip_ensure(wanted, constraints=constraints, prompt_install=False, requester=REQUESTER)
    else:  # `pip_ensure` accepts no options of pip
        packaging.pip_install([*source, *wanted], constraints=constraints, requester=REQUESTER)


def _pinned(wanted: Sequence[Requirement]) -> list[str]:
    """Return a constraint for each installed package that is not wanted."""
    names = {one.name.lower() for one in wanted}
    return sorted(f"{name}=={version}" for name, version in _installed_versions().items() if name.lower() not in names)
