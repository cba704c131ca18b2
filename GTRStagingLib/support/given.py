"""Refuse what is given to a function of the library in another type than it takes."""

import os
from pathlib import Path
from typing import Any

from GTRStagingLib.errors import InputError


def require_type(name: str, value: object, kinds: type | tuple[type, ...], expected: str, remedy: str) -> None:
    """Raise `InputError` unless a value has one of some types; True and False are no numbers.

    Parameters
    ----------
    name
        Name of the parameter.
    expected, remedy
        What is expected, and a sentence on what to do, for the message.

    Examples
    --------
    >>> from GTRStagingLib.support.given import require_type
    >>> require_type("key_slice", "8", int, "a whole number", "Give key_slice=8.")
    Traceback (most recent call last):
    GTRStagingLib.errors.InputError: `key_slice` is '8' (str); expected a whole number. Give key_slice=8.
    """
    if not isinstance(value, kinds) or isinstance(value, bool):
        raise InputError(f"`{name}` is {_shown(value)}; expected {expected}. {remedy}")


def given_path(name: str, value: Any) -> Path:
    """Return a path that is given as a `Path` or a text; raise `InputError` for anything else, and an empty text."""
    remedy = f"Give {name}=Path(...)."
    require_type(name, value, (str, os.PathLike), "a path", remedy)
    if isinstance(path := os.fspath(value), bytes) or not path:
        raise InputError(f"`{name}` is {_shown(path)}; expected a path. {remedy}")
    return Path(path)


def _shown(value: object) -> str:
    """Return a short value with its type; only the type of one with content, which may be large or name a patient."""
    kind = type(value).__name__
    if value is None or isinstance(value, bool):
        return repr(value)
    if isinstance(value, int | float) or (isinstance(value, str | bytes) and len(value) <= 20):
        return f"{value!r} ({kind})"
    return f"of the type {kind}"


__all__ = ["given_path", "require_type"]
