"""Check and convert single cells of a table: texts, ids, numbers and missing values.

The checks raise ValueError with the expected value; the caller adds row and column.
"""

import re
import unicodedata

MISSING = frozenset({"", "NA", "N/A", "#N/A", "NaN", "nan", "null", "None"})
"""Spellings of a missing value in R, pandas, Excel and by hand."""

SPREADSHEET_ERRORS = frozenset({"#REF!", "#VALUE!", "#NAME?", "#DIV/0!", "#NUM!", "#NULL!"})

_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?", re.ASCII)
_REWRITTEN = re.compile(r"\d+\.0+|\d+(\.\d+)?E\+\d+", re.ASCII)
_DEVICES = frozenset({"CON", "PRN", "AUX", "NUL", *(f"{port}{n}" for port in ("COM", "LPT") for n in range(1, 10))})


def plain_text(text: str) -> str:
    """Return the text if a table stores it unchanged; raise ValueError otherwise."""
    if text in SPREADSHEET_ERRORS:
        raise ValueError("expected a value, not a spreadsheet error")
    if text in MISSING or text != text.strip():
        raise ValueError("expected text without blanks at its ends, other than a spelling of a missing value")
    if any(unicodedata.category(c) in ("Cc", "Cs") for c in text):
        raise ValueError("expected text without line breaks, tabs or other control characters")
    return text


def unaltered_id(text: str) -> str:
    """Return an id; raise ValueError if a spreadsheet has converted it to a number.

    Examples
    --------
    >>> from GTRStagingLib.tables.cells import unaltered_id
    >>> unaltered_id("007")
    '007'
    >>> unaltered_id("7.0")
    Traceback (most recent call last):
    ValueError: expected the original id, not a number written by a spreadsheet: format the column as text
    """
    if _REWRITTEN.fullmatch(plain_text(text)):
        raise ValueError("expected the original id, not a number written by a spreadsheet: format the column as text")
    return text


def folder_name(text: str) -> str:
    """Return an id that is a valid folder name on every system, without path separators; raise ValueError otherwise."""
    unsafe = sorted(set(text) & set('/\\:*?"<>|'))
    if unsafe or text[0] in ".-" or text[-1] == "." or text.split(".")[0].upper() in _DEVICES:
        found = f" (found {' '.join(unsafe)})" if unsafe else ""
        raise ValueError(f'expected a valid folder name, without / \\ : * ? " < > | and dots at its ends{found}')
    if len(text.encode()) > 200:
        raise ValueError(f"expected at most 200 bytes as UTF-8, not {len(text.encode())}, since it names a folder")
    return text


def folder_key(text: str) -> str:
    """Return a key that is equal for names of the same folder: Windows and macOS ignore case."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


def covariate_value(text: str) -> str | float:
    """Return a cell's number if it is written as one ('61', '3.5', '1e-3'; not '007'), otherwise its text.

    Examples
    --------
    >>> from GTRStagingLib.tables.cells import covariate_value, cell_text
    >>> covariate_value("61"), covariate_value("007"), covariate_value("diffuse")
    (61.0, '007', 'diffuse')
    >>> cell_text(61.0), cell_text(None)
    ('61', '')
    """
    return float(text) if _NUMBER.fullmatch(text) and abs(float(text)) < float("inf") else plain_text(text)


def cell_text(value: str | float | None) -> str:
    """Return the shortest text of a value: 61.0 is '61', None is empty."""
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 and str(value) != "-0.0":
        return str(int(value))
    return str(value)
