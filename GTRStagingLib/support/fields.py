"""Check and convert the fields of plain data, such as a JSON file that somebody else wrote.

An error names the field, its value and the expected one, in place of Python's message about types.
"""

import re
import reprlib
import sys
import unicodedata
from collections.abc import Callable, Collection, Mapping
from typing import Any

from GTRStagingLib.errors import InputError

LONGEST_TEXT = 20_000
"""Largest number of characters of a text."""

MOST = 1e12
"""Largest magnitude of a number for which no limit is given: sums of products of such numbers are finite."""

_MISSING: Any = object()
_short = reprlib.Repr()
_short.maxlevel, _short.maxlist, _short.maxtuple, _short.maxdict = 2, 6, 6, 6
_short.maxstring, _short.maxlong, _short.maxother = 80, 40, 80


def shown(value: object) -> str:
    """Return a value of plain data as a message shows it, shortened in its middle.

    Examples
    --------
    >>> from GTRStagingLib.support.fields import shown
    >>> shown(None), shown(True), shown(0.99999999), shown("T1")
    ('null', 'true', '0.99999999', "'T1'")
    """
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int) and abs(value) > sys.float_info.max:
        return "a whole number of more than 308 digits"
    return _short.repr(value)


def is_plain_text(text: str) -> bool:
    """Return whether a text has no control characters other than tabs and line breaks, and no half of a pair."""
    return text.isprintable() or not any(unicodedata.category(c) in ("Cc", "Cs") and c not in "\t\n" for c in text)


class Fields:
    """Fields of an object of plain data, checked and converted when they are read.

    Parameters
    ----------
    data
        Plain data, which must be an object.
    where
        Name of the object in messages, as in 'features 3'.

    Raises
    ------
    InputError
        If the data are not an object; each method also raises it if its field is missing and has no default, has
        another type, or is out of range. Null is a missing field.

    Examples
    --------
    >>> from GTRStagingLib.support.fields import Fields
    >>> term = Fields({"name": "age", "coefficient": "0.1"}, "terms 1")
    >>> term.text("name"), term.text("unit", "")
    ('age', '')
    >>> term.number("coefficient")
    Traceback (most recent call last):
    GTRStagingLib.errors.InputError: terms 1, coefficient '0.1'; expected a number.
    """

    def __init__(self, data: object, where: str = "") -> None:
        if not isinstance(data, Mapping):
            raise InputError(f"{where or 'The content'} is {shown(data)}; expected an object with its fields.")
        self.data: Mapping[str, Any] = data
        self.where = where

    def has(self, name: str) -> bool:
        """Return whether the field exists and is not null."""
        return self.data.get(name) is not None

    def only(self, names: Collection[str], needed: Collection[str] = ()) -> "Fields":
        """Return these fields; raise `InputError` if there are others, or a needed one is missing."""
        if missing := [name for name in needed if name not in self.data]:
            raise InputError(f"{self._prefix()}{', '.join(missing)} missing; expected {', '.join(needed)}.")
        if unknown := sorted(set(self.data) - set(names)):
            raise InputError(
                f"{self._prefix()}unknown fields {shown(unknown)}; expected some of {', '.join(sorted(names))}."
            )
        return self

    def require_kind(self, kind: str, schema: int = 1) -> None:
        """Raise `InputError` unless the fields `kind` and `schema` have these values."""
        if self.data.get("kind") != kind or self.data.get("schema") != schema:
            found = ", ".join(f"{name} {shown(self.data.get(name))}" for name in ("kind", "schema"))
            raise InputError(f"{found}; expected a {kind} of schema {schema}.")

    def text(self, name: str, default: Any = _MISSING) -> Any:
        """Return a text without control characters."""
        return self._value(
            name, default, lambda v: isinstance(v, str) and len(v) <= LONGEST_TEXT and is_plain_text(v),
            f"a text without control characters, of at most {LONGEST_TEXT:,} characters"
        )  # fmt: skip

    def name(self, name: str) -> str:
        """Return a text of one line that is not empty."""
        found: str = self._value(
            name, _MISSING, lambda v: isinstance(v, str) and bool(v.strip()) and len(v) <= 200 and v.isprintable(),
            "a text of one line, of 1 to 200 characters"
        )  # fmt: skip
        return found

    def sha256(self, name: str, default: Any = _MISSING) -> Any:
        """Return a sha256 as lower-case hexadecimal digits."""
        return self._value(
            name, default, lambda v: isinstance(v, str) and bool(re.fullmatch(r"[0-9a-f]{64}", v)),
            "64 lower-case hexadecimal digits"
        )  # fmt: skip

    def flag(self, name: str, default: Any = _MISSING) -> Any:
        """Return true or false."""
        return self._value(name, default, lambda v: isinstance(v, bool), "true or false")

    def number(self, name: str, default: Any = _MISSING, *, least: float = -MOST, most: float = MOST) -> Any:
        """Return a number within limits, as a float."""
        value = self._value(name, default, is_number, "a number")
        if value is None or value is default:
            return value
        if not least <= value <= most:
            raise self.error(name, f"a number from {least:g} to {most:g}")
        return float(value)

    def whole(self, name: str, *, least: int = 0, most: int = 2**53) -> int:
        """Return a whole number within limits."""
        return int(self._value(
            name, _MISSING, lambda v: is_number(v) and v == int(v) and least <= v <= most,
            f"a whole number from {least:,} to {most:,}"
        ))  # fmt: skip

    def numbers(self, name: str, count: int, default: Any = _MISSING) -> tuple[float, ...]:
        """Return numbers as floats, `count` of them."""

        def is_valid(v: Any) -> bool:
            return isinstance(v, list | tuple) and len(v) == count and all(is_number(x) and abs(x) <= MOST for x in v)

        values = self._value(name, default, is_valid, f"{count} numbers from {-MOST:g} to {MOST:g}")
        return tuple(map(float, values))

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a list of texts; empty if the field is missing."""
        values = self._value(name, [], lambda v: isinstance(v, list | tuple), "a list of texts")
        items = Fields({str(i): one for i, one in enumerate(values, start=1)}, self._inside(name))
        return tuple(items.text(one) for one in items.data)

    def plain_list(self, name: str) -> Any:
        """Return a list of plain data as it is."""
        return self._value(name, _MISSING, lambda v: isinstance(v, list | tuple), "a list")

    def plain_object(self, name: str, default: Any = _MISSING) -> Any:
        """Return an object of plain data as it is."""
        return self._value(name, default, lambda v: isinstance(v, Mapping), "an object")

    def fields(self, name: str) -> "Fields":
        """Return the fields of an object."""
        return Fields(self.plain_object(name), self._inside(name))

    def list_of_fields(self, name: str) -> "list[Fields]":
        """Return the fields of each object in a list that is not empty."""
        values = self._value(
            name, _MISSING, lambda v: isinstance(v, list | tuple) and len(v) > 0, "a list of one or more objects"
        )
        return [Fields(one, f"{self._inside(name)} {i}") for i, one in enumerate(values, start=1)]

    def error(self, name: str, expected: str) -> InputError:
        """Make the error of a field that has a value."""
        return InputError(f"{self._prefix()}{name} {shown(self.data[name])}; expected {expected}.")

    def _value(self, name: str, default: Any, is_valid: Callable[[Any], bool], expected: str) -> Any:
        value = self.data.get(name)
        if value is None:
            if default is _MISSING:
                raise InputError(f"{self._prefix()}{name} is missing; expected {expected}.")
            return default
        if not is_valid(value):
            raise self.error(name, expected)
        return value

    def _prefix(self) -> str:
        return f"{self.where}, " if self.where else ""

    def _inside(self, name: str) -> str:
        return f"{self._prefix()}{name}"


def is_number(value: object) -> bool:
    """Return whether a value is a number within the range of a float; True and False are not numbers here."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


__all__ = ["LONGEST_TEXT", "MOST", "Fields", "is_number", "is_plain_text", "shown"]
