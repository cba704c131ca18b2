"""Make the tables of an evaluation: every estimate with its interval, and the data of the figures."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from GTRStagingLib.evaluation.evaluate import Evaluation
from GTRStagingLib.evaluation.performance import Performance
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
        "confusion": [
            {"true_stage": str(stage), **{f"predicted_{p}": n for p, n in zip(TStage, row, strict=True)}}
            for stage, row in zip(TStage, found.performance.metrics.confusion.tolist(), strict=True)
        ],
        "table1": [
            {"variable": line.variable, "level": line.level,
             **dict(zip(("all", *map(str, TStage)), line.cells, strict=True))}
            for line in found.description
        ],
    }  # fmt: skip
    points = [(s, x, y) for s, curve in found.curves.items() if curve is not None for x, y in curve.tolist()]
    if points:
        drawn["roc"] = [{"stage": s, "false_positive_rate": x, "true_positive_rate": y} for s, x, y in points]
    if found.calibration is not None:
        drawn["calibration"] = [
            {"event": event.event, "mean_predicted": point.predicted, "observed": point.observed.value,
             "low": point.observed.low, "high": point.observed.high, "n": point.n}
            for event in found.calibration.events for point in event.curve
        ]  # fmt: skip
    drawn["decision_curves"] = [
        {"event": curve.event, "threshold": at, **{name: values[k] for name, values in curve.net_benefit.items()}}
        for curve in found.decisions.curves for k, at in enumerate(curve.thresholds)
    ]  # fmt: skip
    return drawn


def _groups(found: Evaluation) -> Iterator[tuple[str, str, Performance]]:
    yield "all", "", found.performance
    for name, part in (("patients without other rows in training", found.without_siblings),
                       ("patients with other rows in training", found.with_siblings),
                       ("rows and patients not in training", found.unseen)):  # fmt: skip
        if part is not None:
            yield name, "", part
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
