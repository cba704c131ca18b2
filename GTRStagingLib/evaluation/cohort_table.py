"""Describe the patients of cohorts side by side (Table 1 by cohort), with tests and standardised differences."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from GTRStagingLib.evaluation.predictions import Predictions
from GTRStagingLib.evaluation.table_one import (
    MOST_LEVELS,
    NOT_GIVEN,
    Covariate,
    covariate,
    described_columns,
    highest_stages,
)
from GTRStagingLib.stages import TStage
from GTRStagingLib.stats import group_differences
from GTRStagingLib.stats.estimates import Clusters
from GTRStagingLib.support.counts import counted


@dataclass(frozen=True)
class CohortLine:
    """Line of Table 1 by cohort.

    Attributes
    ----------
    variable, level
        The covariate; its level, the statistic of a number, or 'not given'.
    cells
        Texts of the cohorts in their order, then of all patients.
    p
        P value of the difference between the cohorts, on the covariate's first line only.
    test
        Name of the test, or why there is no p value; on the first line only.
    difference
        Largest absolute standardised difference between two cohorts, on the first line only; None if not defined.
    """

    variable: str
    level: str
    cells: tuple[str, ...]
    p: float | None = None
    test: str = ""
    difference: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain data."""
        return asdict(self)


def describe_cohorts(found: Predictions, column: str, cohorts: Mapping[str, np.ndarray]) -> tuple[CohortLine, ...]:
    """Describe the patients of each cohort and of all: their number, stages, and covariates from their first row there.

    Missing values are counted and take no part in shares and tests, and neither does the cohort of rows without one. A
    patient with rows in several cohorts counts in each of them; then nothing is tested, since tests require different
    patients.

    Parameters
    ----------
    column
        The cohort column, which is not described.
    cohorts
        Name -> (n,) bool of its rows.
    """
    groups = [np.flatnonzero(rows)[found.clusters.at(rows).first] for rows in cohorts.values()]
    groups.append(found.clusters.first)
    lines = [CohortLine("Patients", "n", tuple(f"{len(group):,}" for group in groups))]
    if found.clustered:
        counts = [int(rows.sum()) for rows in cohorts.values()]
        lines.append(CohortLine("Rows", "n", tuple(f"{n:,}" for n in (*counts, len(found)))))
    stages = np.array([str(stage) for stage in TStage], dtype=object)[highest_stages(found)[found.patients]]
    others = (covariate(found, name) for name in described_columns(found) if name != column)
    compared = [group for name, group in zip(cohorts, groups[:-1], strict=True) if name != NOT_GIVEN]
    shared = shared_patients(found.clusters, (rows for name, rows in cohorts.items() if name != NOT_GIVEN))
    for one in (Covariate("T stage", None, stages), *others):
        p, test, difference = _compared(one, compared)
        if shared:
            p, test = None, f"not tested: {counted(shared, 'patient')} in several cohorts"
        lines += _described(one, groups, p, test, difference)
    return tuple(lines)


def shared_patients(clusters: Clusters, cohorts: Iterable[np.ndarray]) -> int:
    """Count the patients with rows in several cohorts, each a (n,) bool of its rows."""
    number = np.zeros(clusters.number, int)
    for rows in cohorts:
        number[np.unique(clusters.codes[rows])] += 1
    return int((number > 1).sum())


def _described(
    one: Covariate, groups: Sequence[np.ndarray], p: float | None, test: str, difference: float | None
) -> Iterator[CohortLine]:
    for k, line in enumerate(one.lines(groups)):
        more = (p, test, difference) if k == 0 else ()
        yield CohortLine(line.variable, line.level, line.cells, *more)


def _compared(one: Covariate, groups: Sequence[np.ndarray]) -> tuple[float | None, str, float | None]:
    if len(groups) < 2:
        return None, "not tested: fewer than two cohorts", None
    if one.numbers is not None:
        values = [one.given(group) for group in groups]
        return *group_differences.compare_numbers(values), group_differences.difference_of_numbers(values)
    levels, counts, _ = one.counts(groups)
    if len(levels) > MOST_LEVELS:
        return None, "not tested: too many different texts", None
    return *group_differences.compare_choices(counts), group_differences.difference_of_choices(counts)


__all__ = ["CohortLine", "describe_cohorts", "shared_patients"]
