"""Import optional packages when they are used, and name the extra that installs a missing one."""

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from GTRStagingLib.errors import MissingDependencyError


def import_extra(module: str, purpose: str, extra: str | None = None) -> Any:
    """Import a module of an optional package.

    Parameters
    ----------
    purpose
        Start of the message, as in 'Cohort tables need'; the name of the missing package follows.
    extra
        Name of the extra of this package that installs it; None for a package that every installation has.

    Raises
    ------
    MissingDependencyError
        If the module, or a module that it imports, is not installed.

    Examples
    --------
    >>> from GTRStagingLib.support.extras import import_extra
    >>> import_extra("json", "Records need", "report").dumps([1])
    '[1]'
    >>> import_extra("no_such_package", "Pictures need", "report")
    Traceback (most recent call last):
    GTRStagingLib.errors.MissingDependencyError: Pictures need no_such_package: pip install 'gtrstaging[report]'.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise missing_extra(error.name or module, purpose, extra) from error


def missing_extra(module: str, purpose: str, extra: str | None) -> MissingDependencyError:
    """Make the error of a missing module; for modules whose imports mypy must see, see `import_extra`."""
    package = "gtrstaging" if extra is None else f"'gtrstaging[{extra}]'"
    return MissingDependencyError(f"{purpose} {module}: pip install {package}.", name=module)


def torch_installed() -> bool:
    """Return whether PyTorch and torchvision are installed, without importing them."""
    return all(map(find_spec, ("torch", "torchvision")))
