"""Read a T stage from the text of a cell.

This is the only place that decides which texts are stages: true stages, predictions, readings and covariates use it. A
text is read as the stage that it names, or refused; it is never rounded to a neighbouring stage. Characters in full
width, as East Asian keyboards write them, are those of ASCII. Digits of other scripts, in circles, above or below the
line are no stages: T² may be a T with a footnote.
"""

import re
from collections.abc import Collection

from GTRStagingLib.stages import TStage

NAMES, FROM_ONE, FROM_ZERO = "T", "1-4", "0-3"

CODES = (NAMES, FROM_ONE, FROM_ZERO)
"""Ways to write stages: as names, T1 to T4; as numbers from 1 to 4; as numbers from 0 to 3."""

_NARROW = {wide: wide - 0xFEE0 for wide in range(0xFF01, 0xFF5F)} | {0x3000: " "}
"""Characters in full width -> those of ASCII."""

WHOLE = re.compile(r"-?\d{1,15}(\.0{1,15})?", re.ASCII)
"""Whole number as text; spreadsheets write 3 as 3.0, too."""

_PREFIX = r"(?:y?[acpu]|[ry][acpu]?|us)?"
"""Prefixes of TNM: clinical, pathological, at autopsy, by ultrasound; after treatment (y), of a recurrence (r)."""

_STAGE = re.compile(rf"{_PREFIX}T(?:(?P<whole>[1-4])|(?P<divided>[14])[ab])", re.IGNORECASE)
_ALIKE = re.compile(rf"[\s(<>≤≥~?]*{_PREFIX}T\s?-?([0-4](?!\d)|is\b|x\b)", re.IGNORECASE)
_OTHER = re.compile(rf"{_PREFIX}T(0|is|x)", re.IGNORECASE)
_OLD = re.compile(rf"{_PREFIX}T[23][ab]", re.IGNORECASE)
_EXPECTED = {
    NAMES: "T1 to T4, also as in cT3, pT3, ypT3, uT3, T1b or T4a",
    FROM_ONE: "whole numbers from 1 to 4 for T1 to T4",
    FROM_ZERO: "whole numbers from 0 to 3 for T1 to T4",
}


def named_stage(text: str) -> TStage | None:
    """Return the stage that a text names, with or without a prefix of TNM; None for all other texts, and for numbers.

    T1 and T4 may be divided into a and b. T2a, T2b, T3a and T3b are not read: they are of older editions, in which T2b
    was the T3 of today.

    Examples
    --------
    >>> from GTRStagingLib.tables.stage_cells import named_stage
    >>> [str(named_stage(text)) for text in ("T3", "uT3", "ypt1b", "T4a", "T3?", "T2b", "3")]
    ['T3', 'T3', 'T1', 'T4', 'None', 'None', 'None']
    """
    match = _STAGE.fullmatch(text.translate(_NARROW))
    return None if match is None else TStage(int(match["whole"] or match["divided"]) - 1)


def is_like_a_stage(text: str) -> bool:
    """Return whether a text begins as the name of a stage does, whether or not it can be read: 'T3', 'T3?', 'Tis'."""
    return _ALIKE.match(text.translate(_NARROW)) is not None


def whole_number(text: str) -> int | None:
    """Return a whole number, also if a spreadsheet wrote it as 3.0; None for other texts."""
    text = text.translate(_NARROW)
    return int(float(text)) if WHOLE.fullmatch(text) else None


def coded_stage(text: str, code: str) -> TStage:
    """Read a cell as the stage that it is in a code.

    Parameters
    ----------
    code
        One of `CODES`.

    Raises
    ------
    ValueError
        If the text is not a stage in this code; the message states why and what is expected.

    Examples
    --------
    >>> from GTRStagingLib.tables.stage_cells import coded_stage
    >>> str(coded_stage("3", "1-4")), str(coded_stage("3", "0-3")), str(coded_stage("uT3", "T"))
    ('T3', 'T4', 'T3')
    >>> coded_stage("T3?", "T")
    Traceback (most recent call last):
    ValueError: uncertain, or more than a stage; expected T1 to T4, also as in cT3, pT3, ypT3, uT3, T1b or T4a
    """
    if code == NAMES:
        stage = named_stage(text)
    else:
        number, first = whole_number(text), int(code[0])
        stage = None if number is None or not 0 <= number - first < len(TStage) else TStage(number - first)
    if stage is None:
        raise ValueError(f"{_fault_of(text, code)}expected {_EXPECTED[code]}")
    return stage


def _fault_of(text: str, code: str) -> str:
    text = text.translate(_NARROW)
    if _OTHER.fullmatch(text):
        return "not one of the four stages; "
    if _OLD.fullmatch(text):
        return "a stage of an older edition of TNM, in which T2b was the T3 of today; "
    if code == NAMES and is_like_a_stage(text):
        return "uncertain, or more than a stage; "
    return ""


def code_of(texts: Collection[str]) -> str | None:
    """Return the code in which all of some texts are stages; None if there is none, or if more than one is possible.

    Whole numbers are of a known code only if 0 or 4 is among them: 1, 2 and 3 are T1 to T3 from one, T2 to T4 from
    zero.

    Examples
    --------
    >>> from GTRStagingLib.tables.stage_cells import code_of
    >>> code_of({"1", "4"}), code_of({"0", "2"}), code_of({"uT2", "T4"}), code_of({"1", "2", "3"}), code_of({"T3?"})
    ('1-4', '0-3', 'T', None, None)
    """
    possible = possible_codes(texts)
    return possible[0] if len(possible) == 1 else None


def possible_codes(texts: Collection[str]) -> list[str]:
    """Return the codes in which all of some texts, at least one, are stages."""

    def fits(code: str) -> bool:
        try:
            return bool([coded_stage(text, code) for text in texts])
        except ValueError:
            return False

    return [code for code in CODES if fits(code)]


__all__ = ["CODES", "FROM_ONE", "FROM_ZERO", "NAMES", "WHOLE", "code_of", "coded_stage", "is_like_a_stage",
           "named_stage", "possible_codes", "whole_number"]  # fmt: skip
