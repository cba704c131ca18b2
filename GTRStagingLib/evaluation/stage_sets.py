"""Read the stage sets of a table of predictions, and measure their coverage and size."""

import re

import numpy as np

from GTRStagingLib.errors import InputError
from GTRStagingLib.evaluation.predictions import Predictions
from GTRStagingLib.stats.set_coverage import SetCoverage, set_coverage

COLUMN = "stage_set"
"""Column of a batch with the set, as in 'T2–T3'; empty without one."""

_SET = re.compile(r"T([1-4])(?:\s*[–-]\s*T([1-4]))?")


def stage_sets(found: Predictions) -> SetCoverage | None:
    """Measure the stage sets of some rows; None if the table has no such column, or no row has a set.

    Raises
    ------
    InputError
        If a cell is no stage set.
    """
    if COLUMN not in found.frame.columns:
        return None
    texts = found.texts(COLUMN)
    given = np.array([text is not None for text in texts])
    if not given.any():
        return None
    sets = np.array(
        [_parsed(text, case) for text, case in zip(texts[given], found.case_names[given], strict=True)], dtype=int
    )
    return set_coverage(found.stages[given], sets, found.clusters.at(given), without=int((~given).sum()))


def _parsed(text: str, case: str) -> tuple[int, int]:
    """Return the first and the last stage of a set, 0..3."""
    match = _SET.fullmatch(text.strip())
    first, last = (0, -1) if match is None else (int(match[1]) - 1, int(match[2] or match[1]) - 1)
    if last < first:
        raise InputError(f"Case {case!r}, {COLUMN} {text!r}; expected a set such as T2, or T2–T3. Correct the table.")
    return first, last


__all__ = ["COLUMN", "stage_sets"]
