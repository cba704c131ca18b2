"""Make the tables of an evaluation: every estimate with its interval, and the data of the figures."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from GTRStagingLib.evaluation import answer_tables
from GTRStagingLib.evaluation.cohorts import CohortEvaluation, Cohorts
from GTRStagingLib.evaluation.evaluate import Evaluation
from GTRStagingLib.evaluation.flow import Counts
from GTRStagingLib.evaluation.performance import Performance
from GTRStagingLib.evaluation.reader_tables import rows_of_files
from GTRStagingLib.stages import TStage

ESTIMATE = frozenset({"value", "low", "high", "method"})
Cell = str | float | None
Rows = list[dict[str, Cell]]


def tables(found: Evaluation) -> dict[str, Rows]:
    """Return the tables: file name without ending -> rows, all with the same columns."""
    drawn: dict[str, Rows] = {
        "estimates": [dict(zip(("name", "value", "low", "high", "method"), one, strict=True))
                      for one in _estimates(found.to_json())],
        "performance": [row for group in _groups(found) for row in _performance(*group)],
        "table1": [
            {"variable": line.variable, "level": line.level,
             **dict(zip(("all", *map(str, TStage)), line.cells, strict=True))}
            for line in found.description
        ],
    }  # fmt: skip
    if found.cohorts is not None:
        drawn |= _by_cohort(found.cohorts)
    if found.scanners:
        names = [] if found.cohorts is None else _columns(found.cohorts)
        drawn["table4"] = [
            {"parameter": line.parameter, **dict(zip((*names, "all"), line.cells, strict=True))}
            for line in found.scanners
        ]
    drawn["flow"] = [
        {"step": step.text, "cohort": cohort, "rows": one.rows, "patients": one.patients}
        for step in found.flow.steps
        for cohort, one in (("", Counts(step.rows, step.patients)), *step.cohorts.items())
    ]
    drawn |= {name: rows for name, rows in _figures(found).items() if rows}
    return drawn | rows_of_files(found.study, found.comparison) | answer_tables.rows_of_files(found.answers)


def _figures(found: "Evaluation | CohortEvaluation") -> dict[str, Rows]:
    """Return the data of the figures of all rows or of a cohort."""
    calibrated = found.calibration
    return {
        "confusion": [
            {"true_stage": str(stage), **{f"predicted_{p}": n for p, n in zip(TStage, row, strict=True)}}
            for stage, row in zip(TStage, found.performance.metrics.confusion.tolist(), strict=True)
        ],
        "roc": [
            {"stage": stage, "false_positive_rate": x, "true_positive_rate": y}
            for stage, curve in found.curves.items() if curve is not None for x, y in curve.tolist()
        ],
        "calibration": [] if calibrated is None else [
            {"event": event.event, "mean_predicted": point.predicted, "observed": point.observed.value,
             "low": point.observed.low, "high": point.observed.high, "n": point.n}
            for event in calibrated.events for point in event.curve
        ],
        "risk_coverage": [] if found.risk_coverage is None else [
            {"score": one.name, "coverage": x, "risk": y}
            for one in found.risk_coverage.scores for x, y in one.curve.tolist()
        ],
        "decision_curves": [
            {"event": curve.event, "threshold": at, **{name: values[k] for name, values in curve.net_benefit.items()}}
            for curve in found.decisions.curves for k, at in enumerate(curve.thresholds)
        ],
    }  # fmt: skip


SHARES = ("sensitivity", "specificity", "ppv", "npv")
"""Measures of each stage in Table 2, in its order."""


def _by_cohort(cohorts: Cohorts) -> dict[str, Rows]:
    parts = [(part.name, _figures(part)) for part in cohorts.parts]
    figures: dict[str, Rows] = {}
    for table in parts[0][1]:
        rows = [{"cohort": name, **row} for name, drawn in parts for row in drawn[table]]
        # A comparator may be missing in some cohorts.
        columns = dict.fromkeys(column for row in rows for column in row)
        if rows:
            figures[f"{table}_by_cohort"] = [{column: row.get(column) for column in columns} for row in rows]
    return {
        **figures,
        "table1_by_cohort": [
            {"variable": line.variable, "level": line.level,
             **dict(zip((*_columns(cohorts), "all"), line.cells, strict=True)),
             "p": line.p, "test": line.test, "standardised_difference": line.difference}
            for line in cohorts.description
        ],
        "table2": [_table_2(part.name, part.performance) for part in cohorts.parts],
        **({"heterogeneity": [one.to_json() for one in cohorts.heterogeneity]} if cohorts.heterogeneity else {}),
    }  # fmt: skip


def _columns(cohorts: Cohorts) -> list[str]:
    """Return a column's name for each cohort, which no other column of the table has."""
    return [f"{cohorts.column} {part.name}" for part in cohorts.parts]


def _table_2(name: str, part: Performance) -> dict[str, Cell]:
    """Return the row of a cohort: each estimate with its interval as text, and the numbers of rows and patients."""
    metrics, areas = part.metrics, part.areas
    return {
        "cohort": name,
        "rows": metrics.n_rows,
        "patients": metrics.n_patients,
        "accuracy": metrics.accuracy.text(1, percent=True),
        "macro_auc": "–" if areas is None else areas.macro.text(2),
        **{
            f"{measure}_{stage}": getattr(one, measure).text(1, percent=True)
            for measure in SHARES
            for stage, one in metrics.per_class.items()
        },
    }


def _groups(found: Evaluation) -> Iterator[tuple[str, str, Performance]]:
    yield "all", "", found.performance
    for name, part in (("patients without other rows in training", found.without_siblings),
                       ("patients with other rows in training", found.with_siblings),
                       ("rows and patients not in training", found.unseen)):  # fmt: skip
        if part is not None:
            yield name, "", part
    if found.early is not None:
        yield "true stage T1 or T2", "", found.early
    if found.cohorts is not None and found.cohorts.column not in found.groups:
        for cohort in found.cohorts.parts:
            yield found.cohorts.column, cohort.name, cohort.performance
    for column, levels in found.groups.items():
        for level, part in levels.items():
            yield column, level, part


def _performance(group: str, level: str, part: Performance) -> Iterator[dict[str, Cell]]:
    head: dict[str, Cell] = {"group": group, "level": level, "n_rows": part.metrics.n_rows,
                             "n_patients": part.metrics.n_patients}  # fmt: skip
    for name, value, low, high, method in _estimates(part.to_json()):
        yield {**head, "measure": name, "value": value, "low": low, "high": high, "method": method}


def _estimates(node: Any, path: str = "") -> Iterator[tuple[str, Cell, Cell, Cell, Cell]]:
    """Yield every estimate in a node of plain data, with its path in `metrics.json`."""
    if isinstance(node, Mapping):
        if set(node) == ESTIMATE:
            yield path, node["value"], node["low"], node["high"], node["method"]
            return
        for name, below in node.items():
            yield from _estimates(below, f"{path}.{name}" if path else str(name))
    elif isinstance(node, Sequence) and not isinstance(node, str):
        for i, below in enumerate(node):
            yield from _estimates(below, f"{path}.{i}")


__all__ = ["tables"]
