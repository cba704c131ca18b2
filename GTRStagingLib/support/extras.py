"""Optional parts: imported when they are used, and named with their extra where they are missing."""

from importlib import import_module
from typing import Any

from GTRStagingLib.errors import InputError


def required(module: str, purpose: str, extra: str) -> Any:
    """Import a module of an optional part.

    Parameters
    ----------
    purpose
        How the sentence begins that the module's name ends, as in 'Cohort tables need'.
    extra
        Of this package, as `pip install 'gtrstaging[EXTRA]'` takes it.

    Raises
    ------
    InputError
        If the module, or one that it needs, is not installed.

    Examples
    --------
    >>> from GTRStagingLib.support.extras import required
    >>> required("json", "Records need", "report").dumps([1])
    '[1]'
    >>> required("no_such_package", "Pictures need", "report")
    Traceback (most recent call last):
    GTRStagingLib.errors.InputError: Pictures need no_such_package: pip install 'gtrstaging[report]'.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise InputError(f"{purpose} {error.name or module}: pip install 'gtrstaging[{extra}]'.") from error
