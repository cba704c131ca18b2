"""Read the stage sets of a table of predictions, and measure their coverage and size."""

import re
from collections.abc import Iterator

import numpy as np

from GTRStagingLib.batch.columns import NO_CALIBRATION
from GTRStagingLib.errors import InputError
from GTRStagingLib.evaluation.parsing import SHOWN
from GTRStagingLib.evaluation.predictions import Predictions
from GTRStagingLib.stats.set_coverage import SetCoverage, set_coverage
from GTRStagingLib.support.counts import counted

COLUMN, NOTE, CARD = "stage_set", "stage_set_note", "card_sha256"
"""Columns of a batch: the set, as in 'T2–T3', empty without one; its level, as in '90 %', or why there is none; and the
hash of the model card with the calibration."""

_SET = re.compile(r"T([1-4])(?:\s*[–-]\s*T([1-4]))?")


def stage_sets(found: Predictions) -> SetCoverage | None:
    """Measure the stage sets of some rows; None if no row has a set, and none was withheld.

    Raises
    ------
    InputError
        If a cell is no stage set.
    """
    texts, notes = _cells(found, COLUMN), _cells(found, NOTE)
    given = np.array([text is not None for text in texts])
    withheld = ~given & np.array([note not in (None, NO_CALIBRATION) for note in notes])
    if not (given | withheld).any():
        return None
    levels = {level for note in set(notes[given]) if (level := _level(note)) is not None}
    return set_coverage(
        found.stages[given],
        _ends(found, texts, given),
        found.clusters.at(given),
        withheld=int(withheld.sum()),
        without=int((~given & ~withheld).sum()),
        levels=tuple(sorted(levels)),
    )


def set_sizes(found: Predictions) -> np.ndarray:
    """Return the number of stages in the set of each row, (n,), NaN without a set.

    Raises
    ------
    InputError
        If a cell is no stage set.
    """
    texts, sizes = _cells(found, COLUMN), np.full(len(found), np.nan)
    given = np.array([text is not None for text in texts])
    ends = _ends(found, texts, given)
    sizes[given] = ends[:, 1] - ends[:, 0] + 1
    return sizes


def _level(note: str | None) -> float | None:
    """Return the level in a note, as in '90 %', or as a share, to which a column of percentages is converted."""
    try:
        level = float((note or "").removesuffix("%"))
    except ValueError:
        return None
    return round(level / 100 if level > 1 else level, 6)


def mixed_sets(found: Predictions, sets: SetCoverage) -> Iterator[str]:
    """Yield a note if stage sets of several levels or calibrations are counted together."""
    if len(sets.levels) > 1:
        yield f"The stage sets have several levels ({sets.promised}); their coverage is that of none of them."
    if len(cards := {card for card in _cells(found, CARD) if card is not None}) > 1:
        yield f"The rows are of {len(cards)} model cards (card_sha256), whose stage sets are counted together."


def _cells(found: Predictions, column: str) -> np.ndarray:
    """Return the (n,) texts of a column in any case, None for empty cells and without such a column."""
    named = found.spelt(column)
    return np.full(len(found), None, object) if named is None else found.texts(named)


def _ends(found: Predictions, texts: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Return (sets, 2) first and last stages, 0..3, of the rows with a set."""
    ends, wrong = [], []
    for text, case in zip(texts[given], found.case_names[given], strict=True):
        match = _SET.fullmatch(text.strip())
        first, last = (1, 0) if match is None else (int(match[1]) - 1, int(match[2] or match[1]) - 1)
        ends.append((first, last))
        if last < first:
            wrong.append(f"{case} {text!r}")
    if wrong:
        raise InputError(
            f"{found.source}, {COLUMN}: {', '.join(wrong[:SHOWN])} ({counted(len(wrong), 'such row')}); expected a set "
            "such as T2 or T2–T3, or an empty cell. Correct the table, or rename the column if it is something else."
        )
    return np.array(ends, dtype=int).reshape(-1, 2)


__all__ = ["COLUMN", "mixed_sets", "set_sizes", "stage_sets"]
