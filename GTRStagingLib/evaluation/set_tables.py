"""Make the tables of stage sets, of scores of uncertainty and of the stability along the scan for the report."""

from GTRStagingLib.evaluation.evaluate import Evaluation
from GTRStagingLib.evaluation.report_tables import STAGES, PrintedTable, p_text


def stage_sets(found: Evaluation) -> PrintedTable | None:
    """Make the table of coverage and size of the stage sets by cohort and true stage; None without sets."""
    if found.stage_sets is None:
        return None
    parts = () if found.cohorts is None else found.cohorts.parts
    named = [("all rows", found.stage_sets), *((part.name, part.stage_sets) for part in parts)]
    lines = [
        (
            name,
            what,
            one.promised,
            *(f"{n:,}" for n in (one.rows, one.withheld, one.without)),
            *(estimates[group].text(2) for group in ("all", *STAGES)),
        )
        for name, one in named
        if one is not None
        for what, estimates in (("coverage", one.coverage), ("mean size", one.size))
    ]
    return PrintedTable(
        "Stage sets",
        "Share of the rows whose stage set contains the true stage, beside the share that was promised, and mean "
        "number of stages in the set, by the true stage. Rows whose set was withheld, or that have none, are not "
        "counted.",
        ("", "", "promised", "rows with a set", "withheld", "without", "all", *STAGES),
        tuple(lines),
    )


def risk_coverage(found: Evaluation) -> PrintedTable | None:
    """Make the table of the areas under the risk-coverage curves by cohort and score; None without such scores."""
    if found.risk_coverage is None:
        return None
    parts = () if found.cohorts is None else found.cohorts.parts
    named = [("all rows", found.risk_coverage), *((part.name, part.risk_coverage) for part in parts)]
    lines = [
        (
            name,
            one.name,
            f"{one.rows:,}",
            one.area.text(),
            "-" if not one.rows else f"{one.random:.3f}",
            "-" if not one.rows else f"{one.best:.3f}",
            "-" if one.minus_first is None else one.minus_first.text(),
            "-" if one.p is None else p_text(one.p),
        )
        for name, risks in named
        if risks is not None
        for one in risks.scores
    ]
    first = found.risk_coverage.scores[0].name
    return PrintedTable(
        "Scores of uncertainty",
        "Area under the risk-coverage curve: mean share of errors among the k most certain rows, over all k; lower is "
        "better. Equal scores are in random order. An order at random has the share of errors of all rows; the best "
        "order has all errors last.",
        ("", "score", "rows", "area", "at random", "best", f"minus {first}", "p"),
        tuple(lines),
    )


def slice_stability(found: Evaluation) -> PrintedTable | None:
    """Make the table of the share of cases whose stage holds when the key slice moves; None without any."""
    if found.slice_stability is None:
        return None
    parts = () if found.cohorts is None else found.cohorts.parts
    named = [("all rows", found.slice_stability), *((part.name, part.slice_stability) for part in parts)]
    lines = [
        (
            name,
            f"± {mm:g} mm",
            f"{one.known[mm]:,}",
            f"{one.rows + one.without - one.known[mm]:,}",
            *(groups[group].text(2) for group in ("all", *STAGES)),
        )
        for name, one in named
        if one is not None
        for mm, groups in one.stable.items()
    ]
    return PrintedTable(
        "If the key slice moves",
        "Share of the rows in which every slice within the distance of the key slice has the stage of the case by its "
        "own probabilities, by the true stage. Only rows whose slices were asked so far up and down are counted. The "
        "voting slices answer for the distance of the slices alone; profiles ask farther.",
        ("", "distance", "rows asked so far", "not asked", "all", *STAGES),
        tuple(lines),
    )


__all__ = ["risk_coverage", "slice_stability", "stage_sets"]
