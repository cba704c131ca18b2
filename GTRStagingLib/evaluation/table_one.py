"""Describe the patients: covariates by stage (Table 1, by patient), and groups of rows by a covariate."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from GTRStagingLib.errors import InputError
from GTRStagingLib.evaluation.parsing import WHOLE
from GTRStagingLib.evaluation.predictions import Predictions
from GTRStagingLib.stages import TStage
from GTRStagingLib.stats.estimates import Clusters

MOST_LEVELS = 12
"""Largest number of levels of a text that is described; a text with more is an id or a comment."""


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
        Name of the test, or why there is no p value.
    difference
        Largest absolute standardised difference between two cohorts, on the covariate's first line only.
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


def describe_patients(found: Predictions) -> tuple[Described, ...]:
    """Describe the patients by their highest stage: their number, and each covariate from their first row.

    Numbers are described by median and quartiles, texts by count and share of the given values. Missing values are
    counted, and so are patients with contradictory rows.
    """
    clusters = found.clusters
    first = clusters.first
    highest = np.zeros(clusters.number, int)
    np.maximum.at(highest, clusters.codes, found.stages)
    groups = [np.ones(len(first), bool), *(highest == stage for stage in TStage)]
    total = len(first)
    lines = [Described("Patients", "n", tuple(_share(int(g.sum()), total, i) for i, g in enumerate(groups)))]
    if found.clustered:
        rows = [len(found), *(int((found.stages == stage).sum()) for stage in TStage)]
        lines.append(Described("Rows", "n", tuple(f"{n:,}" for n in rows)))
    names = [*([found.columns.centre] if found.columns.centre else []), *found.covariates]
    for name in names:
        numbers = found.numbers(name)
        texts = found.texts(name)
        if name != found.columns.centre and numbers is not None and len(set(numbers[~np.isnan(numbers)])) > 2:
            lines += _of_numbers(name, numbers[first], groups)
        else:
            lines += _of_texts(name, texts[first], groups)
        contradicted = _contradicted(texts, clusters)
        if contradicted:
            lines.append(Described(name, "patients with contradictory rows", (f"{contradicted}", *[""] * 4)))
    return tuple(lines)


def _share(n: int, of: int, column: int) -> str:
    return f"{n:,}" if column == 0 or not of else f"{n:,} ({100 * n / of:.1f} %)"


def _of_numbers(name: str, values: np.ndarray, groups: Sequence[np.ndarray]) -> Iterator[Described]:
    def quartiles(group: np.ndarray) -> str:
        given = values[group & ~np.isnan(values)]
        if not len(given):
            return "–"
        low, middle, high = np.quantile(given, [0.25, 0.5, 0.75]).tolist()
        return f"{middle:.4g} ({low:.4g} to {high:.4g})"

    yield Described(name, "median (quartiles)", tuple(map(quartiles, groups)))
    if np.isnan(values).any():
        yield Described(name, "not given", tuple(f"{int(np.isnan(values[g]).sum()):,}" for g in groups))


def _of_texts(name: str, values: np.ndarray, groups: Sequence[np.ndarray]) -> Iterator[Described]:
    levels = _sorted({v for v in values if v is not None})
    if len(levels) > MOST_LEVELS:
        yield Described(name, f"{len(levels)} different texts", ("",) * 5)
        return
    given = np.array([v is not None for v in values])
    for level in levels:
        counts = [(int((values[g] == level).sum()), int(given[g].sum())) for g in groups]
        yield Described(name, level, tuple(f"{n:,} ({100 * n / of:.1f} %)" if of else "–" for n, of in counts))
    if not given.all():
        yield Described(name, "not given", tuple(f"{int((~given[g]).sum()):,}" for g in groups))


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
        groups["not given"] = ~given
    return {level: rows for level, rows in groups.items() if rows.any()}


__all__ = ["CohortLine", "Described", "describe_patients", "groups_by"]
