"""What one cell of a table may hold: texts, ids, numbers, and how a missing value is written.

Rules raise ValueError with what they expected; whoever knows row and column says where.
"""

import re
import unicodedata

MISSING = frozenset({"", "NA", "N/A", "#N/A", "NaN", "nan", "null", "None"})
"""How R, pandas, Excel and people write that a value was not given."""

SPREADSHEET_ERRORS = frozenset({"#REF!", "#VALUE!", "#NAME?", "#DIV/0!", "#NUM!", "#NULL!"})

_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?", re.ASCII)
_REWRITTEN = re.compile(r"\d+\.0+|\d+(\.\d+)?E\+\d+", re.ASCII)
_DEVICES = frozenset({"CON", "PRN", "AUX", "NUL", *(f"{port}{n}" for port in ("COM", "LPT") for n in range(1, 10))})


def plain_text(text: str) -> str:
    """A text that comes back from a table as it went in."""
    if text in SPREADSHEET_ERRORS:
        raise ValueError("expected a value, not a spreadsheet's error")
    if text in MISSING or text != text.strip():
        raise ValueError("expected a text, without blanks around it, that does not read as missing")
    if any(unicodedata.category(c) in ("Cc", "Cs") for c in text):
        raise ValueError("expected text without line breaks, tabs or other control characters")
    return text


def unaltered_id(text: str) -> str:
    """An id that no spreadsheet has turned into a number.

    Examples
    --------
    >>> from GTRStagingLib.tables.cells import unaltered_id
    >>> unaltered_id("007")
    '007'
    >>> unaltered_id("7.0")
    Traceback (most recent call last):
    ValueError: expected the id as it was given, not as a spreadsheet rewrote it: format the column as text
    """
    if _REWRITTEN.fullmatch(plain_text(text)):
        raise ValueError("expected the id as it was given, not as a spreadsheet rewrote it: format the column as text")
    return text


def folder_name(text: str) -> str:
    """An id that can be a folder's name on every system, and cannot lead out of the folder that it is put in."""
    unsafe = sorted(set(text) & set('/\\:*?"<>|'))
    if unsafe or text[0] in ".-" or text[-1] == "." or text.split(".")[0].upper() in _DEVICES:
        met = f", which has {' '.join(unsafe)}" if unsafe else ""
        raise ValueError(f'expected a safe name for a folder{met}: without / \\ : * ? " < > | and dots at its ends')
    if len(text.encode()) > 200:
        raise ValueError(f"expected at most 200 bytes as UTF-8, not {len(text.encode())}: it will be a folder's name")
    return text


def folder_key(text: str) -> str:
    """What two names share that are one folder on some system: Windows and macOS do not tell case apart."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


def covariate_value(text: str) -> str | float:
    """A cell's number if it is written as one ('61', '3.5', '1e-3'; not '007'), otherwise its text.

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
    """The shortest text that stands for a value: 61.0 is '61', None is empty."""
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 and str(value) != "-0.0":
        return str(int(value))
    return str(value)
