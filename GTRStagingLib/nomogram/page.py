"""Make the HTML section of a nomogram: the result for given values, and controls that update it with JavaScript.

`resources/nomogram.js` computes the same as `Nomogram.read`; a test compares them.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from GTRStagingLib.errors import InputError
from GTRStagingLib.nomogram.effects import MOST, effects, ratio_text
from GTRStagingLib.nomogram.nomogram import RADSCORE, REFERENCE, Nomogram, Reading, Term
from GTRStagingLib.stages import RESEARCH_USE_ONLY, TStage
from GTRStagingLib.support import pages

NOT_GIVEN = "not given"
WORDS: Mapping[str, str] = {
    "not_given": NOT_GIVEN,
    "out": "left out (reference)",
    "not_shown": "not shown",
    "summary": "Highest probability: {stage} ({shares}). Total points: {points}.",
    "missing": "To see probabilities, give every factor a value or leave it out. Missing: {}.",
    "refused": "To see probabilities, correct: {}.",
    "not_accepted": "not accepted",
    "left_out": "{} left out: the reference is used.",
}
"""Sentences that Python writes and JavaScript updates."""


def fragment(
    nomogram: Nomogram,
    *,
    values: Mapping[str, str | float] | None = None,
    network_stage: TStage | None = None,
    network_probabilities: Sequence[float] | None = None,
    with_effects: bool = True,
) -> str:
    """Return the nomogram's section of a page, at most one per page.

    The page must include `style()` and `script()`, and its Content-Security-Policy must allow the script.

    Parameters
    ----------
    values
        Known values, as `Nomogram.read` takes them; other terms have no value.
    network_stage, network_probabilities
        Result of the network for comparison: the vote of the slices and their mean probabilities, T1..T4.
    with_effects
        Show the table of coefficients, odds ratios and p values.

    Raises
    ------
    InputError
        If a value is invalid for its term, only one part of the network's result is given, or jinja2 is not installed.
    """
    if (network_stage is None) != (network_probabilities is None):
        raise InputError(
            f"Stage {network_stage}, probabilities {network_probabilities} of the network; expected both, or neither."
        )
    given = dict(values or {})
    state = _state(nomogram, given)
    return pages.template("nomogram.html.j2").render(
        nomogram=nomogram,
        research_use_only=RESEARCH_USE_ONLY,
        reference=REFERENCE,
        given=bool(given),
        stages=[str(stage) for stage in TStage],
        network=None if network_probabilities is None else (str(network_stage), list(network_probabilities)),
        warnings_of_nomogram=warnings_of(nomogram),
        controls=[_control(term, given.get(term.name)) for term in nomogram.terms],
        effects=effects(nomogram) if with_effects else (),
        signed=_signed,
        model=_model(nomogram),
        percent=_percent,
        **state,
    )


def page(
    nomogram: Nomogram,
    *,
    values: Mapping[str, str | float] | None = None,
    network_stage: TStage | None = None,
    network_probabilities: Sequence[float] | None = None,
) -> str:
    """Return the section as a self-contained page, with the effects; parameters and errors are those of `fragment`."""
    section = fragment(
        nomogram, values=values, network_stage=network_stage, network_probabilities=network_probabilities
    )
    return pages.template("nomogram_page.html.j2").render(
        nomogram=nomogram,
        research_use_only=RESEARCH_USE_ONLY,
        alarms=pages.alarms(*warnings_of(nomogram)),
        section=section,
        script=script(),
        policy=pages.policy(script()),
    )


def warnings_of(nomogram: Nomogram) -> tuple[str, ...]:
    """Return the warnings of a nomogram and of its Rad-score, each once."""
    of_radscore = (nomogram.radscore or {}).get("warnings", ())
    return tuple(dict.fromkeys((*nomogram.warnings, *of_radscore)))


def style() -> str:
    """Return the CSS of the section, which extends `resources/look.css.j2`."""
    return pages.resource("nomogram.css")


def script() -> str:
    """Return the JavaScript of the section, which must be the exact content of one script element."""
    return pages.resource("nomogram.js")


def script_hash() -> str:
    """Return the hash that allows `script` in a Content-Security-Policy."""
    return pages.source_hash(script())


# -- content without JavaScript ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Row:
    """Texts of a factor; the bar is (x, width), of 100."""

    label: str
    against: str
    value: str
    points: str = "–"
    odds: str = "–"
    bar: tuple[str, str] = ("50.00", "0.00")


def _state(nomogram: Nomogram, values: Mapping[str, str | float]) -> dict[str, Any]:
    """Return rows, probabilities and sentences for values, which may be incomplete."""
    for name in values:
        nomogram.term(name)
    # The scale of the points depends on all terms, so terms without a value are included, but not shown.
    reading = nomogram.read({term.name: values.get(term.name, REFERENCE) for term in nomogram.terms})
    missing = [term.label for term in nomogram.terms if term.name not in values]
    shared = {
        "rows": [_row(nomogram, term, values.get(term.name), reading) for term in nomogram.terms],
        "warnings": _of_these_values(nomogram, values),
    }
    if missing:
        return {
            **shared,
            "probabilities": None,
            "stage": WORDS["not_shown"],
            "total": ("–", "–"),
            "summary": WORDS["missing"].replace("{}", ", ".join(missing)),
        }
    total = f"{reading.total_points:.1f}"
    shares = ", ".join(f"{stage} {_percent(reading.probabilities[stage])}" for stage in TStage)
    return {
        **shared,
        "probabilities": list(reading.probabilities),
        "stage": str(reading.stage),
        "total": (total, _odds(sum(reading.contributions.values()))),
        "summary": WORDS["summary"].format(stage=reading.stage, shares=shares, points=total),
    }


def _of_these_values(nomogram: Nomogram, values: Mapping[str, str | float]) -> list[str]:
    """Return the warnings on the given values, without the nomogram's own."""
    terms = tuple(term for term in nomogram.terms if term.name in values)
    return list(replace(nomogram, terms=terms, warnings=()).read(values).warnings) if terms else []


def _row(nomogram: Nomogram, term: Term, value: str | float | None, reading: Reading) -> _Row:
    against = term.reference or "" if term.is_choice else _with_unit(_plain(term.typical), term)
    row = _Row(term.label, f"compared with {against}" if against else "", NOT_GIVEN)
    if value is None:
        return row
    taken = reading.values[term.name]
    text = _with_unit(taken if isinstance(taken, str) else _plain(taken), term)
    if taken == REFERENCE:
        text = WORDS["out"]
    contribution = reading.contributions[term.name]
    length = max(-1.0, min(1.0, contribution / (_widest(nomogram) or 1)))
    return replace(
        row,
        value=text,
        points=f"{reading.points[term.name]:.1f}",
        odds=_odds(contribution),
        bar=(f"{50 + 50 * min(0, length):.2f}", f"{50 * abs(length):.2f}"),
    )


def _widest(nomogram: Nomogram) -> float:
    """Return the largest contribution within the ranges, in log odds, which is the length of a full bar."""
    return max(abs(w - term.typical_weight) for term in nomogram.terms for w in term.weights_of_range())


# -- controls ------------------------------------------------------------------------------------------------------


def _control(term: Term, value: str | float | None) -> dict[str, Any]:
    """Return the controls of a term, with a value only if one is given."""
    taken = None if value is None else term.accepted(value)
    number = taken if isinstance(taken, float) else None
    low, high = term.range
    middle = min(max(term.typical, low), high)
    return {
        "term": term,
        "value": taken,
        "number": None if number is None else repr(number).removesuffix(".0"),
        "position": middle if number is None else number,
        "step": 10.0 ** math.floor(math.log10((high - low) / 50)),
        "hint": _hint(term),
    }


def _hint(term: Term) -> str:
    if term.is_choice:
        return ""
    seen = f"Range: {_plain(term.range[0])} to {_with_unit(_plain(term.range[1]), term)}."
    if term.name != RADSCORE:
        return seen
    return f"{seen} Standardised by the cohort of the Rad-score's fit."


def _model(nomogram: Nomogram) -> dict[str, Any]:
    """Return the numbers and sentences for the script."""
    return {
        "thresholds": list(nomogram.thresholds),
        "points_per_unit": nomogram.points_per_unit,
        "widest": _widest(nomogram),
        "most": MOST,
        "reference": REFERENCE,
        "stages": [str(stage) for stage in TStage],
        "words": dict(WORDS),
        "terms": [
            {
                "label": term.label,
                "unit": term.unit,
                "levels": dict(term.levels) or None,
                "coefficient": term.coefficient,
                "range": list(term.range),
                "typical": term.typical_weight,
                "lowest": term.weights_of_range()[0],
                "left_out": term.weight(REFERENCE),
                "outside": term.outside.format("{}"),
                "limits": list(term.limits),
                "expected": term.expected,
            }
            for term in nomogram.terms
        ],
    }


# -- format of numbers, the same as in nomogram.js -----------------------------------------------------------------


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _plain(value: float) -> str:
    """Return a number with six significant digits, without an exponent."""
    return f"{float(f'{value:.6g}'):.15g}".replace("-", "−")


def _with_unit(text: str, term: Term) -> str:
    return f"{text} {term.unit}" if term.unit else text


def _signed(value: float) -> str:
    text = f"{abs(value):.2f}"
    return text if float(text) == 0 else f"{'−' if value < 0 else '+'}{text}"


def _odds(contribution: float) -> str:
    """Return log odds with two decimals and odds ratio with three digits."""
    return f"{_signed(contribution)} · ×{ratio_text(contribution)}"


__all__ = ["fragment", "page", "script", "script_hash", "style", "warnings_of"]
