"""Describe the patients: covariates by stage (Table 1, by patient), and groups of rows by a covariate."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from GTRStagingLib.errors import InputError
from GTRStagingLib.evaluation.predictions import Predictions
from GTRStagingLib.stages import TStage
from GTRStagingLib.stats.estimates import Clusters
from GTRStagingLib.tables.stage_cells import WHOLE

MOST_LEVELS = 12
"""Largest number of levels of a text that is described; a text with more is an id or a comment."""

NOT_GIVEN = "not given"
"""Level of missing values, and cohort of the rows without one."""


@dataclass(frozen=True)
class Described:
    """Line of Table 1.

    Attributes
    ----------
    variable, level
        The covariate; its level, or the statistic of a number.
    cells
        Texts for all patients, then for patients of T1 to T4.
    """

    variable: str
    level: str
    cells: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain data."""
        return asdict(self)


def describe_patients(found: Predictions, cohort_column: str | None = None) -> tuple[Described, ...]:
    """Describe the patients by their highest stage: their number, and each covariate from their first row.

    Numbers are described by mean and standard deviation, and by median and quartiles; texts by count and share of the
    given values. Missing values are counted, and so are patients with contradictory rows.

    Parameters
    ----------
    cohort_column
        Column of the cohorts, which are texts in the order of their first rows, as in every other table.
    """
    clusters = found.clusters
    first, highest = clusters.first, highest_stages(found)
    groups = [first, *(first[highest == stage] for stage in TStage)]
    total = len(first)
    lines = [Described("Patients", "n", tuple(_share(len(g), total, i) for i, g in enumerate(groups)))]
    if found.clustered:
        rows = [len(found), *(int((found.stages == stage).sum()) for stage in TStage)]
        lines.append(Described("Rows", "n", tuple(f"{n:,}" for n in rows)))
    for name in described_columns(found):
        own = name == cohort_column
        one = Covariate(name, None, found.texts(name), by_appearance=True) if own else covariate(found, name)
        lines += one.lines(groups)
        if contradicted := _contradicted(found.texts(name), clusters):
            lines.append(Described(name, "patients with contradictory rows", (f"{contradicted}", *[""] * 4)))
    return tuple(lines)


def highest_stages(found: Predictions) -> np.ndarray:
    """Return the highest true stage of each patient, (patients,) 0..3."""
    highest = np.zeros(found.clusters.number, int)
    np.maximum.at(highest, found.clusters.codes, found.stages)
    return highest


def described_columns(found: Predictions) -> list[str]:
    """Return the columns that Table 1 describes: the centre and the covariates."""
    return [*([found.columns.centre] if found.columns.centre else []), *found.covariates]


def _share(n: int, of: int, column: int) -> str:
    return f"{n:,}" if column == 0 or not of else f"{n:,} ({100 * n / of:.1f} %)"


@dataclass(frozen=True)
class Covariate:
    """Covariate of the rows.

    Attributes
    ----------
    numbers
        (n,), NaN where missing; None for texts.
    texts
        (n,), None where missing.
    by_appearance
        Whether levels are in the order of their first rows; by default they are sorted.
    """

    name: str
    numbers: np.ndarray | None
    texts: np.ndarray
    by_appearance: bool = False

    def counts(self, groups: Sequence[np.ndarray]) -> tuple[list[str], np.ndarray, np.ndarray]:
        """Return the texts of groups of rows in order, their counts (groups, texts), and missing ones (groups,)."""
        import pandas as pd

        codes, names = pd.factorize(self.texts)  # -1 for None
        counts = np.array([np.bincount(codes[group] + 1, minlength=len(names) + 1) for group in groups])
        place = {name: k for k, name in enumerate(names.tolist(), start=1) if counts[:, k].any()}
        levels = list(place) if self.by_appearance else _sorted(place)
        return levels, counts[:, [place[level] for level in levels]], counts[:, 0]

    def given(self, group: np.ndarray) -> np.ndarray:
        """Return the numbers of a group of rows that are not missing."""
        values = np.empty(0) if self.numbers is None else self.numbers[group]
        return values[~np.isnan(values)]

    def lines(self, groups: Sequence[np.ndarray]) -> list[Described]:
        """Describe groups of rows, given by their indices: two lines for numbers, else one for each level."""
        levels, counts, missing = self.counts(groups)
        found: list[tuple[str, Iterable[str]]]
        if self.numbers is not None:
            values = [self.given(group) for group in groups]
            found = [("mean ± SD", map(_mean_and_sd, values)), ("median (quartiles)", map(_quartiles, values))]
        elif len(levels) > MOST_LEVELS:
            found = [(f"{len(levels)} different texts", [""] * len(groups))]
        else:
            totals = counts.sum(axis=1).tolist()
            found = [
                (level, [f"{n:,} ({100 * n / of:.1f} %)" if of else "–" for n, of in zip(column, totals, strict=True)])
                for level, column in zip(levels, counts.T.tolist(), strict=True)
            ]
        if missing.any():
            found.append((NOT_GIVEN, [f"{n:,}" for n in missing.tolist()]))
        return [Described(self.name, level, tuple(cells)) for level, cells in found]


def covariate(found: Predictions, name: str) -> Covariate:
    """Return a column as a covariate: numbers if it has more than two different ones, but texts for the centre."""
    numbers = None if name == found.columns.centre else found.numbers(name)
    if numbers is not None and len(set(numbers[~np.isnan(numbers)])) <= 2:
        numbers = None
    return Covariate(name, numbers, found.texts(name))


def _mean_and_sd(values: np.ndarray) -> str:
    """Return mean and standard deviation as text, as in '62.5 ± 10.4', with three digits of the deviation."""
    if len(values) < 2:
        return f"{values[0]:.4g}" if len(values) else "–"
    deviation = float(values.std(ddof=1))
    digits = 1 if deviation == 0 else min(6, max(0, 2 - math.floor(math.log10(deviation))))
    return f"{round(float(values.mean()), digits) + 0.0:.{digits}f} ± {deviation:.{digits}f}"


def _quartiles(values: np.ndarray) -> str:
    if not len(values):
        return "–"
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75]).tolist()
    return f"{middle:.4g} ({low:.4g} to {high:.4g})"


def _contradicted(texts: np.ndarray, clusters: Clusters) -> int:
    """Count the patients with different values in their rows."""
    if not clusters.clustered:
        return 0
    seen: dict[int, str] = {}
    found = set()
    for patient, text in zip(clusters.codes.tolist(), texts.tolist(), strict=True):
        if text is not None and seen.setdefault(patient, text) != text:
            found.add(patient)
    return len(found)


def _sorted(levels: Iterable[str]) -> list[str]:
    """Sort levels, numbers by value, so that 10 follows 2."""
    return sorted(levels, key=lambda text: (0, float(text), "") if WHOLE.fullmatch(text) else (1, 0.0, text))


def groups_by(found: Predictions, column: str) -> dict[str, np.ndarray]:
    """Map each level of a column to the (n,) bool of its rows.

    A number with many values is split at its median. Missing values are a level of their own.

    Raises
    ------
    InputError
        If the column does not exist, or has too many levels.
    """
    if column not in found.frame.columns:
        raise InputError(f"{found.source} has no column {column!r}; expected one of {', '.join(found.frame.columns)}.")
    texts, numbers = found.texts(column), found.numbers(column)
    given = np.array([t is not None for t in texts])
    groups: dict[str, np.ndarray] = {}
    if column != found.columns.centre and numbers is not None and len(set(numbers[given])) > MOST_LEVELS:
        cut = float(np.median(numbers[given]))
        groups[f"up to {cut:g}"] = given & (numbers <= cut)
        groups[f"above {cut:g}"] = given & (numbers > cut)
    else:
        levels = _sorted({t for t in texts if t is not None})
        if len(levels) > 4 * MOST_LEVELS:
            raise InputError(
                f"{column} has {len(levels)} different values; expected at most {4 * MOST_LEVELS}. Choose a column of "
                "groups."
            )
        groups = {level: texts == level for level in levels}
    if not given.all():
        groups[NOT_GIVEN] = ~given
    return {level: rows for level, rows in groups.items() if rows.any()}


__all__ = [
    "MOST_LEVELS",
    "NOT_GIVEN",
    "Covariate",
    "Described",
    "covariate",
    "describe_patients",
    "described_columns",
    "groups_by",
    "highest_stages",
]
