"""Represent a predictor of a nomogram, and decide which values it takes.

The command line, the page, 3D Slicer and batches all ask `Term.accepted`, so that they take the same values.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from GTRStagingLib.errors import InputError
from GTRStagingLib.support.fields import MOST, shown

RADSCORE = "radscore"
"""Name of the term for a standardised Rad-score."""

REFERENCE = "reference"
"""Value that leaves a term out (at its typical value or reference level). It is never a default."""

FAR = 3.0
"""How far a value may lie outside of a term's range, in widths of the range.

Beyond, a nomogram says nothing, and a value is nearly always a slip: another unit, or a digit too many.
"""

LARGEST_LOG_ODDS = 300.0
"""Largest log odds of a term over its limits: the odds ratio of two values is finite."""

_NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?", re.ASCII)
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}", re.ASCII)
"""Text whose comma may separate thousands, or decimals."""


def entered_number(text: str) -> float | None:
    """Return the number that a typed text is, with a point or a decimal comma; None for any other text.

    Examples
    --------
    `1,234` could be two numbers.

    >>> from GTRStagingLib.nomogram.terms import entered_number
    >>> entered_number("0.8"), entered_number("0,8"), entered_number("1,234"), entered_number("1e400")
    (0.8, 0.8, None, None)
    """
    plain = text.strip().replace("\u2212", "-")
    if not _NUMBER.fullmatch(plain) or _THOUSANDS.fullmatch(plain):
        return None
    value = float(plain.replace(",", "."))
    return value if math.isfinite(value) else None


@dataclass(frozen=True)
class Term:
    """Predictor of a nomogram.

    Attributes
    ----------
    name, label, unit
        Column of the table, and its label and unit for readers.
    coefficient
        Log odds of a higher stage per unit of a number; None for a choice.
    range
        Lowest and highest value in the data of the fit, which is also the range of the drawn scale. Values outside
        of it give a warning; those outside of `limits` are refused.
    typical
        Number that contributions refer to (the cohort's mean; 0 for a standardised number).
    levels
        Log odds of each level of a choice relative to the reference level; empty for a number.
    reference
        Reference level of a choice.
    """

    name: str
    label: str
    unit: str = ""
    coefficient: float | None = None
    range: tuple[float, float] = (0.0, 1.0)
    typical: float = 0.0
    levels: Mapping[str, float] = field(default_factory=dict, hash=False)
    reference: str | None = None

    def __post_init__(self) -> None:
        low, high = self.range
        numbers = (low, high, self.typical)
        if not self.levels and not (
            all(math.isfinite(x) and abs(x) <= MOST for x in numbers)
            and high - low > 1e-9 * max(abs(low), abs(high), 1e-3)
        ):
            raise InputError(
                f"Term {self.name}: range {self.range}, typical value {self.typical}; expected finite numbers of at "
                f"most {MOST:g}, those of the range far enough apart, the lower one first."
            )
        coefficients: Mapping[str, float | None] = self.levels or {"": self.coefficient}
        if missing := [level for level, c in coefficients.items() if c is None]:
            of = f" of {', '.join(missing)}" if self.levels else ""
            raise InputError(
                f"Term {self.name} has no coefficient{of}; expected a number. Fill it in, or remove it from the file."
            )
        known = [c for c in coefficients.values() if c is not None]
        if not all(math.isfinite(c) and abs(c) <= MOST for c in known):
            raise InputError(f"Term {self.name}: coefficients {known}; expected finite numbers of at most {MOST:g}.")
        largest = max(map(abs, (*self._weights(self.limits), self.typical_weight)))
        if largest > LARGEST_LOG_ODDS:
            raise InputError(
                f"Term {self.name}: coefficients {known} change the log odds by {largest:g} over the values that it "
                f"takes; expected at most {LARGEST_LOG_ODDS:g}. Check the coefficient and its unit."
            )
        if self.reference is not None and self.levels.get(self.reference) != 0:
            raise InputError(f"Term {self.name}: reference {self.reference!r}; expected a level with coefficient 0.")

    @property
    def is_choice(self) -> bool:
        """Whether the term has levels."""
        return bool(self.levels)

    @property
    def limits(self) -> tuple[float, float]:
        """Lowest and highest number that the term takes: `FAR` widths of its range outside of it."""
        low, high = self.range
        return low - FAR * (high - low), high + FAR * (high - low)

    @property
    def expected(self) -> str:
        """What the term takes, and the remedy for something else, for messages."""
        if self.levels:
            return f"expected one of {', '.join(self.levels)}. Choose one of them."
        low, high = self.limits
        unit = f" in {self.unit}" if self.unit else ""
        return (
            f"expected a number{unit}, from {low:g} to {high:g}, without separators of thousands. Check the value and "
            "its unit."
        )

    def accepted(self, value: object) -> str | float:
        """Return a value as the term takes it: a finite number within its limits, one of its levels, or `REFERENCE`.

        The text of a number may have a decimal comma. A level may be written in another case, without blanks, and with
        `>=` for `≥`.

        Raises
        ------
        InputError
            If it cannot be taken as one of these.
        """
        if value == REFERENCE:
            return REFERENCE
        if self.levels:
            level = self._level(value)
            if level is None:
                raise InputError(f"{self.label} {shown(value)}; {self.expected}")
            return level
        number = _number(value)
        low, high = self.limits
        if number is None or not low <= number <= high:
            raise InputError(f"{self.label} {shown(value)}; {self.expected}")
        return number

    def _level(self, value: object) -> str | None:
        if not isinstance(value, str) or value in self.levels:
            return value if isinstance(value, str) else None
        alike = [level for level in self.levels if _spelled(level) == _spelled(value)]
        return alike[0] if len(alike) == 1 else None

    def weight(self, value: str | float) -> float:
        """Return the contribution of a value to the linear predictor.

        Raises
        ------
        InputError
            If the value is not valid for this term.
        """
        taken = self.accepted(value)
        if taken == REFERENCE:
            return self.typical_weight
        return self.levels[taken] if isinstance(taken, str) else self._slope * taken

    def weights_of_range(self) -> tuple[float, float]:
        """Return the lowest and highest weight over the range or the levels."""
        return self._weights(self.range)

    def _weights(self, numbers: tuple[float, float]) -> tuple[float, float]:
        weights = list(self.levels.values()) or [self._slope * x for x in numbers]
        return min(weights), max(weights)

    @property
    def _slope(self) -> float:
        return 0.0 if self.coefficient is None else self.coefficient

    @property
    def outside(self) -> str:
        """Warning on a value outside of the range, with a place for the value."""
        label = self.label.replace("{", "{{").replace("}", "}}")
        return f"{label} {{}} is outside the range of this nomogram, {self.range[0]:g} to {self.range[1]:g}."

    @property
    def typical_weight(self) -> float:
        """Weight relative to which contributions are given."""
        return self._slope * self.typical


def _number(value: object) -> float | None:
    """Return a number, or the text of one, as a float; None for anything else."""
    if isinstance(value, str):
        return entered_number(value)
    try:
        return None if isinstance(value, bool) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None


def _spelled(level: str) -> str:
    """Return a level without what is often written in another way."""
    return "".join(level.split()).casefold().replace(">=", "≥").replace("<=", "≤")


__all__ = ["FAR", "RADSCORE", "REFERENCE", "Term", "entered_number"]
