"""Select the rows of a table that a Rad-score or a nomogram is fitted on: the training side, without leaks."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from GTRStagingLib.errors import InputError, LeakageError
from GTRStagingLib.support.counts import counted

TRAIN = "train"
NEVER_FITTED = ("test", "calibration")
"""Splits that no fit uses: the rows that measure a model, and those of its promise."""
SHOWN = 20
"""Number of patients that the details of a leak list."""


@dataclass(frozen=True)
class FitSide:
    """Rows that are used to fit.

    Attributes
    ----------
    used
        (n,) bool.
    splits
        Splits of these rows; None if the table has no splits and all rows are used.
    warnings
        Warnings that every output of the fit contains.
    """

    used: np.ndarray
    splits: tuple[str, ...] | None
    warnings: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """Names of the splits, as text; empty without splits."""
        return " and ".join(self.splits or ())


def fit_side(
    split_of: Sequence[str | None],
    patients: Sequence[str | None] | None,
    splits: Sequence[str] | None = None,
    *,
    allow_leakage: bool = False,
) -> FitSide:
    """Select the rows to fit on: those of the split `train`, or all rows of a table without splits.

    Parameters
    ----------
    split_of, patients
        Split and patient of each row; `patients` is None if the table does not identify them.
    splits
        Splits to fit on instead of `train`; none of `NEVER_FITTED`.
    allow_leakage
        Fit although a patient is in a split of the fit and in another, with a warning.

    Raises
    ------
    LeakageError
        If patients are in a split of the fit and in another.
    InputError
        If the splits include one of `NEVER_FITTED`, or are not in the table.

    Examples
    --------
    >>> from GTRStagingLib.cohort.fit_side import fit_side
    >>> fit_side(["train", "test", None], ["a", "b", "c"]).used.tolist()
    [True, False, False]
    >>> fit_side([None, None], ["a", "b"]).used.tolist()
    [True, True]
    """
    found = dict.fromkeys(split for split in split_of if split is not None)
    if splits is not None and (kept := [split for split in NEVER_FITTED if split in splits]):
        raise InputError(
            f"Split {', '.join(splits)}: the {kept[0]} split must not be used in a fit; expected train, validation or "
            "both. Leave it out; to fit on all rows, remove the column 'split' from the table."
        )
    if splits is not None and not found:
        raise InputError(
            f"Split {', '.join(splits)}: no row of the table has a split; expected a table with splits. Fill in the "
            "column split, or fit on all rows."
        )
    if not found:
        return FitSide(np.ones(len(split_of), dtype=bool), None)
    wanted = tuple(dict.fromkeys(splits or (TRAIN,)))
    if absent := [split for split in wanted if split not in found]:
        raise InputError(
            f"No row is in split {', '.join(absent)} (the table has {', '.join(found)}); expected rows to fit on. "
            "Name another `split`, or remove the column to fit on all rows."
        )
    used = np.array([split in wanted for split in split_of], dtype=bool)
    leaks = () if patients is None else _leaks(split_of, patients, wanted, allow_leakage)
    return FitSide(used, wanted, (*_other_splits(wanted), *leaks))


def _other_splits(splits: Sequence[str]) -> tuple[str, ...]:
    if splits == (TRAIN,):
        return ()
    return (f"Fitted on the rows of split {' and '.join(splits)}, by request; by default, a fit uses train only.",)


def _leaks(
    split_of: Sequence[str | None], patients: Sequence[str | None], splits: Sequence[str], allowed: bool
) -> tuple[str, ...]:
    rows = [(split, patient) for split, patient in zip(split_of, patients, strict=True) if patient is not None]
    within = {patient for split, patient in rows if split in splits}
    beyond = {patient for split, patient in rows if split not in (None, *splits)}
    if not (both := sorted(within & beyond)):
        return ()
    leak = f"{counted(len(both), 'patient is', 'patients are')} in {', '.join(splits)} and also in another split"
    if not allowed:
        raise LeakageError(
            f"LEAK: {leak}; expected every patient in one split. Split the cohort by patient, or set `allow_leakage`, "
            "which adds a warning to the result.",
            details=f"Patients: {', '.join(both[:SHOWN])}{' …' * (len(both) > SHOWN)}",
        )
    return (f"Fitted on a LEAKING cohort: {leak}. Results on the other splits are too optimistic.",)


__all__ = ["FitSide", "fit_side"]
