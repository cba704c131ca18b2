"""Read decimal commas and percent signs of a whole column, where they have one meaning."""

import re
from collections.abc import Iterable
from decimal import Decimal

from GTRStagingLib.tables.cells import MISSING

_NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)*|[.,]\d+)([eE][+-]?\d+)?", re.ASCII)
"""A number with points or commas, at whatever place."""

_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}", re.ASCII)
"""A number whose comma may separate thousands, or decimals."""

_PERCENT = re.compile(r"(.*\S)\s*[%\uff05]")


def has_marks(text: str) -> bool:
    """Return whether a cell has a comma or a percent sign, so that `plain_numbers` may alter it."""
    return "," in text or "%" in text or "\uff05" in text


def plain_numbers(
    column: str, texts: Iterable[str], *, comma_is_decimal: bool = False
) -> tuple[dict[str, str], str | None]:
    """Return the cells of a column that are written in another way (cell -> number with a point), and a note.

    A column has decimal commas or percent signs if all its cells have them or are whole numbers. It is altered as a
    whole or not at all. A cell of a hundred per cent is 1.

    Parameters
    ----------
    texts
        Different cells of the column.
    comma_is_decimal
        Whether a comma never separates thousands, as in a file that is separated by semicolons.

    Raises
    ------
    ValueError
        If the numbers could mean two things: `1,234`; commas and points in one column; `%` in some cells only.

    Examples
    --------
    >>> from GTRStagingLib.tables.numerals import plain_numbers
    >>> plain_numbers("size", ["3,5", "4"])[0]
    {'3,5': '3.5'}
    >>> plain_numbers("share", ["12 %", "3,5 %"])[0]
    {'12 %': '0.12', '3,5 %': '0.035'}
    """
    given = [text for text in texts if text not in MISSING]
    if not any(map(has_marks, given)):
        return {}, None
    bare = {text: match[1] if (match := _PERCENT.fullmatch(text)) else text for text in given}
    numbers = [text for text in given if _NUMBER.fullmatch(bare[text])]
    if len(numbers) < len(given):
        return {}, _note_on_text(column, given, numbers)
    percent = [text for text in given if bare[text] != text]
    if percent and len(percent) < len(given):
        other = next(text for text in given if bare[text] == text)
        raise ValueError(f"column {column!r} has numbers with and without %, as in {percent[0]!r} and {other!r}; "
                         "expected one of the two. Write all of them in one way")  # fmt: skip
    _require_one_meaning(column, list(bare.values()), comma_is_decimal)
    altered = {}
    for text in given:
        number = bare[text].replace(",", ".")
        if text in percent:
            number = f"{(Decimal(number) / 100).normalize():f}"
        if number != text:
            altered[text] = number
    first = next(iter(altered))
    what = "percentages are read as shares" if percent else "decimal commas are read as points"
    return altered, f"Column {column!r}: {what}, {first!r} as {altered[first]}."


def _require_one_meaning(column: str, numbers: list[str], comma_is_decimal: bool) -> None:
    commas = [text for text in numbers if "," in text]
    points = [text for text in numbers if "." in text]
    several = [text for text in numbers if text.count(",") + text.count(".") > 1]
    if commas and several:
        raise ValueError(f"column {column!r} has separators of thousands, as in {several[0]!r}; expected numbers "
                         "without them, and with a point. Write the numbers without these separators")  # fmt: skip
    if commas and points:
        raise ValueError(f"column {column!r} has commas and points, as in {commas[0]!r} and {points[0]!r}; expected "
                         "points in all numbers. Write them with a point")  # fmt: skip
    if commas and not comma_is_decimal and all(map(_THOUSANDS.fullmatch, commas)):
        point, none = commas[0].replace(",", "."), commas[0].replace(",", "")
        raise ValueError(f"column {column!r}: {commas[0]!r} could be {none} or {point}; expected numbers with a point, "
                         "and without separators of thousands. Write the numbers in that way")  # fmt: skip


def _note_on_text(column: str, given: list[str], numbers: list[str]) -> str | None:
    """Return a note on a column of numbers with commas or percent signs that has texts as well."""
    if 2 * len(numbers) <= len(given) or not (marked := [text for text in numbers if has_marks(text)]):
        return None
    other = next(text for text in given if text not in set(numbers))
    return (f"Column {column!r} is read as text, since {other!r} is not a number; {marked[0]!r} is then no number "
            "either. Write numbers with a point, and leave unknown cells empty.")  # fmt: skip


__all__ = ["has_marks", "plain_numbers"]
