"""What the staging needs in Slicer's own Python: found, asked for once, installed without replacing anything.

Nothing is installed at import, and nothing without asking, except in headless runs that asked for it by an option.
torch comes through the PyTorch extension, which knows the computer's GPU, or from a folder of wheels.
"""

import importlib
import importlib.metadata
import importlib.util
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
except ImportError:  # Slicer 5.10 has it inside pip alone
    from pip._vendor.packaging.requirements import Requirement  # type: ignore[no-redef]

REQUIREMENTS = Path(__file__).resolve().parents[1] / "Resources" / "requirements.txt"
REQUESTER = "GTR Staging"
PYTORCH_EXTENSION = "https://github.com/fepegar/SlicerPyTorch"

TORCH = ("torch", "torchvision")
GRAD_CAM = "grad-cam"
GRAD_CAM_NEEDS = ("ttach", "tqdm", "matplotlib", "scikit-learn")
"""grad-cam is installed without its dependencies, and these beside it: it asks for opencv-python, whose own copy of Qt
clashes with Slicer's. The headless build has the same module, and is installed only where none is."""
OPENCV = "opencv-python-headless"

SLICERS_OWN = {"SimpleITK": "SimpleITK", "numpy": "numpy", "scipy": "scipy", "pillow": "PIL"}
"""What Slicer brings, and its modules: there even where a build of Slicer left no record of it for pip."""


def requirements() -> list[Requirement]:
    """The lines of `Resources/requirements.txt`."""
    lines = (line.partition("#")[0].strip() for line in REQUIREMENTS.read_text(encoding="utf-8").splitlines())
    return [Requirement(line) for line in lines if line]


def missing() -> list[Requirement]:
    """What is not installed, or too old; opencv too, where grad-cam would not find its module."""
    lacking = [one for one in requirements() if not _satisfied(one)]
    if importlib.util.find_spec("cv2") is None:
        lacking.append(Requirement(OPENCV))
    return lacking + [Requirement(name) for name in GRAD_CAM_NEEDS if not _satisfied(Requirement(name))
                      and name not in {one.name for one in lacking}]  # fmt: skip


def _satisfied(requirement: Requirement) -> bool:
    found = _version(requirement.name)
    if found is None and requirement.name in SLICERS_OWN:
        return importlib.util.find_spec(SLICERS_OWN[requirement.name]) is not None
    return found is not None and requirement.specifier.contains(found, prereleases=True)


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def in_words(lacking: Sequence[Requirement]) -> str:
    """As in 'torch, torchvision, grad-cam'."""
    return ", ".join(one.name for one in lacking)


def question(lacking: Sequence[Requirement], wheels: Path | None = None) -> str:
    """What is asked before anything is installed."""
    source = _("from the internet") if wheels is None else _("from {folder}").format(folder=wheels)
    return _(
        "GTR Staging needs packages that Slicer's Python does not have: {names}.\n\nInstall them {source}? PyTorch is "
        "large (up to 3 GB) and takes some minutes. Nothing that Slicer brings is replaced."
    ).format(names=in_words(lacking), source=source)


def install(wheels: Path | None = None) -> None:
    """Install what is missing, whoever calls having asked.

    Parameters
    ----------
    wheels
        A folder of wheels, for a computer without network: nothing is looked for elsewhere then.

    Raises
    ------
    InputError
        If the PyTorch extension is not there, pip fails, or something is still missing afterwards.
    """
    lacking = missing()
    if not lacking:
        return
    _refuse_replacing(lacking)
    torch = [one for one in lacking if one.name in TORCH]
    rest = [one for one in lacking if one.name not in (*TORCH, GRAD_CAM)]
    alone = [one for one in lacking if one.name == GRAD_CAM]
    # Where torch is there and torchvision is not, pip looks for the one that fits, with torch pinned like all the rest.
    if wheels is None and any(one.name == "torch" for one in torch):
        _install_torch()
        torch = []
    _pip([*torch, *rest], alone, wheels)
    importlib.invalidate_caches()
    if still := missing():
        raise InputError(
            _("After installing, {names} cannot be found; expected all packages. Restart Slicer and try again; if it "
              "persists, the log (Help, Report a Bug) says why.").format(names=in_words(still))
        )  # fmt: skip


def _refuse_replacing(lacking: Sequence[Requirement]) -> None:
    """A package that is there and too old stays: another Slicer brings a newer one."""
    old = [f"{one.name} {_version(one.name)}" for one in lacking if _version(one.name) is not None]
    if old:
        wanted = ", ".join(str(one) for one in lacking if _version(one.name) is not None)
        raise InputError(
            _("Slicer's Python has {old}; expected {wanted}. GTR Staging replaces nothing that is installed: update it "
              "yourself, or use a newer Slicer.").format(old=", ".join(old), wanted=wanted)
        )  # fmt: skip


def _install_torch() -> None:
    try:
        from PyTorchUtils import PyTorchUtilsLogic
    except ModuleNotFoundError as error:
        raise InputError(
            _("PyTorch is missing, and so is the PyTorch extension that installs it for this computer. Install the "
              "extension “PyTorch” in the Extensions Manager ({link}), restart Slicer, and press Apply again. Without "
              "network: install from a folder of wheels.").format(link=PYTORCH_EXTENSION)
        ) from error  # fmt: skip
    wanted = {one.name: str(one.specifier) for one in requirements() if one.name in TORCH}
    installed = PyTorchUtilsLogic().installTorch(
        askConfirmation=False,
        torchVersionRequirement=wanted["torch"],
        torchvisionVersionRequirement=wanted["torchvision"],
    )
    if installed is None:
        raise InputError(
            _("PyTorch was not installed; the module PyTorch Utils says why. Try it there, then again here.")
        )


def _pip(wanted: Sequence[Requirement], alone: Sequence[Requirement], wheels: Path | None) -> None:
    """Run pip, with all that is installed pinned to its version; `alone` comes without its dependencies."""
    source = [] if wheels is None else ["--no-index", "--find-links", str(wheels)]
    with tempfile.TemporaryDirectory() as folder:
        constraints = Path(folder) / "installed.txt"
        constraints.write_text("\n".join(_pinned(wanted)) + "\n", encoding="utf-8")
        try:
            for packages, options in ((alone, ["--no-deps"]), (wanted, [])):
                if packages:
                    arguments = [*source, *options, *map(str, packages)]
                    _pip_install(arguments, constraints)
        except Exception as error:  # CalledProcessError in every version, and whatever a dialog raises
            logging.info("pip failed", exc_info=True)
            where = _("the network") if wheels is None else str(wheels)
            said = f"pip: {error.returncode}" if isinstance(error, subprocess.CalledProcessError) else str(error)
            raise InputError(
                _("The packages could not be installed from {where} ({said}); expected all of them there, as wheels. "
                  "Check it, then try again; the log (Help, Report a Bug) has pip's own words.")
                .format(where=where, said=said)
            ) from error  # fmt: skip


def _pip_install(arguments: list[str], constraints: Path) -> None:
    try:
        from slicer.packaging import pip_install
    except ImportError:  # Slicer 5.10
        slicer.util.pip_install(["-c", str(constraints), *arguments])
    else:
        pip_install(arguments, constraints=constraints, requester=REQUESTER)


def _pinned(wanted: Sequence[Requirement]) -> list[str]:
    names = {one.name.lower() for one in wanted}
    found = {d.metadata["Name"]: d.version for d in importlib.metadata.distributions() if d.metadata["Name"]}
    return sorted(f"{name}=={version}" for name, version in found.items() if name.lower() not in names)
