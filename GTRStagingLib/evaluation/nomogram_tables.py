"""Make the tables of a nomogram for the report of an evaluation: its terms, its tests and its validation."""

import math
from collections.abc import Iterator

from GTRStagingLib.evaluation.report_tables import Line, PrintedTable, p_text
from GTRStagingLib.nomogram.effects import effects
from GTRStagingLib.nomogram.measures import measures
from GTRStagingLib.nomogram.nomogram import Nomogram
from GTRStagingLib.support.fields import Fields


def _number(one: Fields, name: str) -> float | None:
    value: float | None = one.number(name, None, least=-math.inf, most=math.inf)
    return value


def terms(nomogram: Nomogram) -> PrintedTable:
    """Make Table 3: coefficient, odds ratio with interval and p value of each term, and the thresholds."""
    return PrintedTable(
        "Nomogram's terms",
        "Proportional odds model; odds ratios of a higher stage.",
        ("", "coefficient", "odds ratio (95 %)", "p"),
        tuple(_terms(nomogram)),
    )


def _terms(nomogram: Nomogram) -> Iterator[Line]:
    for one in effects(nomogram):
        yield one.words, "0" if one.is_reference else f"{one.coefficient:+.3f}", one.odds_text, one.p or "–"
    for k, theta in enumerate(nomogram.thresholds, start=1):
        yield f"threshold T{k} | T{k + 1}", f"{theta:+.3f}", "–", "–"


def tests(nomogram: Nomogram) -> PrintedTable | None:
    """Make the table of the tests of a fitted nomogram; None if its record has none."""
    record, lines = Fields(dict(nomogram.record), f"record of the nomogram {nomogram.name}"), []
    if record.has("likelihood_ratio"):
        lines.append(_test("all terms against none", record.fields("likelihood_ratio")))
    if record.has("radscore_test"):
        lines.append(_test("with the Rad-score against without", record.fields("radscore_test")))
    if record.has("proportional_odds"):
        odds = record.fields("proportional_odds")
        lines.append(_test("proportional odds (Brant), all terms", odds.fields("omnibus")))
        labels = {term.name: term.label for term in nomogram.terms}
        of_terms = odds.fields("terms")
        for name in of_terms.data:
            lines.append(_test(f"proportional odds (Brant), {labels.get(name, name)}", of_terms.fields(name)))
    if not lines:
        return None
    return PrintedTable(
        "Nomogram's tests",
        "A small p of Brant's test means that the odds are not proportional: a term acts differently on early and late "
        "stages.",
        ("", "statistic", "df", "p", "test"),
        tuple(lines),
    )


def _test(name: str, one: Fields) -> Line:
    statistic, p = _number(one, "chi2"), _number(one, "p")
    shown = "–" if statistic is None else f"{statistic:.2f}"
    return name, shown, str(one.data.get("df") or "–"), p_text(p), one.text("method")


def validation(nomogram: Nomogram) -> PrintedTable | None:
    """Make the table of apparent and optimism-corrected performance; None if the record has no validation."""
    record = Fields(dict(nomogram.record), f"record of the nomogram {nomogram.name}")
    if not record.has("validation"):
        return None
    method = record.fields("validation").text("method")
    return PrintedTable(
        "Nomogram's validation",
        f"Performance on the rows of the fit (apparent), and corrected for optimism: {method}. The corrected values "
        "are those to report.",
        ("", "apparent", "optimism", "corrected"),
        tuple((one.name, one.apparent, one.optimism, one.corrected) for one in measures(nomogram)),
    )


__all__ = ["terms", "tests", "validation"]
