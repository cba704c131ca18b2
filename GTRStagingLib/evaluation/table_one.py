"""Who was looked at: the covariates by stage (Table 1), of patients and not of rows; and groups of rows by them."""

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
"""Levels that a text may have to be told of; more, and it is an id or a remark."""


@dataclass(frozen=True)
class Described:
    """One line of Table 1.

    Attributes
    ----------
    variable, level
        The covariate; its level, or the statistic of a number.
    cells
        Texts: of all patients, then of those of T1 to T4.
    """

    variable: str
    level: str
    cells: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def patients_described(found: Predictions) -> tuple[Described, ...]:
    """Patients by their highest stage: how many, and each covariate as their first row gives it.

    Numbers by median and quartiles, texts by count and share of those who have one; those without are counted. Where
    rows of a patient contradict each other, that is counted as well.
    """
    whose = found.clusters
    first = whose.first
    highest = np.zeros(whose.number, int)
    np.maximum.at(highest, whose.codes, found.stages)
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
        contradicted = _contradicted(texts, whose)
        if contradicted:
            lines.append(Described(name, "patients whose rows contradict each other", (f"{contradicted}", *[""] * 4)))
    return tuple(lines)


def _share(n: int, of: int, column: int) -> str:
    return f"{n:,}" if column == 0 or not of else f"{n:,} ({100 * n / of:.1f} %)"


def _of_numbers(name: str, values: np.ndarray, groups: Sequence[np.ndarray]) -> Iterator[Described]:
    def told(group: np.ndarray) -> str:
        given = values[group & ~np.isnan(values)]
        if not len(given):
            return "–"
        low, middle, high = np.quantile(given, [0.25, 0.5, 0.75]).tolist()
        return f"{middle:.4g} ({low:.4g} to {high:.4g})"

    yield Described(name, "median (quartiles)", tuple(map(told, groups)))
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


def _contradicted(texts: np.ndarray, whose: Clusters) -> int:
    if not whose.clustered:
        return 0
    seen: dict[int, str] = {}
    found = set()
    for patient, text in zip(whose.codes.tolist(), texts.tolist(), strict=True):
        if text is not None and seen.setdefault(patient, text) != text:
            found.add(patient)
    return len(found)


def _sorted(levels: Iterable[str]) -> list[str]:
    """Numbers as numbers, so that 10 comes after 2."""
    return sorted(levels, key=lambda text: (0, float(text), "") if WHOLE.fullmatch(text) else (1, 0.0, text))


def groups_by(found: Predictions, column: str) -> dict[str, np.ndarray]:
    """Level -> (n,) bool of its rows; a number of many values is cut at its median, and what is not given is one more.

    Raises
    ------
    InputError
        If there is no such column, or it has too many levels to be told apart.
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
                f"{column} has {len(levels)} different values; expected at most {4 * MOST_LEVELS}. Give a column of "
                "groups."
            )
        groups = {level: texts == level for level in levels}
    if not given.all():
        groups["not given"] = ~given
    return {level: rows for level, rows in groups.items() if rows.any()}


__all__ = ["Described", "groups_by", "patients_described"]
