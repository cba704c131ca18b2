"""Give the effects of a nomogram as a paper prints them: coefficient, odds ratio with interval, p value."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from GTRStagingLib.nomogram.nomogram import Nomogram, Term

MOST = 6.9
"""Largest log odds for which an odds ratio is written as a number."""


@dataclass(frozen=True)
class Effect:
    """Effect of a unit of a number, or of a level of a choice, on the odds of a higher stage.

    Attributes
    ----------
    term, level
        Names as in the nomogram's file; `level` is None for a number.
    words
        Label of the term, and its level or unit.
    coefficient
        Log odds; 0 for the reference level.
    odds_ratio
        As in the record, which may be rounded in another way than the coefficient; without a record the exponential of
        the coefficient.
    interval
        Lower and upper limit (95 %) of the odds ratio; None if the record has none, and for the reference level.
    p
        P value as text, as in `0.26` or `< 0.001`; empty if the record has none, and for the reference level.
    """

    term: str
    level: str | None
    words: str
    coefficient: float
    odds_ratio: float
    interval: tuple[float, float] | None = None
    p: str = ""
    is_reference: bool = False

    @property
    def odds_text(self) -> str:
        """The odds ratio with its interval, as in `2.39 (1.80 to 3.20)` or `2.39 (no interval)`."""
        if self.is_reference:
            return "1 (reference)"
        limits = "no interval" if self.interval is None else " to ".join(map(_number_text, self.interval))
        return f"{_number_text(self.odds_ratio)} ({limits})"

    @property
    def sentence(self) -> str:
        """The words with odds ratio, interval and p value, in one line."""
        p = self.p and f", p {'' if self.p.startswith('<') else '= '}{self.p}"
        return f"{self.words}: {self.odds_text}{p}"


def effects(nomogram: Nomogram) -> tuple[Effect, ...]:
    """Return the effects of a nomogram's terms in their order, with those of the reference levels.

    Examples
    --------
    >>> from GTRStagingLib.nomogram.effects import effects
    >>> from GTRStagingLib.nomogram.nomogram import load
    >>> for one in effects(load("published-2025"))[:3]:
    ...     print(one.sentence)
    Rad-score, per SD: 2.39 (1.80 to 3.20), p < 0.001
    Tumour size, < 5 cm: 1 (reference)
    Tumour size, ≥ 5 cm: 2.00 (1.45 to 2.75), p < 0.001
    """
    recorded = {(row["term"], row["level"]): row for row in nomogram.record.get("coefficients", ())}
    found = []
    for term in nomogram.terms:
        for level in term.levels or (None,):
            coefficient = term.coefficient or 0.0 if level is None else term.levels[level]
            found.append(_effect(term, level, coefficient, recorded.get((term.name, level))))
    return tuple(found)


def _effect(term: Term, level: str | None, coefficient: float, row: Mapping[str, Any] | None) -> Effect:
    words = f"{term.label}, {level}" if level is not None else f"{term.label}, per {term.unit or 'unit'}"
    # The coefficient of a small unit may be so large that its exponential is not finite.
    ratio = math.exp(coefficient) if coefficient < 700 else math.inf
    if term.is_choice and level == term.reference:
        return Effect(term.name, level, words, coefficient, ratio, is_reference=True)
    if row is None:
        return Effect(term.name, level, words, coefficient, ratio)
    given = row["odds_ratio"]
    low, high = given.get("low"), given.get("high")
    interval = None if low is None or high is None else (low, high)
    return Effect(term.name, level, words, coefficient, given["value"], interval, _p_text(row))


def _p_text(row: Mapping[str, Any]) -> str:
    """Return a p value with two significant digits; an article may only state a bound, and a fit have none."""
    if row.get("p_below") is not None:
        return f"< {row['p_below']:g}"
    if row.get("p") is None:
        return ""
    return f"{row['p']:.2g}" if row["p"] >= 0.001 else "< 0.001"


def _number_text(ratio: float) -> str:
    return f"{ratio:.2f}" if 0.1 <= ratio < 1000 else f"{ratio:.3g}"


def ratio_text(log_odds: float) -> str:
    """Return the odds ratio of log odds with three digits, as the nomogram's page writes it."""
    if abs(log_odds) > MOST:
        return "<0.001" if log_odds < 0 else ">990"
    return f"{math.exp(log_odds):#.3g}".rstrip(".")


__all__ = ["MOST", "Effect", "effects", "ratio_text"]
