"""Find the patient in the id of a row by a regular expression."""

import re
from collections.abc import Sequence

from GTRStagingLib.errors import InputError


def patients_in(pattern: str, ids: Sequence[str], where: str) -> list[str]:
    """Return the patient of each id: the first group of the pattern, or else the whole match.

    The pattern is searched for in the last part of a path, and then in the whole path.

    Parameters
    ----------
    where
        Table and column of the ids, for errors.

    Raises
    ------
    InputError
        If the pattern is not valid, or does not fit an id.

    Examples
    --------
    >>> from GTRStagingLib.tables.patient_pattern import patients_in
    >>> patients_in("^(.+?)_slice", ["P01_slice_11", "north/P02_slice_3"], "cases.csv, image")
    ['P01', 'P02']
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise InputError(f"`patient_pattern` {pattern!r}: {error}; expected a regular expression.") from error
    names = []
    for text in ids:
        match = compiled.search(last_part(text)) or compiled.search(text)
        name = None if match is None else match[1] if compiled.groups else match[0]
        if not name:
            raise InputError(
                f"{where} {text!r} does not fit {pattern!r}; expected a pattern that fits every id. Change "
                "`patient_pattern`."
            )
        names.append(name)
    return names


def last_part(text: str) -> str:
    """Return the last part of a path with slashes or backslashes."""
    return text.replace("\\", "/").rsplit("/", 1)[-1]


__all__ = ["last_part", "patients_in"]
