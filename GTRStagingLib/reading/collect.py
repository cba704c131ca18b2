"""Collect the answers of a study, check them against its protocol, and write the tables that are evaluated."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from GTRStagingLib.batch.columns import TRUE_STAGE
from GTRStagingLib.errors import InputError
from GTRStagingLib.reading.course import Course
from GTRStagingLib.reading.designs import AIDED, READING, TRAINING, UNAIDED
from GTRStagingLib.reading.deviations import DEVIATION, NOTE, Deviation, course_and_deviations
from GTRStagingLib.reading.log import utc_now
from GTRStagingLib.reading.organiser import Study, read_study
from GTRStagingLib.reading.plan import READERS
from GTRStagingLib.reading.readings import COLUMNS, Cell, reading_rows
from GTRStagingLib.stages import TStage
from GTRStagingLib.support.counts import counted
from GTRStagingLib.tables.case_table import read_case_table
from GTRStagingLib.tables.stage_cells import named_stage
from GTRStagingLib.tables.table_files import kind_of, read_table, write_table

READINGS, DEVIATIONS = "readings.csv", "deviations.csv"
"""Tables beside the one of the cases."""


@dataclass(frozen=True)
class Collected:
    """Answers of a study.

    Attributes
    ----------
    table
        Column -> a cell for each case: the predictions, the true stages, and the stages of each reader and phase.
    readings
        A row for each answer, by `readings.COLUMNS`.
    deviations
        In the order of the readers; those of the study come first.
    answered
        Reader -> numbers of readings with an answer, and of all that are planned, without training.
    notes
        On how the tables were read.
    """

    table: Mapping[str, Sequence[Cell]]
    readings: Sequence[Mapping[str, Cell]]
    deviations: tuple[Deviation, ...]
    answered: Mapping[str, tuple[int, int]]
    notes: tuple[str, ...] = ()

    @property
    def kept(self) -> bool:
        """Whether the protocol was kept: there is no deviation, but perhaps notes."""
        return all(one.severity == NOTE for one in self.deviations)


def collect(study_folder: Path, truth: Path, predictions: Path, *, now: datetime | None = None) -> Collected:
    """Collect the answers of a study.

    Parameters
    ----------
    study_folder
        Folder of the study, into which the readers' folders were put back.
    truth
        Table with the true `stage` of each case, as `organiser/truth.csv`.
    predictions
        `predictions.csv` of the batch, with a row for each case.

    Raises
    ------
    InputError
        If a table cannot be read, a case of the study is missing in it, or its stages contradict each other.
    """
    study = read_study(study_folder)
    stages, notes = _truth(truth, study)
    now = utc_now() if now is None else now
    deviations, courses = list[Deviation](), dict[str, Course]()
    strangers = {path.name for path in (study.folder / READERS).glob("*") if path.is_dir()} - set(study.plans)
    deviations += [Deviation("", NOTE, "folder", f"{name} is no reader of the study; its folder is not read.")
                   for name in sorted(strangers)]  # fmt: skip
    columns, more, differing = _predictions(predictions, study, stages)
    if differing:
        deviations.append(Deviation("", DEVIATION, "truth", differing))
    for reader in study.plans:
        courses[reader], found = course_and_deviations(study, reader, now)
        deviations += found
    versions = {one for course in courses.values() for one in course.software}
    if len(versions) > 1 and all(len(course.software) < 2 for course in courses.values()):
        sentence = f"Readers used the versions {', '.join(sorted(versions))}; one was expected."
        deviations.append(Deviation("", DEVIATION, "software", sentence))
    return Collected(
        table=columns | _stages_read(study, courses, columns),
        readings=reading_rows(study, courses, stages),
        deviations=tuple(deviations),
        answered={
            reader: (
                sum(bool(one.answers) for one in course.readings if one.item.kind != TRAINING),
                sum(one.item.kind != TRAINING for one in course.readings),
            )
            for reader, course in courses.items()
        },
        notes=(*notes, *more),
    )


def write_collected(found: Collected, out: Path) -> tuple[Path, Path, Path]:
    """Write the table of the cases, and beside it those of the answers and the deviations; return their paths.

    Raises
    ------
    InputError
        If the name does not end as that of a table, or is that of another one.
    """
    kind_of(out, (".csv", ".parquet"))
    if out.name in (READINGS, DEVIATIONS):
        raise InputError(f"{out.name} is the name of another table; expected one such as table.csv. Change `out`.")
    readings, deviations = out.with_name(READINGS), out.with_name(DEVIATIONS)
    write_table(readings, {name: [row[name] for row in found.readings] for name in COLUMNS})
    fields = ("reader", "severity", "kind", "sentence")
    write_table(deviations, {name: [getattr(one, name) for one in found.deviations] for name in fields})
    write_table(out, found.table)  # last, so that it implies the others
    return out, readings, deviations


def _truth(path: Path, study: Study) -> tuple[dict[str, TStage], tuple[str, ...]]:
    table = read_case_table(path, ("case_id", "stage"))
    stages = {row["case_id"] or "": TStage[row["stage"] or ""] for row in table.rows}
    _require(path, [one for one in study.cases if one not in stages], "true stage")
    return stages, table.notes


def _predictions(
    path: Path, study: Study, stages: Mapping[str, TStage]
) -> tuple[dict[str, Sequence[Cell]], tuple[str, ...], str | None]:
    """Return the columns of the predictions for the cases, with their true stages; and whether they are the advice."""
    table = read_table(path)
    if "case_id" not in table.columns:
        raise InputError(f"{path.name} has no column case_id; expected the predictions of a batch. Give its table.")
    rows = {row["case_id"] or "": row for row in table.rows}
    cases = [one for one in study.cases.values() if not one.training]
    _require(path, [one.case_id for one in cases if one.case_id not in rows], "prediction")
    wrong = [
        one.case_id
        for one in cases
        if (text := rows[one.case_id].get(TRUE_STAGE)) is not None and named_stage(text) != stages[one.case_id]
    ]
    if wrong:
        raise InputError(
            f"{path.name} has another {TRUE_STAGE} than the table of true stages for {counted(len(wrong), 'case')} "
            f"({', '.join(wrong[:5])}); expected the same. Correct one of the tables."
        )
    columns: dict[str, Sequence[Cell]] = {name: [rows[one.case_id][name] for one in cases] for name in table.columns}
    own: dict[str, Sequence[Cell]] = {
        "patient_id": [one.patient_id for one in cases],
        "centre": [one.centre for one in cases],
    }
    columns |= {name: values for name, values in own.items() if name not in columns}
    columns[TRUE_STAGE] = [stages[one.case_id].name for one in cases]
    other = [one.case_id for one in cases if named_stage(rows[one.case_id].get("stage") or "")
             != study.advice[one.case_id].stage]  # fmt: skip
    differing = None if not other else (
        f"The predictions differ from the advice that the study was designed with in {counted(len(other), 'case')} "
        f"({', '.join(other[:5])})."
    )  # fmt: skip
    return columns, table.notes, differing


def _require(path: Path, missing: Sequence[str], what: str) -> None:
    if missing:
        raise InputError(
            f"{path.name} has no {what} for {counted(len(missing), 'case')} of the study ({', '.join(missing[:5])}); "
            "expected one for each. Give the table of all cases."
        )


def _stages_read(
    study: Study, courses: Mapping[str, Course], columns: Mapping[str, Sequence[Cell]]
) -> dict[str, Sequence[Cell]]:
    """Return `NAME_unaided` and `NAME_aided` of each reader: the final answers to first readings."""
    found: dict[str, Sequence[Cell]] = {}
    for reader, course in courses.items():
        for phase in (UNAIDED, AIDED):
            name = f"{reader}_{phase}"
            if name in columns:
                raise InputError(f"The predictions have a column {name}; expected none of a reader. Remove it.")
            final = {
                study.case_ids[reader][one.item.code]: one.answers[-1].answer.stage.name
                for one in course.readings
                if one.item.kind == READING and one.item.phase == phase and one.answers
            }
            found[name] = [final.get(str(case_id)) for case_id in columns["case_id"]]
    return found


__all__ = ["DEVIATIONS", "READINGS", "Collected", "collect", "write_collected"]
