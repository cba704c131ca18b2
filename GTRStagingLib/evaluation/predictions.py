"""Read a table of predictions, of this software or another, as arrays; count excluded rows by reason.

Requires the extra `evaluate` (pandas and pyarrow), which keeps the cells of millions of rows in little memory.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from GTRStagingLib.batch.columns import DELAY, HEADER, RESULT_COLUMNS, SECONDS
from GTRStagingLib.errors import InputError
from GTRStagingLib.evaluation.columns import Columns, columns_of
from GTRStagingLib.evaluation.flow import LeftOut
from GTRStagingLib.evaluation.parsing import (
    by_reason,
    cases_of,
    excluded_rows,
    few_decimals,
    joined,
    numbers_of,
    patients_of,
    probabilities_of,
    read_cells,
    stages_of,
    summing_to_one,
)
from GTRStagingLib.evaluation.readings import Named, StageColumns, find_stage_columns
from GTRStagingLib.stats.estimates import Clusters
from GTRStagingLib.support.files import sha256_of
from GTRStagingLib.tables.case_table import split_notes
from GTRStagingLib.tables.cells import MISSING
from GTRStagingLib.tables.headers import patient_note, remarks
from GTRStagingLib.tables.patient_pattern import patients_in

ATTENTION = ("dice", "chance_dice", "blob_dice", "mean_mask_dice", "iou", "hd95_mm", "centroid_distance_mm",
             "pointing_hit", "energy_inside", "area_mm2", "roi_area_mm2")  # fmt: skip
"""Columns of a batch with the agreement of attention and ROI, in the order of the report (`AGREEMENT` of
batch/columns.py contains the same but `pointing_hit`, in the order of the table)."""

NOT_COVARIATES = frozenset({*RESULT_COLUMNS, *SECONDS, DELAY, *(keyword.casefold() for keyword in HEADER.values()),
                            "image", "roi", "segment", "series", "exclude", "error", "mean_stage"})  # fmt: skip
"""Columns of this software's tables, in this and earlier versions, and of the scanner table."""


@dataclass(frozen=True)
class Flow:
    """Numbers of rows read, used, and excluded by reason; `read` is the sum of the others."""

    read: int
    used: int
    excluded: Mapping[str, int]

    def __post_init__(self) -> None:
        if self.read != self.used + sum(self.excluded.values()):
            raise InputError(
                f"{self.read} rows read, {self.used} used, excluded {dict(self.excluded)}; expected counts that add up."
            )

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain data."""
        return {"read": self.read, "used": self.used, "excluded": dict(self.excluded)}


@dataclass(frozen=True)
class Predictions:
    """Rows of a table with a true stage and a prediction.

    Attributes
    ----------
    source, digest
        Name of the file and sha256 of its bytes.
    columns
        Columns by role.
    stages, predicted
        (n,) int, 0..3.
    probabilities
        (n, 4), rows summing to 1; None if the table has stages only.
    clusters
        Rows by patient.
    patient_names, case_names
        (patients,) and (n,) texts.
    patients_by
        How patients are identified, as text; None if they are not, so that every row counts as one patient.
    frame
        All columns of these rows as text, a pandas DataFrame of n rows.
    notes
        Sentences on the table that a reader of the numbers must know.
    left_out
        Rows of the table that are not used; None for a group of rows.
    opinions
        Columns with the stages of readers and comparators.
    """

    source: str
    digest: str
    columns: Columns
    stages: np.ndarray
    predicted: np.ndarray
    probabilities: np.ndarray | None
    clusters: Clusters
    patient_names: np.ndarray
    case_names: np.ndarray
    patients_by: str | None
    flow: Flow
    frame: Any = field(repr=False)
    notes: tuple[str, ...] = ()
    left_out: LeftOut | None = field(default=None, repr=False)
    opinions: StageColumns = field(default_factory=StageColumns)

    def __len__(self) -> int:
        return len(self.stages)

    @property
    def clustered(self) -> bool:
        """Whether a patient has several rows."""
        return self.clusters.clustered

    @property
    def patients(self) -> np.ndarray:
        """Patient of each row, (n,) indices of `patient_names`."""
        return self.clusters.codes

    def texts(self, column: str) -> np.ndarray:
        """Return the (n,) cells of a column, None for empty cells."""
        return texts_of(self.frame[column])

    def numbers(self, column: str) -> np.ndarray | None:
        """Return a column as (n,) numbers, NaN for empty cells; None if a cell is not a number."""
        return numbers_of(self.frame[column])

    def spelt(self, name: str) -> str | None:
        """Return the column with a name in lower case, as the table spells it; None without one."""
        return next((column for column in self.frame.columns if column.casefold() == name), None)

    def stages_of(self, name: str) -> np.ndarray:
        """Return the (n,) stages 0..3 of a reader or comparator, -1 for empty cells."""
        return next(one for one in self.opinions if one.name == name).stages(self.frame)

    @property
    def readers(self) -> tuple[str, ...]:
        """Names of readers, of each in both phases, and of comparators."""
        return self.opinions.names

    @cached_property
    def covariates(self) -> tuple[str, ...]:
        """Columns that describe patients."""
        used = {one.column for one in self.opinions}
        return tuple(name for name in _free(self.frame, self.columns) if name not in used)

    def other_probabilities(self, name: str) -> np.ndarray | None:
        """Return another model's (n, 4) probabilities, NaN in incomplete rows; None if a cell is not a number."""
        columns = [numbers_of(self.frame[column]) for column in self.columns.others[name]]
        if any(column is None for column in columns):
            return None
        values = np.column_stack([column for column in columns if column is not None])
        whole = ~np.isnan(values).any(axis=1)
        values[~whole] = np.nan
        rows = np.array([f"of case {case}" for case in self.case_names[whole]], dtype=object)
        decimals = few_decimals(self.frame, self.columns.others[name])
        values[whole] = summing_to_one(values[whole], rows, f"{self.source}, {name}", two_decimals=decimals)[0]
        return values

    def of(self, rows: np.ndarray) -> "Predictions":
        """Return some of the rows, selected by a (n,) bool."""
        clusters = self.clusters.at(rows)
        return Predictions(
            source=self.source,
            digest=self.digest,
            columns=self.columns,
            stages=self.stages[rows],
            predicted=self.predicted[rows],
            probabilities=None if self.probabilities is None else self.probabilities[rows],
            clusters=clusters,
            patient_names=self.patient_names[self.patients[rows][clusters.first]],
            case_names=self.case_names[rows],
            patients_by=self.patients_by,
            flow=Flow(len(self), int(rows.sum()), {"not in this group": int((~rows).sum())}),
            frame=self.frame[rows],
            notes=self.notes,
            opinions=self.opinions,
        )


def texts_of(cells: Any) -> np.ndarray:
    """Return a column's cells as (n,) texts, None for empty cells."""
    return np.array([None if text in MISSING else text for text in cells.tolist()], dtype=object)


def _free(frame: Any, columns: Columns) -> list[str]:
    """Return the columns without a role that are not of this software's own tables."""
    own = {*NOT_COVARIATES, *ATTENTION}
    return [name for name in frame.columns if name not in columns.taken and name.casefold() not in own
            and not name.casefold().startswith("nomogram_")]  # fmt: skip


def read_predictions(
    path: Path,
    *,
    columns: Mapping[str, str] | None = None,
    patient_pattern: str | None = None,
    split: str | None = None,
    labels_from: int | None = None,
    truth: Path | None = None,
    readers: Mapping[str, str] | None = None,
    comparators: Mapping[str, str] | None = None,
    phases: Mapping[str, tuple[str, str]] | None = None,
) -> Predictions:
    """Read a table of predictions; see `read_table` for its formats.

    Parameters
    ----------
    columns
        Role -> column, for columns that are not detected (see `columns`).
    patient_pattern
        Regular expression that finds the patient in the case's name: its first group, or the whole match.
    split
        Split to use, if the table has a column `split`: by default 'test' if it has rows, else all; 'all' for all.
    labels_from
        Number of T1, 0 or 1, if the true and the predicted stages are numbers; by default it is detected.
    truth
        Cohort table with `case_id`, `stage` and covariates, for predictions without true stages.
    readers, comparators
        Name -> 'COLUMN' or 'COLUMN:CODE' of the stages of a reader, or of a comparator such as EUS, if they are not
        detected. CODE is T (T1 to T4), 1-4 or 0-3, for columns of numbers that could be either.
    phases
        Reader -> the two columns of the stages without and with the model's help, in addition to the columns
        NAME_unaided and NAME_aided; the second one may have a code for both.

    Raises
    ------
    InputError
        If the table cannot be read, a stage or a probability is invalid, or an id is repeated; with rows and remedy.

    Examples
    --------
    Two of three rows are used; both are of one patient.

    >>> from pathlib import Path
    >>> from GTRStagingLib.evaluation.predictions import read_predictions
    >>> with Path("predictions.csv").open("w") as file:
    ...     for row in ("case_id,patient_id,stage,predicted", "a,1,T2,T2", "b,1,T3,T4", "c,2,,T1"):
    ...         print(row, file=file)
    >>> found = read_predictions(Path("predictions.csv"))
    >>> found.stages.tolist(), found.predicted.tolist()
    ([1, 2], [1, 3])
    >>> found.flow
    Flow(read=3, used=2, excluded={'no true stage': 1})
    >>> found.clustered
    True
    """
    frame, read = read_cells(path)
    notes = [*read, *remarks(list(frame.columns))]
    if truth is not None:
        frame, more = joined(frame, path, truth)
        notes += more
    try:
        found = columns_of(list(frame.columns), columns or {}, lambda name: frame[name].is_unique)
    except ValueError as error:
        raise InputError(f"{path.name}: {error}.") from error
    used = np.ones(len(frame), bool)
    excluded: Counter[str] = Counter()
    reasons = np.zeros(len(frame), dtype=object)

    def leave_out(rows: np.ndarray, reason: str) -> None:
        gone = used & rows
        if gone.any():
            excluded[reason] += int(gone.sum())
            reasons[gone] = reason
            used[gone] = False

    if "status" in frame.columns:
        leave_out((frame["status"] == "failed").to_numpy(), "failed")
        leave_out((frame["status"] == "skipped").to_numpy(), "skipped")
    leave_out(excluded_rows(frame, path), "excluded")
    if found.split is not None:
        nowhere = int(frame[found.split].isin(MISSING).sum())
        notes += split_notes(nowhere, len(frame)) if nowhere < len(frame) else []
        splits = frame[found.split].str.casefold().to_numpy()
        wanted = split.casefold() if split else ("test" if (splits == "test").any() else "all")
        if wanted == "all" and split is None:
            counts = ", ".join(f"{name or 'none'}: {n}" for name, n in Counter(splits.tolist()).items())
            notes.append(
                f"The table has no split 'test', so the rows of all splits are evaluated ({counts}); they may include "
                "the model's training rows. Choose one with `split`."
            )
        if wanted != "all":
            if not (splits == wanted).any():
                known = ", ".join(sorted(filter(None, set(splits))))
                raise InputError(f"{path.name}: no row in split {wanted!r}; expected one of {known}, or all.")
            leave_out(splits != wanted, f"not in split {wanted}")
    elif split not in (None, "all"):
        raise InputError(f"{path.name} has no column 'split'; expected one to select by `split`.")
    empty = frame[found.truth].isin(MISSING).to_numpy()
    leave_out(empty, "no true stage")
    four = None if found.probabilities is None else probabilities_of(frame, found.probabilities, path, used)
    if four is not None:
        leave_out(np.isnan(four).any(axis=1), "no probabilities")
    if found.predicted is not None:
        leave_out(frame[found.predicted].isin(MISSING).to_numpy(), "no predicted stage")
    if not used.any():
        raise InputError(
            f"{path.name}: no row can be used ({by_reason(excluded)}); expected at least one row with a true stage and "
            "a prediction."
        )
    kept, numbers = frame[used].reset_index(drop=True), frame.index[used].to_numpy()
    labelled = [found.truth, *([found.predicted] if found.predicted else [])]
    coded = stages_of(kept, labelled, numbers, path, labels_from)
    probabilities = None
    if four is not None:
        assert found.probabilities is not None  # noqa: S101 (there are probabilities)
        decimals = few_decimals(kept, found.probabilities)
        probabilities, rounding = summing_to_one(four[used], numbers, path.name, two_decimals=decimals)
        notes += rounding
    if found.predicted is not None:
        predicted = coded[found.predicted]
    else:
        assert probabilities is not None  # noqa: S101 (columns_of requires one of the two)
        predicted = probabilities.argmax(axis=1)
    if found.predicted and probabilities is not None:
        differ = int((predicted != probabilities.argmax(axis=1)).sum())
        if differ:
            notes.append(
                f"In {differ} of {len(kept)} rows the predicted stage does not have the highest probability, as after "
                "a vote. Accuracy and the confusion matrix use the predicted stage; areas and calibration use the "
                "probabilities."
            )
    case_names = cases_of(kept, found, numbers, path)
    clusters, names, patients_by = patients_of(kept, found, case_names, patient_pattern, path)
    if found.patient is not None and patient_pattern is None:
        notes += patient_note(found.patient, len(kept), clusters.number)
    if patients_by is None:
        notes.append(
            "The table does not identify patients, so every row counts as one. If patients have several rows, all "
            "intervals are too narrow. Name the column of patients in `columns` (patient=NAME), or set "
            "`patient_pattern`."
        )
    named = Named(readers or {}, comparators or {}, phases or {})
    opinions = find_stage_columns(kept, _free(kept, found), named, numbers, path.name)
    notes += opinions.notes
    return Predictions(
        source=path.name,
        digest=sha256_of(path),
        columns=found,
        stages=coded[found.truth],
        predicted=predicted,
        probabilities=probabilities,
        clusters=clusters,
        patient_names=names,
        case_names=case_names,
        patients_by=patients_by,
        flow=Flow(len(frame), len(kept), dict(excluded)),
        frame=kept,
        notes=tuple(notes),
        left_out=_left_out(frame[~used], reasons[~used], found, patient_pattern),
        opinions=opinions,
    )


def _left_out(frame: Any, reasons: np.ndarray, columns: Columns, pattern: str | None) -> LeftOut:
    """Return the rows that are not used; their patients may be missing, since nothing is computed from them."""

    def patient(text: str) -> str | None:
        if pattern is None:
            return None if text in MISSING else text
        try:
            return patients_in(pattern, [text], columns.case or "")[0]
        except InputError:
            return None

    source = columns.patient if pattern is None else columns.case or columns.patient
    texts = [""] * len(frame) if source is None else frame[source].tolist()
    return LeftOut(frame.reset_index(drop=True), reasons, np.array([patient(t) if t else None for t in texts], object))


__all__ = ["ATTENTION", "Flow", "Predictions", "read_predictions", "texts_of"]
