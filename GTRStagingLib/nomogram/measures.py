"""Give the measures of a nomogram's validation as a paper prints them: in words, with the interval of the C-index."""

import math
from dataclasses import dataclass

from GTRStagingLib.nomogram.nomogram import Nomogram
from GTRStagingLib.stats.estimates import Estimate
from GTRStagingLib.support.fields import Fields

WORDS = {
    "c_index": "C-index",
    "dxy": "Somers' D",
    "nagelkerke_r2": "Nagelkerke's R²",
    "calibration_slope": "calibration slope",
    **{f"calibration_error_T{k}": f"calibration error of T{k} or more" for k in (2, 3, 4)},
}
"""Measure in the record's validation -> its name for readers."""


@dataclass(frozen=True)
class Measure:
    """Measure of a nomogram as texts, on the rows of the fit and corrected for its optimism; `–` if undefined."""

    name: str
    apparent: str
    optimism: str
    corrected: str


def measures(nomogram: Nomogram) -> tuple[Measure, ...]:
    """Return the measures in the record of a nomogram's fit; none if it has no validation.

    Raises
    ------
    InputError
        If a measure in the record is not a number.
    """
    record = Fields(dict(nomogram.record), f"record of the nomogram {nomogram.name}")
    found = record.fields("validation") if record.has("validation") else Fields({})
    shown = []
    for name, words in WORDS.items():
        if found.has(name):
            one = found.fields(name)
            texts = {kind: _number(one, kind) for kind in ("apparent", "optimism", "corrected")}
            if name == "c_index" and record.has(name):
                kinds = record.fields(name)
                texts |= {kind: _estimate(kinds.fields(kind)) for kind in ("apparent", "corrected") if kinds.has(kind)}
            shown.append(Measure(words, **texts))
    return tuple(shown)


def _estimate(one: Fields) -> str:
    return Estimate(_value(one, "value"), _value(one, "low"), _value(one, "high"), one.text("method", "")).text()


def _number(one: Fields, name: str) -> str:
    value = _value(one, name)
    return "–" if value is None else f"{value:.3f}"


def _value(one: Fields, name: str) -> float | None:
    value: float | None = one.number(name, None, least=-math.inf, most=math.inf)
    return value


__all__ = ["Measure", "measures"]
