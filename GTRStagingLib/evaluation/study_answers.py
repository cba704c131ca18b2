"""Read the answers and deviations of a reader study beside its collected table, and check that they belong to it."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from GTRStagingLib.errors import InputError
from GTRStagingLib.evaluation.predictions import Predictions
from GTRStagingLib.reading.collect import DEVIATIONS, READINGS
from GTRStagingLib.reading.designs import READING, REPEAT, TRAINING
from GTRStagingLib.reading.deviations import Deviation
from GTRStagingLib.reading.log import time_of
from GTRStagingLib.stages import TStage
from GTRStagingLib.stats.reader_study import PHASES
from GTRStagingLib.support.counts import counted
from GTRStagingLib.support.files import sha256_of
from GTRStagingLib.tables.stage_cells import named_stage
from GTRStagingLib.tables.table_files import read_table

REQUIRED = ("reader", "case_id", "true_stage", "phase", "kind", "final", "stage", "confidence", "seconds", "views",
            "advice_shown", "advice_stage", "software")  # fmt: skip
"""Columns of `readings.csv` that the analysis needs."""

REMEDY = "Collect both again, or choose the answers of this table in `readings` ('none' for no answers)."


@dataclass(frozen=True)
class StudyAnswers:
    """Final answers of a reader study to the evaluated cases, training left out.

    Attributes
    ----------
    source, digest
        Name of the file, and sha256 of its bytes.
    readers
        Names.
    reader, row
        (n,) index of the reader, and of the row of the predictions.
    aided, repeat
        (n,) bool.
    stages
        (n,) stages 0..3.
    confidence, seconds
        (n,), NaN where not known: so are seconds of a case that was displayed again after an interruption.
    shown
        (n,) bool: whether the model's stage was displayed.
    advice
        (n,) stage of the advice 0..3, -1 without one, displayed or not.
    parts
        Parts of the advice, as in 'stage map' -> number of aided first readings with them.
    training
        Number of final answers to training cases.
    software
        Versions that wrote the answers.
    first_phases
        Reader -> phase of the first period; without readers for whom the table does not tell.
    pauses
        Reader -> days from the last answer of the first period to the first answer of the second.
    deviations
        None without a table of deviations.
    """

    source: str
    digest: str
    readers: tuple[str, ...]
    reader: np.ndarray
    row: np.ndarray
    aided: np.ndarray
    repeat: np.ndarray
    stages: np.ndarray
    confidence: np.ndarray
    seconds: np.ndarray
    shown: np.ndarray
    advice: np.ndarray
    parts: Mapping[str, int]
    training: int
    software: tuple[str, ...]
    first_phases: Mapping[str, str]
    pauses: Mapping[str, float]
    deviations: tuple[Deviation, ...] | None


def answers_beside(table: Path, found: Predictions) -> Path | None:
    """Return `readings.csv` beside a table with the two phases of a reader; None without one."""
    path = table.absolute().with_name(READINGS)
    return path if path.is_file() and found.opinions.phases else None


def read_answers(path: Path, found: Predictions) -> StudyAnswers:
    """Read the answers of a study, which must be those of the table of predictions, and the deviations beside them.

    Raises
    ------
    InputError
        If a column is missing, a cell is invalid, or readers, cases, true stages or final answers are not the table's.
    """
    try:
        table = read_table(path)
    except InputError as error:
        raise InputError(
            f"{error} {path.name} is read as the answers of a reader study. {REMEDY}", details=error.details
        ) from error
    if missing := [name for name in REQUIRED if name not in table.columns]:
        raise InputError(
            f"{path.name} has no column {', '.join(missing)}; expected the answers of a collected "
            f"reader study. {REMEDY}"
        )
    rows = [(number, row) for number, row in zip(table.numbers, table.rows, strict=True) if row["final"] == "yes"]
    index = {str(name): i for i, name in enumerate(found.case_names)}
    elsewhere = _left_out(found)
    kept, training = [], 0
    for number, row in rows:
        kind, case = row["kind"], row["case_id"] or ""
        if kind not in (READING, REPEAT, TRAINING) or row["phase"] not in PHASES:
            raise InputError(f"{path.name}, row {number}: kind {kind!r} in the phase {row['phase']!r}; expected "
                             f"{READING}, {REPEAT} or {TRAINING}, in {' or '.join(PHASES)}. {REMEDY}")  # fmt: skip
        training += kind == TRAINING
        if kind == TRAINING or case in elsewhere:
            continue
        if case not in index:
            raise InputError(
                f"{path.name}, row {number}: case {case!r} is not in {found.source}; expected cases of that "
                f"table. {REMEDY}"
            )
        kept.append((number, row))
    readers = tuple(dict.fromkeys(row["reader"] or "" for _, row in rows))
    places = np.array([index[row["case_id"] or ""] for _, row in kept], dtype=int)
    answers = StudyAnswers(
        source=path.name,
        digest=sha256_of(path),
        readers=readers,
        reader=np.array([readers.index(row["reader"] or "") for _, row in kept], dtype=int),
        row=places,
        aided=np.array([row["phase"] == PHASES[1] for _, row in kept], dtype=bool),
        repeat=np.array([row["kind"] == REPEAT for _, row in kept], dtype=bool),
        stages=np.array([_stage(path, n, row["stage"], "stage") for n, row in kept], dtype=int),
        confidence=np.array([_number(path, n, row, "confidence") for n, row in kept], dtype=float),
        seconds=np.array([_seconds(path, n, row) for n, row in kept], dtype=float),
        shown=np.array(["stage" in (row["advice_shown"] or "").split() for _, row in kept], dtype=bool),
        advice=np.array(
            [
                -1 if row["advice_stage"] is None else _stage(path, n, row["advice_stage"], "advice_stage")
                for n, row in kept
            ],
            dtype=int,
        ),
        parts=Counter(
            row["advice_shown"] or "" for _, row in kept if row["phase"] == PHASES[1] and row["kind"] == READING
        ),
        training=training,
        software=tuple(sorted({row["software"] or "" for _, row in rows} - {""})),
        first_phases=_first_phases(table.rows),
        pauses=_pauses(path, zip(table.numbers, table.rows, strict=True)),
        deviations=_deviations(path.with_name(DEVIATIONS)),
    )
    _require_same(path, found, answers, kept)
    return answers


def _first_phases(rows: Sequence[Mapping[str, str | None]]) -> dict[str, str]:
    phases: dict[str, set[str]] = {}
    for row in rows:
        if row.get("period") == "1":
            phases.setdefault(row["reader"] or "", set()).add(row["phase"] or "")
    return {reader: next(iter(some)) for reader, some in phases.items() if len(some) == 1}


def _pauses(path: Path, rows: Iterable[tuple[int, Mapping[str, str | None]]]) -> dict[str, float]:
    times: dict[str, dict[str, list[datetime]]] = {}
    for number, row in rows:
        if (text := row.get("time")) is not None:
            try:
                time = time_of(text)
            except ValueError as error:
                raise InputError(f"{path.name}, row {number}, time {text!r}; expected a time with its zone, such as "
                                 "2026-12-02T20:15:00.000Z. Correct the cell.") from error  # fmt: skip
            times.setdefault(row["reader"] or "", {}).setdefault(row.get("period") or "", []).append(time)
    return {reader: (min(own["2"]) - max(own["1"])) / timedelta(days=1)
            for reader, own in times.items() if {"1", "2"} <= own.keys()}  # fmt: skip


def _left_out(found: Predictions) -> set[str]:
    if found.left_out is None or found.columns.case is None:
        return set()
    return set(found.left_out.frame[found.columns.case].tolist())


def _stage(path: Path, number: int, text: str | None, column: str) -> int:
    stage = named_stage(text or "")
    if stage is None:
        raise InputError(f"{path.name}, row {number}, {column} {text!r}; expected T1 to T4. Correct the cell.")
    return int(stage)


def _number(path: Path, number: int, row: Mapping[str, str | None], column: str) -> float:
    text = row[column]
    try:
        return float("nan") if text is None else float(text)
    except ValueError as error:
        raise InputError(
            f"{path.name}, row {number}, {column} {text!r}; expected a number. Correct the cell."
        ) from error


def _seconds(path: Path, number: int, row: Mapping[str, str | None]) -> float:
    seconds, views = (_number(path, number, row, name) for name in ("seconds", "views"))
    return seconds if seconds > 0 and not views > 1 else float("nan")


def _require_same(
    path: Path, found: Predictions, answers: StudyAnswers, kept: list[tuple[int, Mapping[str, str | None]]]
) -> None:
    """Raise `InputError` if true stages or final answers are not those of the table."""
    for i, (number, row) in enumerate(kept):
        if _stage(path, number, row["true_stage"], "true_stage") != found.stages[answers.row[i]]:
            raise InputError(
                f"{path.name}, row {number}: true stage {row['true_stage']} of case {row['case_id']}, but "
                f"{TStage(int(found.stages[answers.row[i]]))} in {found.source}; expected the same. {REMEDY}"
            )
    columns = {name.casefold(): name for name in found.frame.columns}
    named = [name for name in found.opinions.phases if name not in answers.readers]
    if named:
        raise InputError(f"{path.name} has no answer of {', '.join(named)}; expected answers of each reader of "
                         f"{found.source}. {REMEDY}")  # fmt: skip
    for k, reader in enumerate(answers.readers):
        for aided, phase in enumerate(PHASES):
            here = (answers.reader == k) & (answers.aided == bool(aided)) & ~answers.repeat
            if len(np.unique(answers.row[here])) < here.sum():
                raise InputError(
                    f"{path.name}: {reader} has two final answers to the first reading of a case, {phase}; expected "
                    f"one. {REMEDY}"
                )
            column = columns.get(f"{reader}_{phase}".casefold())
            if column is None:
                raise InputError(f"{found.source} has no column {reader}_{phase}, but {path.name} has the reader "
                                 f"{reader!r}; expected the readers of that table. {REMEDY}")  # fmt: skip
            cells = [named_stage(text or "") for text in found.texts(column)]
            own = np.array([-1 if one is None else int(one) for one in cells], dtype=int)
            given = np.full(len(found), -1)
            given[answers.row[here]] = answers.stages[here]
            if len(wrong := np.flatnonzero(given != own)):
                texts = ["no answer" if one[wrong[0]] < 0 else str(TStage(int(one[wrong[0]]))) for one in (given, own)]
                raise InputError(
                    f"{path.name} has {texts[0]} of {reader}, {phase}, to case {found.case_names[wrong[0]]}, and "
                    f"{found.source} has {texts[1]} ({counted(len(wrong), 'such case')}); expected the same. {REMEDY}"
                )


def _deviations(path: Path) -> tuple[Deviation, ...] | None:
    if not path.is_file():
        return None
    try:
        table = read_table(path)
    except InputError:
        if len(path.read_text(encoding="utf-8").splitlines()) > 1:
            raise
        return ()  # a header without a row
    fields = ("reader", "severity", "kind", "sentence")
    if missing := [name for name in fields if name not in table.columns]:
        raise InputError(
            f"{path.name} has no column {', '.join(missing)}; expected the deviations of a study. {REMEDY}"
        )
    return tuple(Deviation(*(row[name] or "" for name in fields)) for row in table.rows)


__all__ = ["StudyAnswers", "answers_beside", "read_answers"]
