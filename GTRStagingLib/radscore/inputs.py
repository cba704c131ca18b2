"""What a Rad-score is fitted on and applied to: the features of many cases, and the table of their stages.

Features come from the results that `gtrstaging batch` wrote, or from a table. Nothing is dropped silently: a case
without features has a reason.
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import numpy as np

from GTRStagingLib.cohort.cohort import Split
from GTRStagingLib.errors import InputError
from GTRStagingLib.radscore.radscore import RadScore, of_case
from GTRStagingLib.stages import TStage
from GTRStagingLib.tables.cells import folder_name, same_folder, whole_id
from GTRStagingLib.tables.table_files import Table, read_table

RESULT, FAILED = "result.json", "failed.json"
RECORD_VERSIONS = ("1", "2")
"""First numbers of the records' `schema_version` that can be read: model and features stand in both at one place."""

SHOWN = 20
"""Faults of a table that an error lists before it only counts."""

NO_RESULT, NO_STAGE, UNREADABLE, NOT_STAGED = "no result", "no stage", "result cannot be read", "staging failed"
NO_FEATURE = "a feature is missing"


@dataclass(frozen=True)
class Excluded:
    """Why a case has no part: a reason that can be counted, and what more there is to say of this case."""

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
        (n, F), the row of each of `case_ids`.
    names
        One a feature.
    model, model_sha256, warning
        The network, and what must be said of it; None where the features came from a table, which does not say.
    excluded
        The other cases, and why.
    """

    case_ids: tuple[str, ...]
    values: np.ndarray
    names: tuple[str, ...]
    model: str | None = None
    model_sha256: str | None = None
    warning: str | None = None
    excluded: Mapping[str, Excluded] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.values.shape != (len(self.case_ids), len(self.names)):
            raise InputError(
                f"Features of shape {self.values.shape}; expected ({len(self.case_ids)}, {len(self.names)}), a row a "
                "case and a column a name."
            )


def scores(radscore: RadScore, features: CaseFeatures) -> tuple[np.ndarray, np.ndarray]:
    """(n,) standardised and (n,) raw scores of cases.

    Raises
    ------
    InputError
        If the features are of another network, or stand in another order.
    """
    if len(features.names) == radscore.n_features:  # another number is `score`'s to refuse
        for name, index in zip(radscore.names, radscore.indices, strict=True):
            if features.names[index] != name:
                raise InputError(
                    f"Feature {index + 1} is called {features.names[index]!r}; expected {name!r}, as when the "
                    f"Rad-score {radscore.name!r} was fitted. Give the features those names, in that order."
                )
    sha256 = features.model_sha256
    return (radscore.standardised(features.values, model_sha256=sha256),
            radscore.score(features.values, model_sha256=sha256))  # fmt: skip


@dataclass(frozen=True)
class FeatureRow:
    """A case of the cohort table, as far as a Rad-score asks; `given` are the table's other columns."""

    case_id: str
    patient_id: str
    stage: TStage | None
    split: Split | None
    given: Mapping[str, str | None] = field(default_factory=dict, hash=False)


# -- results -------------------------------------------------------------------------------------------------------


def from_results(source: Path, case_ids: Iterable[str] | None = None) -> CaseFeatures:
    """The features of results that `gtrstaging batch` or `stage` wrote.

    Parameters
    ----------
    source
        The folder of a batch, with `cases/CASE/result.json`; or one such file.
    case_ids
        The cases that are asked for; all that are there, if not given.

    Raises
    ------
    InputError
        If there is no such folder or file, no case has features, or they are of several networks.
    """
    if source.is_dir():
        cases = source / "cases"
        if not cases.is_dir():
            raise InputError(f"{source} has no folder 'cases'; expected what `gtrstaging batch --out` wrote.")
        found = sorted(path.name for path in cases.iterdir() if path.is_dir()) if case_ids is None else case_ids
        files = {case_id: cases / case_id / RESULT for case_id in found}
    elif source.is_file():
        files = {"": source}
    else:
        raise InputError(f"{source}: no such folder or file; expected a batch's folder, or one {RESULT}.")
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
            "expected one length in all, and one case or more. Stage the cases first, with one model."
        )
    ((sha256, model),) = models.items()
    names = tuple(f"DL-{i + 1:04d}" for i in range(lengths.pop()))
    values = np.stack(list(rows.values()))
    return CaseFeatures(tuple(rows), values, names, model["name"], sha256, model["warning"], excluded)


def _read_result(path: Path, case_id: str) -> tuple[str, Mapping[str, Any], np.ndarray] | Excluded:
    """Case id, model and features (F,) of a result, or why there are none. An empty `case_id` takes any."""
    if not path.is_file():
        return _without_result(path)
    try:
        record = json.loads(path.read_bytes())
        version, found = str(record["schema_version"]), str(record["case_id"])
        if version.split(".")[0] not in RECORD_VERSIONS:
            known = " or ".join(f"{one}.x" for one in RECORD_VERSIONS)
            return Excluded(UNREADABLE, f"schema_version {version}; expected {known}")
        if case_id and found != case_id:
            return Excluded(UNREADABLE, f"it is of the case {found!r}")
        model = {"warning": None, **record["model"]}
        return found, {key: model[key] for key in ("name", "sha256", "warning")}, of_case(record["features"])
    except (OSError, ValueError, KeyError, TypeError, InputError) as error:
        return Excluded(UNREADABLE, f"{type(error).__name__}: {error}")


def _without_result(path: Path) -> Excluded:
    failed = path.with_name(FAILED)
    if not failed.is_file():
        return Excluded(NO_RESULT)
    try:
        return Excluded(NOT_STAGED, str(json.loads(failed.read_bytes())["error"]))
    except (OSError, ValueError, KeyError, TypeError):
        return Excluded(NOT_STAGED)


def _require_one_model(models: Mapping[str, Mapping[str, Any]], users: Mapping[str, list[str]]) -> None:
    if len(models) > 1:
        said = "; ".join(f"{len(users[s])} of {m['name']!r} ({s[:12]}…, as {users[s][0]})" for s, m in models.items())
        raise InputError(
            f"Results of {len(models)} models: {said}; expected all of one, since a feature of another network means "
            "another thing. Stage all cases with one model."
        )


def counted(excluded: Iterable[Excluded]) -> dict[str, int]:
    """Reason -> how many."""
    reasons = [one.reason for one in excluded]
    return {reason: reasons.count(reason) for reason in dict.fromkeys(reasons)}


# -- tables --------------------------------------------------------------------------------------------------------


def from_table(path: Path) -> CaseFeatures:
    """The features of a table, `.csv` or `.parquet`: `case_id`, and every other column a feature.

    Raises
    ------
    InputError
        With every cell that is no number, by row and column; a case without one of its features is excluded instead.
    """
    table = read_table(path)
    names = tuple(name for name in table.columns if name != "case_id")
    _require_columns(table, ("case_id",))
    if not names:
        raise InputError(f"{path.name} has no column beside case_id; expected one for each feature.")
    faults = _doubled(table)
    values, case_ids, excluded = [], [], dict[str, Excluded]()
    for number, cells in zip(table.numbers, table.rows, strict=True):
        case_id = cells["case_id"]
        if case_id is None:
            faults.append(f"row {number}: expected a case_id")
            continue
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
            faults.append(f"row {number}, {name} {cells[name]!r}: expected a finite number, for every column but "
                          "case_id is a feature")  # fmt: skip
        values.append(row)
        case_ids.append(case_id)
    _require_none(path, faults)
    if not values:
        raise InputError(f"{path.name}: no case has all of its {len(names)} features; expected one or more.")
    return CaseFeatures(tuple(case_ids), np.stack(values), names, excluded=excluded)


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def read_rows(path: Path) -> tuple[FeatureRow, ...]:
    """The cases of a cohort table: `case_id`, `patient_id`, `stage`, and `split` where it has one.

    Raises
    ------
    InputError
        With every fault of the table: row (the header is 1), column, value and what was expected.
    """
    table = read_table(path)
    _require_columns(table, ("case_id", "patient_id", "stage"))
    faults, rows = _doubled(table), []
    for number, cells in zip(table.numbers, table.rows, strict=True):
        try:
            rows.append(_row(cells))
        except ValueError as error:
            faults.append(f"row {number}, {error}")
    _require_none(path, faults)
    return tuple(rows)


def _row(cells: Mapping[str, str | None]) -> FeatureRow:
    case_id, patient_id, stage, split = (cells.get(name) for name in ("case_id", "patient_id", "stage", "split"))
    if case_id is None or patient_id is None:
        raise ValueError("expected a case_id and a patient_id")
    try:
        folder_name(whole_id(case_id))
        whole_id(patient_id)
    except ValueError as error:
        raise ValueError(f"case_id {case_id!r}, patient_id {patient_id!r}: {error}") from error
    if stage is not None and stage not in TStage.__members__:
        raise ValueError(f"stage {stage!r}: expected T1, T2, T3 or T4, or nothing")
    if split is not None and split not in get_args(Split):
        raise ValueError(f"split {split!r}: expected {', '.join(get_args(Split))}, or nothing")
    given = {name: text for name, text in cells.items() if name not in ("case_id", "patient_id", "stage", "split")}
    return FeatureRow(case_id, patient_id, None if stage is None else TStage[stage], split, given)  # type: ignore[arg-type]


def _doubled(table: Table) -> list[str]:
    seen: dict[str, int] = {}
    faults = []
    for number, cells in zip(table.numbers, table.rows, strict=True):
        name = same_folder(cells["case_id"] or "")
        if name and (first := seen.setdefault(name, number)) != number:
            faults.append(f"row {number}, case_id {cells['case_id']!r}: expected an id of its own; row {first} has it "
                          "too")  # fmt: skip
    return faults


def _require_columns(table: Table, needed: tuple[str, ...]) -> None:
    if missing := [name for name in needed if name not in table.columns]:
        shown = [*table.columns[:SHOWN], *(["…"] if len(table.columns) > SHOWN else [])]
        raise InputError(
            f"{table.path.name}: no column {', '.join(missing)} among {', '.join(shown)}; expected "
            f"{', '.join(needed)}. Rename the columns."
        )


def _require_none(path: Path, faults: list[str]) -> None:
    if faults:
        listing = "".join(f"\n  {fault}" for fault in faults[:SHOWN]) + ("\n  …" if len(faults) > SHOWN else "")
        raise InputError(f"{path.name} has {len(faults)} fault(s); expected none. Correct the table:{listing}")


__all__ = ["CaseFeatures", "Excluded", "FeatureRow", "counted", "from_results", "from_table", "read_rows",
           "scores"]  # fmt: skip
