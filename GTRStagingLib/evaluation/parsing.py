"""Convert the cells of a table of predictions to arrays of stages, probabilities and patients, and report errors.

A table is a pandas DataFrame of text in Arrow memory, so that two million rows fit. Rows have the numbers of a
spreadsheet; the header is row 1.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from GTRStagingLib.errors import InputError
from GTRStagingLib.evaluation.columns import Columns
from GTRStagingLib.stats.estimates import Clusters
from GTRStagingLib.support import extras
from GTRStagingLib.support.counts import counted
from GTRStagingLib.support.distributions import wrong_shares, wrong_sums
from GTRStagingLib.support.files import sha256_of
from GTRStagingLib.tables.case_table import read_case_table
from GTRStagingLib.tables.cells import MISSING, reason_of, unaltered_id
from GTRStagingLib.tables.headers import find
from GTRStagingLib.tables.patient_pattern import patients_in
from GTRStagingLib.tables.stage_cells import (
    FROM_ONE,
    FROM_ZERO,
    NAMES,
    coded_stage,
    possible_codes,
    whole_number,
)
from GTRStagingLib.tables.table_files import read_table

ROUNDING = 0.005
"""Largest difference from 1 in the sum of probabilities, which those in half precision reach; they are divided by their
sum, with a note."""

ROUNDING_OF_TWO_DECIMALS = 0.02
"""The same for four probabilities with two decimals: four times half a unit of the last place."""

LARGEST = 1e100
"""Largest number of a cell: sums of squares of such numbers are finite."""

SHOWN = 5
"""Number of rows that an error lists; the error also states the number of all."""


def read_cells(path: Path) -> tuple[Any, tuple[str, ...]]:
    """Read all cells by `read_table` as text in Arrow memory, missing cells empty, with notes on how they were read.

    The index of the frame has the row numbers of a spreadsheet.
    """
    pandas = extras.import_extra("pandas", "Evaluation needs", "evaluate")
    extras.import_extra("pyarrow", "Evaluation needs", "evaluate")
    table = read_table(path)
    texts = {name: pandas.array([row[name] or "" for row in table.rows], dtype="string[pyarrow]")
             for name in table.columns}  # fmt: skip
    return pandas.DataFrame(texts, index=table.numbers), table.notes


def joined(frame: Any, path: Path, truth: Path) -> tuple[Any, list[str]]:
    """Join the predictions with the stage, patient, centre and covariates of a case table by `case_id`.

    The case table's stages replace those of the predictions. Returns the table, and notes.
    """
    import pandas as pd

    table = read_case_table(truth, ("case_id", "stage"), may_be_empty=("stage",), keep_excluded=True)
    cohort = pd.DataFrame({name: pd.Series([row[name] or "" for row in table.rows], dtype="string[pyarrow]")
                           for name in table.columns})  # fmt: skip
    own_id = find(list(frame.columns), ["case_id"])
    if own_id is None:
        raise InputError(f"{path.name} has no column 'case_id'; expected it in both tables, to join them.")
    frame = frame.rename(columns={own_id: "case_id"})
    cohort = cohort.rename(columns={"stage": "true_stage"})
    before = frame["true_stage"] if "true_stage" in frame.columns else None
    frame = frame.drop(columns=["true_stage"], errors="ignore")
    own = [name for name in cohort.columns if name == "case_id" or name not in frame.columns]
    joined = frame.merge(cohort[own], on="case_id", how="left", sort=False).fillna("")
    if not joined["true_stage"].ne("").any():
        raise InputError(
            f"No case_id of {path.name} has a stage in {truth.name}; expected the cohort table of these cases."
        )
    joined.index = frame.index
    note = f"True stages are those of {truth.name} (sha256 {sha256_of(truth)}), joined by case_id."
    if before is not None:
        differ = int((joined["true_stage"].to_numpy() != before.to_numpy()).sum())
        note += f" {differ} differ from those of the predictions' table."
    return joined, [*table.notes, note]


def excluded_rows(frame: Any, path: Path) -> np.ndarray:
    """Return the (n,) rows with a reason in the column `exclude`; raise `InputError` for a yes or no there."""
    name = find(list(frame.columns), ["exclude"])
    if name is None:
        return np.zeros(len(frame), bool)
    for text in set(frame[name].unique()) - MISSING:
        try:
            reason_of(text)
        except ValueError as error:
            raise InputError(f"{path.name}, {name} {text!r}: {error}.") from error
    return ~frame[name].isin(MISSING).to_numpy()


def numbers_of(cells: Any) -> "np.ndarray | None":
    """Return a column as numbers, NaN for empty cells; None if a cell is not a finite number.

    Raises
    ------
    InputError
        If a number is larger than `LARGEST`.
    """
    import pandas as pd

    given = cells.where(~cells.isin(MISSING))
    numbers = pd.to_numeric(given, errors="coerce")
    if (numbers.isna() & given.notna()).any():
        return None
    values: np.ndarray = numbers.to_numpy(dtype=float, na_value=np.nan)
    if np.isinf(values).any():
        return None
    if len(large := np.flatnonzero(np.abs(values) > LARGEST)):
        raise InputError(
            f"{cells.name} {values[large[0]]:g}; expected numbers of at most {LARGEST:g}. Correct "
            "the cell, or leave the column out."
        )
    return values


def probabilities_of(frame: Any, names: Sequence[str], path: Path, used: np.ndarray) -> np.ndarray:
    """Return the (rows, 4) probabilities, NaN where missing; raise `InputError` if one is not between 0 and 1."""
    values = []
    for name in names:
        cells = frame[name].where(used, "")
        column = numbers_of(cells)
        if column is None:
            raise InputError(_no_number(cells, name, path))
        values.append(column)
    four = np.column_stack(values)
    bad = np.flatnonzero(wrong_shares(np.where(np.isnan(four), 0.0, four), most=1))
    if len(bad):
        percent = (
            " If they are percentages, divide them by 100." if np.nanmax(four) <= 100 and np.nanmin(four) >= 0 else ""
        )
        raise InputError(
            f"{path.name}, row {frame.index[bad[0]]}: probabilities {_listed(four[bad[0]])} "
            f"({counted(len(bad), 'such row')}); expected four numbers from 0 to 1.{percent} Convert logits to "
            "probabilities with softmax."
        )
    return four


def _no_number(cells: Any, name: str, path: Path) -> str:
    import pandas as pd

    numbers = pd.to_numeric(cells, errors="coerce").to_numpy(dtype=float, na_value=np.nan)
    row = int(np.flatnonzero(~np.isfinite(numbers) & ~cells.isin(MISSING).to_numpy())[0])
    text = cells.iloc[row]
    comma = " Write decimals with a point." if "," in text else ""
    return f"{path.name}, row {cells.index[row]}, {name} {text!r}; expected a finite number.{comma}"


def _listed(values: np.ndarray) -> str:
    return " ".join(f"{value:g}" for value in values.tolist())


def few_decimals(frame: Any, names: Sequence[str]) -> bool:
    """Return whether all cells of some columns of probabilities have two decimals at most."""
    return all(bool(frame[name].str.fullmatch(r"\d*\.?\d{0,2}").all()) for name in names)


def summing_to_one(
    four: np.ndarray, numbers: np.ndarray, name: str, *, two_decimals: bool = False
) -> tuple[np.ndarray, list[str]]:
    """Divide probabilities by their sum, which must be 1 within rounding; return them with notes.

    Parameters
    ----------
    two_decimals
        Whether all were written with two decimals at most, so that their sum may be 0.98 to 1.02.
    """
    total = four.sum(axis=1)
    off = np.abs(total - 1)
    tolerance = ROUNDING_OF_TWO_DECIMALS if two_decimals else ROUNDING
    if len(bad := np.flatnonzero(wrong_sums(four, tolerance + 1e-9))):
        rounding = f"{tolerance:g}, by rounding{' to two decimals' if two_decimals else ''}"
        raise InputError(
            f"{name}, row {numbers[bad[0]]}: probabilities {_listed(four[bad[0]])} add up to {total[bad[0]]:.4f} "
            f"({counted(len(bad), 'such row')}); expected 1, or off by at most {rounding}. Give the softmax of "
            "the four stages, unrounded."
        )
    notes = []
    if off.max(initial=0) > 1e-5:
        rounded = " to two decimals" if two_decimals else ""
        notes.append(
            f"Probabilities add up to 1 within rounding{rounded} (at most {off.max():.4f} off); they were divided by "
            "their sum."
        )
    return four / total[:, None], notes


def stages_of(
    frame: Any, names: Sequence[str], numbers: np.ndarray, path: Path, labels_from: int | None
) -> dict[str, np.ndarray]:
    """Return columns of stages as 0..3; all use names, or all numbers from 0, or all numbers from 1.

    Each column of numbers has to show where it begins, by a 0 or a 4, unless `labels_from` states it: beside stages
    from 0 to 3, a column of 1, 2 and 3 could begin with either.
    """
    texts = {name: set(frame[name].unique()) for name in names}
    every = set().union(*texts.values())
    # A cell that is a stage in no code is the fault to name, before columns whose code it leaves open.
    _require_known(
        frame, names, {text for text in every if possible_codes({text})}, numbers, path,
        "expected one of T1 to T4, 0 to 3, or 1 to 4. Write one stage into the cell, or leave it empty to leave the "
        "row out.",
    )  # fmt: skip
    code = _code_of_numbers(texts, path) if labels_from is None else (FROM_ZERO, FROM_ONE)[labels_from]
    known: dict[str, int] = {}
    for text in every:
        for one in (NAMES, code):
            with suppress(ValueError):
                known[text] = int(coded_stage(text, one))
    wanted = f"expected T1 to T4, or {code.replace('-', ' to ')}"
    _require_known(
        frame, names, known, numbers, path,
        f"{wanted} as in the other rows. Correct these rows, or set `labels_from`." if labels_from is None
        else f"{wanted}, since `labels_from` is {labels_from}. Correct these rows.",
    )  # fmt: skip
    return {name: frame[name].map(known).to_numpy(dtype=int) for name in names}


def _require_known(
    frame: Any, names: Sequence[str], known: Collection[str], numbers: np.ndarray, path: Path, expected: str
) -> None:
    """Raise `InputError` that lists the cells of columns which are not among the known stages, and what is expected."""
    for name in names:
        bad = np.flatnonzero(~frame[name].isin(list(known)).to_numpy())
        if len(bad):
            listing = ", ".join(f"row {numbers[i]} {frame[name].iloc[i]!r}" for i in bad[:SHOWN].tolist())
            raise InputError(f"{path.name}, {name}: {listing} ({counted(len(bad), 'such row')}); {expected}")


def _code_of_numbers(texts: Mapping[str, Collection[str]], path: Path) -> str:
    """Return the code of the numbers in columns of stages; raise `InputError` if those of a column could have two."""
    whole = {name: {text for text in column if whole_number(text) is not None} for name, column in texts.items()}
    possible = {name: possible_codes(numbers) for name, numbers in whole.items() if numbers}
    known = {name: codes[0] for name, codes in possible.items() if len(codes) == 1}
    for name, codes in possible.items():
        if len(codes) > 1:
            beside = "".join(f"; {other} has {code}" for other, code in known.items())
            raise InputError(
                f"{path.name}, {name}: stages {', '.join(sorted(whole[name]))} are ambiguous; expected 0 to 3 or 1 to "
                f"4, with a 0 or a 4 among them{beside}. Set `labels_from` to the number of T1, 0 or 1, in all columns."
            )
    every = set().union(*whole.values())
    return next(iter(known.values()), FROM_ZERO if any(whole_number(text) == 0 for text in every) else FROM_ONE)


def cases_of(frame: Any, columns: Columns, numbers: np.ndarray, path: Path) -> np.ndarray:
    """Return the unique names of the cases; the numbers of the rows if no column has names."""
    if columns.case is None:
        return np.array([f"row {n}" for n in numbers.tolist()], dtype=object)
    names = frame[columns.case]
    again = names.duplicated(keep=False) & ~names.isin(MISSING)
    if again.any():
        first = names[again].iloc[0]
        rows = ", ".join(str(numbers[i]) for i in np.flatnonzero((names == first).to_numpy())[:SHOWN].tolist())
        raise InputError(
            f"{path.name}, {columns.case} {first!r} in rows {rows} "
            f"({counted(int(again.sum()), 'row repeats', 'rows repeat')} an id); expected each case once. Remove the "
            "repeated rows, or name another column in `columns` (case=NAME)."
        )
    _require_ids(names, columns.case, path)
    return names.to_numpy(dtype=object)


def _require_ids(names: Iterable[str], column: str, path: Path) -> None:
    """Raise `InputError` if an id is not what it was, see `unaltered_id`; empty cells are left out."""
    for name in names:
        try:
            if name not in MISSING:
                unaltered_id(name)
        except ValueError as error:
            raise InputError(f"{path.name}, {column} {name!r}: {error}.") from error


def patients_of(
    frame: Any, columns: Columns, cases: np.ndarray, pattern: str | None, path: Path
) -> tuple[Clusters, np.ndarray, str | None]:
    """Return the clusters of rows by patient, the patients' names, and how patients are identified."""
    import pandas as pd

    if pattern is not None:
        source = columns.case or columns.patient
        if source is None:
            raise InputError(
                f"{path.name} has no column of ids; expected one for `patient_pattern`. Name it in `columns`."
            )
        names = patients_in(pattern, frame[source].tolist(), f"{path.name}, {source}")
        how = f"by {pattern!r} in {source}"
    elif columns.patient is not None:
        names = frame[columns.patient].tolist()
        if any(name in MISSING for name in names):
            row = next(i for i, name in enumerate(names) if name in MISSING)
            raise InputError(f"{path.name}: {columns.patient} of {cases[row]} is empty; expected an id. Fill it in.")
        how = f"by {columns.patient}"
    else:
        return Clusters(np.arange(len(frame)), len(frame)), cases, None
    codes, unique = pd.factorize(np.array(names, dtype=object))
    _require_ids(unique, columns.patient or "patient", path)
    return Clusters(codes, len(unique)), np.asarray(unique, dtype=object), how


def by_reason(excluded: Mapping[str, int]) -> str:
    """Return the reasons for exclusion with their numbers of rows, as text."""
    return ", ".join(f"{reason}: {n}" for reason, n in excluded.items()) or "no row was read"


__all__ = [
    "by_reason",
    "cases_of",
    "excluded_rows",
    "few_decimals",
    "joined",
    "numbers_of",
    "patients_of",
    "probabilities_of",
    "read_cells",
    "stages_of",
    "summing_to_one",
]
