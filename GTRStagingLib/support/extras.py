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
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise InputError(f"{purpose} {error.name or module}: pip install 'gtrstaging[{extra}]'.") from error
