"""Read the features of many cases, and the table of their stages, to fit or apply a Rad-score.

Features come from the results of a batch or from a table. Every case without features is listed with a reason.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from GTRStagingLib.errors import InputError, without_backticks
from GTRStagingLib.radscore.radscore import RadScore, of_case
from GTRStagingLib.support.fields import Fields
from GTRStagingLib.support.files import read_json
from GTRStagingLib.tables.case_row import CaseRow, Cases
from GTRStagingLib.tables.case_table import read_case_table, read_cases, require_none, split_notes
from GTRStagingLib.tables.headers import COLUMNS

RESULT, FAILED = "result.json", "failed.json"
RECORD_VERSIONS = ("1", "2")
"""Readable major versions of the records' `schema_version`; both contain model and features at the same place."""

NO_RESULT, NO_STAGE, UNREADABLE, NOT_STAGED = "no result", "no stage", "result cannot be read", "staging failed"
NO_FEATURE = "a feature is missing"


@dataclass(frozen=True)
class Excluded:
    """Reason for excluding a case, which can be counted, and a detail on this case."""

    reason: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}" if self.detail else self.reason


@dataclass(frozen=True)
class CaseFeatures:
    """Features of cases, all of one network.

    Attributes
    ----------
    values
        (n, F), one row per case of `case_ids`.
    names
        Names of the features.
    model, model_sha256, warning
        Name, sha256 and warning of the network; None for features from a table.
    excluded
        Excluded cases with their reason.
    notes
        Sentences on how the table of features was read.
    """

    case_ids: tuple[str, ...]
    values: np.ndarray
    names: tuple[str, ...]
    model: str | None = None
    model_sha256: str | None = None
    warning: str | None = None
    excluded: Mapping[str, Excluded] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.values.shape != (len(self.case_ids), len(self.names)):
            raise InputError(
                f"Features have shape {self.values.shape}; expected ({len(self.case_ids)}, {len(self.names)}), one row "
                "per case and one column per name."
            )


def scores(radscore: RadScore, features: CaseFeatures) -> tuple[np.ndarray, np.ndarray]:
    """Compute (n,) standardised and (n,) raw scores of cases.

    Raises
    ------
    InputError
        If the features are of another network, or in another order.
    """
    if len(features.names) == radscore.n_features:  # `score` refuses another number of features
        for name, index in zip(radscore.names, radscore.indices, strict=True):
            if features.names[index] != name:
                raise InputError(
                    f"Feature {index + 1} is named {features.names[index]!r}; expected {name!r}, as in the fit of the "
                    f"Rad-score {radscore.name!r}. Use the names and the order of the fit."
                )
    sha256 = features.model_sha256
    return (radscore.standardised(features.values, model_sha256=sha256),
            radscore.score(features.values, model_sha256=sha256))  # fmt: skip


# -- results -------------------------------------------------------------------------------------------------------


def from_results(source: Path, case_ids: Iterable[str] | None = None) -> CaseFeatures:
    """Read the features from the results of a batch or of one case.

    Parameters
    ----------
    source
        Output folder of a batch, with `cases/CASE/result.json`; or one such file.
    case_ids
        Cases to read; by default all.

    Raises
    ------
    InputError
        If the folder or file does not exist, no case has features, or the features are of several networks.
    """
    if source.is_dir():
        cases = source / "cases"
        if not cases.is_dir():
            raise InputError(f"{source} has no folder 'cases'; expected the output folder of a batch.")
        found = sorted(path.name for path in cases.iterdir() if path.is_dir()) if case_ids is None else case_ids
        files = {case_id: cases / case_id / RESULT for case_id in found}
    elif source.is_file():
        files = {"": source}
    else:
        raise InputError(f"{source}: no such folder or file; expected the output folder of a batch, or one {RESULT}.")
    rows: dict[str, np.ndarray] = {}
    models: dict[str, Mapping[str, Any]] = {}
    users: dict[str, list[str]] = {}
    excluded: dict[str, Excluded] = {}
    for asked, path in files.items():
        read = _read_result(path, asked)
        if isinstance(read, Excluded):
            excluded[asked or source.name] = read
            continue
        case_id, model, rows_of_slices = read
        rows[case_id] = rows_of_slices
        models[model["sha256"]] = model
        users.setdefault(model["sha256"], []).append(case_id)
    _require_one_model(models, users)
    lengths = {len(row) for row in rows.values()}
    if not rows or len(lengths) > 1:
        reasons = "; ".join(f"{n} × {reason}" for reason, n in counted(excluded.values()).items())
        raise InputError(
            f"{source}: {f'features of lengths {sorted(lengths)}' if rows else f'no case with features ({reasons})'}; "
            "expected one length for all, and at least one case. Stage the cases with one model first."
        )
    ((sha256, model),) = models.items()
    names = tuple(f"DL-{i + 1:04d}" for i in range(lengths.pop()))
    values = np.stack(list(rows.values()))
    return CaseFeatures(tuple(rows), values, names, model["name"], sha256, model["warning"], excluded)


def _read_result(path: Path, case_id: str) -> tuple[str, Mapping[str, Any], np.ndarray] | Excluded:
    """Read case id, model and features (F,) of a result, or return why not; an empty `case_id` accepts any case."""
    if not path.is_file():
        return _without_result(path)
    try:
        record = Fields(read_json(path, "the result of a case"))
        version, found = record.text("schema_version"), record.name("case_id")
        if version.split(".")[0] not in RECORD_VERSIONS:
            known = " or ".join(f"{one}.x" for one in RECORD_VERSIONS)
            return Excluded(UNREADABLE, f"schema_version {version}; expected {known}")
        if case_id and found != case_id:
            return Excluded(UNREADABLE, f"it belongs to case {found!r}")
        model = record.fields("model")
        known_model = {
            "name": model.name("name"),
            "sha256": model.sha256("sha256"),
            "warning": model.text("warning", None),
        }
        return found, known_model, of_case(record.plain_list("features"))
    except InputError as error:
        return Excluded(UNREADABLE, str(error))


def _without_result(path: Path) -> Excluded:
    failed = path.with_name(FAILED)
    if not failed.is_file():
        return Excluded(NO_RESULT)
    try:
        record = Fields(read_json(failed, "the record of a failed case"))
        return Excluded(NOT_STAGED, without_backticks(record.text("error")))
    except InputError:
        return Excluded(NOT_STAGED)


def _require_one_model(models: Mapping[str, Mapping[str, Any]], users: Mapping[str, list[str]]) -> None:
    if len(models) > 1:
        found = "; ".join(f"{len(users[s])} of {m['name']!r} ({s[:12]}…, as {users[s][0]})" for s, m in models.items())
        raise InputError(
            f"Results of {len(models)} models: {found}; expected one model, since the features of different networks "
            "are not comparable. Stage all cases with one model."
        )


def counted(excluded: Iterable[Excluded]) -> dict[str, int]:
    """Count the excluded cases by reason."""
    reasons = [one.reason for one in excluded]
    return {reason: reasons.count(reason) for reason in dict.fromkeys(reasons)}


# -- tables --------------------------------------------------------------------------------------------------------


def from_table(path: Path) -> CaseFeatures:
    """Read the features from a table: `case_id`, and one feature in every other column.

    Raises
    ------
    InputError
        With every cell that is not a number, by row and column; a case with an empty cell is excluded instead.
    """
    table = read_case_table(path, ("case_id",))
    names = tuple(name for name in table.columns if name != "case_id")
    if not names:
        raise InputError(f"{path.name} has no column beside case_id; expected one for each feature.")
    if others := [name for name in names if name in COLUMNS]:
        raise InputError(
            f"{path.name} has the column {', '.join(others)}, which would be a feature; expected case_id and features "
            "only. Put the other columns into the cohort table."
        )
    errors = []
    values, case_ids, excluded = [], [], dict[str, Excluded]()
    for number, cells in zip(table.numbers, table.rows, strict=True):
        case_id = str(cells["case_id"])
        missing = [name for name in names if cells[name] is None]
        if missing:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            excluded[case_id] = Excluded(NO_FEATURE, f"{missing[0]}{more}")
            continue
        try:
            row = np.array([cells[name] for name in names], dtype=np.float64)
        except ValueError:
            row = np.full(len(names), np.nan)
        if not np.isfinite(row).all():
            name = next(name for name in names if not _is_number(str(cells[name])))
            errors.append(f"row {number}, {name} {cells[name]!r}: expected a finite number, since every column but "
                          "case_id is a feature")  # fmt: skip
        values.append(row)
        case_ids.append(case_id)
    require_none(path, errors)
    if not values:
        raise InputError(f"{path.name}: no case has all {len(names)} features; expected one or more.")
    return CaseFeatures(tuple(case_ids), np.stack(values), names, excluded=excluded, notes=table.notes)


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def read_rows(path: Path) -> Cases[CaseRow]:
    """Read the cases of a cohort table: `case_id`, `patient_id`, `stage`, and `split` if present.

    Cases with a reason in `exclude` are left out; the notes have their number.

    Raises
    ------
    InputError
        With every error of the table: row (the header is row 1), column, value and expected content.
    """
    cases = read_cases(path, ("case_id", "patient_id", "stage"), CaseRow, may_be_empty=("stage",))
    notes = split_notes(sum(c.split is None for c in cases), len(cases)) if "split" in cases[0].given else []
    return Cases(cases.rows, (*cases.notes, *notes))


__all__ = ["CaseFeatures", "Excluded", "counted", "from_results", "from_table", "read_rows", "scores"]
