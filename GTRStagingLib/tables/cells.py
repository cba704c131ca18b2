"""Check and convert single cells of a table: texts, ids, numbers and missing values.

The checks raise ValueError with the expected value; the caller adds row and column.
"""

import re
import unicodedata
from typing import Literal, get_args

Split = Literal["train", "validation", "test", "calibration"]

SWITCHES = frozenset({"0", "1", "true", "false", "yes", "no", "y", "n"})
"""Values of `exclude` that are ambiguous, because a reason is expected."""

MISSING = frozenset({"", "NA", "N/A", "#N/A", "NaN", "nan", "null", "None"})
"""Spellings of a missing value in R, pandas, Excel and by hand."""

SPREADSHEET_ERRORS = frozenset({"#REF!", "#VALUE!", "#NAME?", "#DIV/0!", "#NUM!", "#NULL!"})

_INVISIBLE = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
"""Characters that are drawn as nothing or as a blank, although Unicode counts them as letters, marks or symbols."""

FORMULA = re.compile("'*[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
"""Start of a text that a spreadsheet would take for a formula, also in full width; see `guarded`."""

_SIGNED = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?", re.ASCII)
_REWRITTEN = re.compile(r"\d+\.0+|\d+(\.\d+)?E\+\d+", re.ASCII)
_INDEX = re.compile(r"(\d{1,9})(\.0+)?", re.ASCII)
_DEVICES = frozenset({"CON", "PRN", "AUX", "NUL", *(f"{port}{n}" for port in ("COM", "LPT") for n in range(1, 10))})


def plain_text(text: str) -> str:
    """Return the text if a table stores it unchanged; raise ValueError otherwise."""
    if text in SPREADSHEET_ERRORS:
        raise ValueError("expected a value, not a spreadsheet error")
    if text in MISSING or text != text.strip():
        raise ValueError("expected text without blanks at its ends, other than a spelling of a missing value")
    if text.isascii() and text.isprintable():
        return text
    if any(unicodedata.category(c) in ("Cc", "Cs") for c in text):
        raise ValueError("expected text without line breaks, tabs or other control characters")
    return text


def visible_text(text: str) -> str:
    r"""Return a text; raise ValueError if it has characters that nobody sees, such as marks of direction.

    Two ids that look equal would be two patients, and a mark of direction can show a name backwards.

    Examples
    --------
    >>> from GTRStagingLib.tables.cells import visible_text
    >>> visible_text("患者 7")
    '患者 7'
    >>> visible_text("P\u202e7")
    Traceback (most recent call last):
    ValueError: expected no invisible characters (found U+202E); type the text again
    """
    if text.isascii() and text.isprintable():
        return text
    hidden = (c for c in text if c in _INVISIBLE or unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp"))
    if found := sorted({f"U+{ord(c):04X}" for c in hidden}):
        raise ValueError(f"expected no invisible characters (found {', '.join(found)}); type the text again")
    return text


def unaltered_id(text: str) -> str:
    """Return an id; raise ValueError if a spreadsheet has converted it to a number, or if it has invisible characters.

    Examples
    --------
    >>> from GTRStagingLib.tables.cells import unaltered_id
    >>> unaltered_id("007")
    '007'
    >>> unaltered_id("7.0")
    Traceback (most recent call last):
    ValueError: expected the original id, not a number written by a spreadsheet: format the column as text
    """
    if _REWRITTEN.fullmatch(visible_text(plain_text(text))):
        raise ValueError("expected the original id, not a number written by a spreadsheet: format the column as text")
    return text


def folder_name(text: str) -> str:
    """Return an id that is a valid folder name on every system, without path separators; raise ValueError otherwise."""
    if not text:
        raise ValueError("expected a name that is not empty")
    visible_text(text)
    unsafe = sorted(set(text) & set('/\\:*?"<>|'))
    if unsafe or text[0] in ".-" or text[-1] == "." or text.split(".")[0].upper() in _DEVICES:
        found = f" (found {' '.join(unsafe)})" if unsafe else ""
        raise ValueError(
            'expected a valid folder name, without / \\ : * ? " < > |, dots at its ends, a hyphen at its start, and '
            f"names of devices such as CON{found}"
        )
    if len(text.encode()) > 200:
        raise ValueError(f"expected at most 200 bytes as UTF-8, not {len(text.encode())}, since it names a folder")
    return text


def folder_key(text: str) -> str:
    """Return a key that is equal for names of the same folder: Windows and macOS ignore case."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


def split_of(text: str) -> Split:
    """Return the split that a text names, whatever its case; raise ValueError for any other text."""
    for split in get_args(Split):
        if text.casefold() == split:
            return split
    raise ValueError("expected train, validation, test or calibration, or nothing")


KeySliceCell = int | Literal["ko"]
"""Index of an axial slice, or 'ko' for the slice that a key object selection marks (`imaging.keyslice.find`)."""


def key_slice_of(text: str) -> KeySliceCell:
    """Return the index of an axial slice, or 'ko'; raise ValueError unless it is a whole number from 0 or 'ko'."""
    if text.strip().casefold() == "ko":
        return "ko"
    if not (match := _INDEX.fullmatch(text)):
        raise ValueError(
            "expected a whole number from 0 (the slice nearest the feet), 'ko' (the slice of a key object selection), "
            "or nothing"
        )
    return int(match[1])


def reason_of(text: str) -> str:
    """Return the reason for leaving a case out; raise ValueError for a yes or no, which could mean both."""
    if text.casefold() in SWITCHES:
        raise ValueError("expected the reason to leave the case out, or nothing")
    return plain_text(text)


def guarded(text: str) -> str:
    """Return a cell for a CSV file in which no spreadsheet finds a formula: with an apostrophe before it, if needed.

    Numbers stay as they are. `unguarded` returns the original text.

    Examples
    --------
    >>> from GTRStagingLib.tables.cells import guarded, unguarded
    >>> guarded("=1+1"), guarded("-0.5"), guarded("T3")
    ("'=1+1", '-0.5', 'T3')
    >>> unguarded("'=1+1")
    '=1+1'
    """
    return f"'{text}" if FORMULA.match(text) and not _SIGNED.fullmatch(text) else text


def unguarded(text: str) -> str:
    """Return the original text of a cell that was written by `guarded`."""
    return text[1:] if text.startswith("'") and FORMULA.match(text) else text


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


def covariate_number(text: str | None) -> float | None:
    """Return a cell's number, by the rule of `covariate_value`; None for texts, invalid and empty cells."""
    try:
        value = None if text is None else covariate_value(text)
    except ValueError:
        return None
    return value if isinstance(value, float) else None


def cell_text(value: str | float | None) -> str:
    """Return the shortest text of a value: 61.0 is '61', None is empty."""
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 and str(value) != "-0.0":
        return str(int(value))
    return str(value)
