"""Find and install the packages that staging needs in Slicer's Python, without replacing installed ones.

Importing this module installs nothing. The panel asks before an installation; headless runs require an option for it.
torch is installed by the PyTorch extension, which chooses the build for the computer's GPU, or from a folder of wheels.
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
except ImportError:  # Slicer 5.10 contains it only inside pip
    from pip._vendor.packaging.requirements import Requirement  # type: ignore[no-redef]

REQUIREMENTS = Path(__file__).resolve().parents[1] / "Resources" / "requirements.txt"
REQUESTER = "GTR Staging"
PYTORCH_EXTENSION = "https://github.com/fepegar/SlicerPyTorch"

TORCH = ("torch", "torchvision")
GRAD_CAM = "grad-cam"
GRAD_CAM_NEEDS = ("ttach", "tqdm", "matplotlib", "scikit-learn")
"""Dependencies of grad-cam, which is installed without its own: it requires opencv-python, which contains a copy of Qt
that conflicts with Slicer's. The headless build contains the same module, and is installed only if that is missing."""
OPENCV = "opencv-python-headless"

SLICERS_OWN = {"SimpleITK": "SimpleITK", "numpy": "numpy", "scipy": "scipy", "pillow": "PIL"}
"""Package -> module of Slicer's own packages: some builds of Slicer contain them without metadata for pip."""


def requirements() -> list[Requirement]:
    """Return the lines of `Resources/requirements.txt`."""
    lines = (line.partition("#")[0].strip() for line in REQUIREMENTS.read_text(encoding="utf-8").splitlines())
    return [Requirement(line) for line in lines if line]


def missing() -> list[Requirement]:
    """Return the packages that are missing or too old, with opencv if its module is missing."""
    lacking = [one for one in requirements() if not _satisfied(one)]
    if importlib.util.find_spec("cv2") is None:
        lacking.append(Requirement(OPENCV))
    return lacking + [Requirement(name) for name in GRAD_CAM_NEEDS if not _satisfied(Requirement(name))
                      and name not in {one.name for one in lacking}]  # fmt: skip


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
    """List the names, as in 'torch, torchvision, grad-cam'."""
    return ", ".join(one.name for one in lacking)


def question(lacking: Sequence[Requirement], wheels: Path | None = None) -> str:
    """Return the question that the panel asks before an installation."""
    source = _("from the internet") if wheels is None else _("from {folder}").format(folder=wheels)
    return _(
        "GTR Staging needs packages that are missing in Slicer's Python: {names}.\n\nInstall them {source}? PyTorch is "
        "large (up to 3 GB) and takes some minutes. Slicer's own packages are not replaced."
    ).format(names=in_words(lacking), source=source)


def install(wheels: Path | None = None) -> None:
    """Install the missing packages; the caller has asked the user before.

    Parameters
    ----------
    wheels
        Folder of wheels, for a computer without network; then no other source is used.

    Raises
    ------
    InputError
        If the PyTorch extension is missing, pip fails, or a package is still missing afterwards.
    """
    lacking = missing()
    if not lacking:
        return
    _refuse_replacing(lacking)
    torch = [one for one in lacking if one.name in TORCH]
    rest = [one for one in lacking if one.name not in (*TORCH, GRAD_CAM)]
    alone = [one for one in lacking if one.name == GRAD_CAM]
    # If only torchvision is missing, pip finds the version for the installed torch, which is pinned like all others.
    if wheels is None and any(one.name == "torch" for one in torch):
        _install_torch()
        torch = []
    _pip([*torch, *rest], alone, wheels)
    importlib.invalidate_caches()
    if still := missing():
        raise InputError(
            _("The packages {names} are still missing after the installation. Restart Slicer and try again; if the "
              "error persists, see the log (Help, Report a Bug).").format(names=in_words(still))
        )  # fmt: skip


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
        raise InputError(
            _("PyTorch is missing, and the PyTorch extension, which would install it, is missing too. Install the "
              "extension “PyTorch” in the Extensions Manager ({link}), restart Slicer, and press Apply again. Without "
              "network, install from a folder of wheels.").format(link=PYTORCH_EXTENSION)
        ) from error  # fmt: skip
    wanted = {one.name: str(one.specifier) for one in requirements() if one.name in TORCH}
    installed = PyTorchUtilsLogic().installTorch(
        askConfirmation=False,
        torchVersionRequirement=wanted["torch"],
        torchvisionVersionRequirement=wanted["torchvision"],
    )
    if installed is None:
        raise InputError(
            _("PyTorch was not installed. Install it in the module PyTorch Utils, which reports the error.")
        )


def _pip(wanted: Sequence[Requirement], alone: Sequence[Requirement], wheels: Path | None) -> None:
    """Run pip with all installed packages pinned to their versions; install `alone` without its dependencies."""
    source = [] if wheels is None else ["--no-index", "--find-links", str(wheels)]
    with tempfile.TemporaryDirectory() as folder:
        constraints = Path(folder) / "installed.txt"
        constraints.write_text("\n".join(_pinned(wanted)) + "\n", encoding="utf-8")
        try:
            for packages, options in ((alone, ["--no-deps"]), (wanted, [])):
                if packages:
                    arguments = [*source, *options, *map(str, packages)]
                    _pip_install(arguments, constraints)
        except Exception as error:  # CalledProcessError in every version, and other errors of a dialog
            logging.info("pip failed", exc_info=True)
            where = _("the network") if wheels is None else str(wheels)
            reason = f"pip: {error.returncode}" if isinstance(error, subprocess.CalledProcessError) else str(error)
            raise InputError(
                _("The packages could not be installed from {where} ({reason}); expected a wheel of each of them. "
                  "Check {where}, then try again; the log (Help, Report a Bug) contains pip's output.")
                .format(where=where, reason=reason)
            ) from error  # fmt: skip


def _pip_install(arguments: list[str], constraints: Path) -> None:
    """Call the pip of the Slicer that runs."""
    try:
        from slicer.packaging import pip_install
    except ImportError:  # Slicer 5.10
        slicer.util.pip_install(["-c", str(constraints), *arguments])
    else:
        pip_install(arguments, constraints=constraints, requester=REQUESTER)


def _pinned(wanted: Sequence[Requirement]) -> list[str]:
    """Return a constraint for each installed package that is not wanted."""
    names = {one.name.lower() for one in wanted}
    found = {d.metadata["Name"]: d.version for d in importlib.metadata.distributions() if d.metadata["Name"]}
    return sorted(f"{name}=={version}" for name, version in found.items() if name.lower() not in names)
