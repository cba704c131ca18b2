"""Read the finished cases of batches, in the order of time."""

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from GTRStagingLib.batch.columns import PREDICTIONS, TRUE_STAGE
from GTRStagingLib.errors import InputError, StagingError
from GTRStagingLib.stages import TStage
from GTRStagingLib.support.counts import counted
from GTRStagingLib.support.fields import Fields
from GTRStagingLib.support.files import read_json, sha256_of
from GTRStagingLib.tables.case_table import read_case_table
from GTRStagingLib.tables.headers import find
from GTRStagingLib.tables.stage_cells import named_stage
from GTRStagingLib.tables.table_files import Table, read_table

TIMES = ("acquisition_date", "scan_date", "study_date", "examination_date", "exam_date")
"""Names of the case table's column with the day of the scan, which a batch copies into its table. Records have no such
day, since it would identify a patient."""

RECORD = "result.json"

_COMPACT = re.compile(r"\d{8}")


@dataclass(frozen=True, eq=False)
class ObservedCase:
    """What one staged case shows of the stream that it belongs to.

    Attributes
    ----------
    time
        Day of the scan, or time of the staging, UTC.
    stage
        Voted stage.
    confidence
        Probability of the voted stage, mean of the voting slices.
    set_size
        Number of stages in the stage set, as text, or 'withheld'; None if the model has no calibration.
    verdict, distance
        Of the familiarity.
    numbers
        Numbers of the image and its acquisition, see `staging.familiarity.NUMBERS`.
    header
        Keyword of a DICOM element -> its value.
    truth
        True stage; None if it is not known.
    digest
        Of the images, which tells whether two cases are one.
    neighbours
        Acquired slices from the key slice to the neighbours that voted with it, and distance of these slices in mm;
        None if no neighbour voted or the distance is not known.
    """

    case_id: str
    time: datetime
    stage: str
    confidence: float
    set_size: str | None
    verdict: str
    distance: float | None
    numbers: Mapping[str, float]
    header: Mapping[str, str]
    truth: str | None
    digest: str
    neighbours: tuple[int, float] | None = None


@dataclass(frozen=True, eq=False)
class Stream:
    """Cases of one model in the order of time.

    Attributes
    ----------
    name
        Names of the batches' folders.
    cases
        Those that are finished, have a record and a time, each once.
    model, card_sha256
        Name of the model, and hash of its card.
    ordered_by
        What the order is, in words.
    left_out
        Reason -> number of rows of the batches' tables that are not among the cases.
    warning
        Warning of the model, such as that it is a demonstration; None without one.
    notes
        Sentences on how the tables were read.
    """

    name: str
    cases: tuple[ObservedCase, ...]
    model: str
    card_sha256: str
    ordered_by: str
    left_out: Mapping[str, int]
    warning: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def neighbour_mm(self) -> tuple[float, float]:
        """Between which distances in mm the option `neighbour_mm` of the cases lies; (0, inf) if it can be any or none.

        The neighbours are the acquired slices nearest to that distance, at least the adjacent ones.
        """
        known = [case.neighbours for case in self.cases if case.neighbours is not None]
        low = max(((step - 0.5) * mm for step, mm in known if step > 1), default=0.0)
        return low, min(((step + 0.5) * mm for step, mm in known), default=math.inf)


def read_stream(
    batches: Sequence[Path], *, time: str | None = None, outcomes: Mapping[str, str | TStage] | None = None
) -> Stream:
    """Read the cases of one or several output folders of `run_batch`, in the order of time.

    Parameters
    ----------
    batches
        Output folders. A case that occurs twice, by its id or its images, counts once, at its first time.
    time
        Column of the case table with the day of the scan (2026-12-31, 20261231 or an ISO 8601 time); None: the first of
        `TIMES` that every batch has, or else the time at which a case was staged.
    outcomes
        Case id -> true stage, see `read_outcomes`; it replaces the true stages of the batches' tables. A note counts
        those of cases of the stream.

    Raises
    ------
    InputError
        If a folder is not one of a batch, a time or an outcome cannot be read, a scan is of the future, no case is
        left, or the cases are of several models or were staged with neighbours at several distances.
    """
    if isinstance(batches, str | Path):
        raise InputError(f"The batches are {str(batches)!r}; expected a list of folders. Give [folder].")
    batches = [Path(folder) for folder in batches]
    if not batches:
        raise InputError("No batch; expected the output folder of one or several.")
    true_stages = _true_stages(outcomes or {})
    tables = [_table_of(folder) for folder in batches]
    columns = [_time_column(table, time) for table in tables]
    by_column = all(column is not None for column in columns)
    left_out: Counter[str] = Counter()
    found: list[tuple[ObservedCase, tuple[str, str, str | None]]] = []
    for folder, table, column in zip(batches, tables, columns, strict=True):
        for row, number in zip(table.rows, table.numbers, strict=True):
            if row.get("status") != "done":
                left_out[str(row.get("status") or "no status")] += 1
                continue
            case_id = str(row.get("case_id"))
            record = _record_of(folder / "cases" / case_id / RECORD)
            if record is None:
                left_out["no record"] += 1
                continue
            fields = Fields(record, f"{case_id}, {RECORD}")
            text = row[column] if by_column and column is not None else fields.fields("provenance").text("utc")
            if text is None:
                left_out["no time"] += 1
                continue
            where = f"{folder.name}/{PREDICTIONS}, row {number}" if by_column else f"{folder.name}, {case_id}, {RECORD}"
            remedy = (
                "Correct the case table and run the batch again, or leave out `time` to use the time of staging."
                if by_column
                else "Stage the case again."
            )
            moment = _time_of(text, where, remedy)
            if by_column and moment > datetime.now(UTC) + timedelta(days=1):  # a day begins earlier in the east
                raise InputError(
                    f"{where}: the day of the scan is {text!r}, in the future; expected a past day. {remedy}"
                )
            truth = true_stages.get(case_id) or _stage_or_none(row.get(TRUE_STAGE))
            found.append(_observed(fields, case_id, moment, truth))
    name = ", ".join(folder.name for folder in batches)
    cases = tuple(_each_once(sorted(found, key=lambda one: one[0].time), left_out))
    if not cases:
        reasons = ", ".join(f"{n} {reason}" for reason, n in left_out.items()) or "no row"
        raise InputError(f"{name}: no case can be used ({reasons}); expected finished cases with their records.")
    models = {model for _, model in found}
    if len({sha256 for _, sha256, _ in models}) > 1:
        shown = ", ".join(sorted(f"{called} (card {sha256[:8]})" for called, sha256, _ in models))
        raise InputError(
            f"{name}: the cases are of {len(models)} models or calibrations: {shown}; expected one, since their "
            "results cannot be compared. Watch the batches of each apart, or stage the cases again with one."
        )
    ((model, sha256, warning),) = models
    used = sorted({column for column in columns if column is not None})
    ordered_by = f"the column {', '.join(used)} of the case table" if by_column else "the time of staging"
    notes = list(dict.fromkeys(note for table in tables for note in table.notes))
    if used and not by_column:
        without = ", ".join(folder.name for folder, column in zip(batches, columns, strict=True) if column is None)
        notes.append(f"The column {', '.join(used)} was not used, since {without} has none.")
    if true_stages:
        known = sum(case.case_id in true_stages for case in cases)
        notes.append(f"Outcomes: {known} of {len(true_stages)} are of cases of {name}.")
    stream = Stream(name, cases, model, sha256, ordered_by, dict(left_out), warning, tuple(notes))
    require_one_distance(name, stream.neighbour_mm)
    return stream


def require_one_distance(name: str, *ranges: tuple[float, float]) -> None:
    """Raise `InputError` unless one `neighbour_mm` lies in all `Stream.neighbour_mm`; `name` is that of the cases."""
    low, high = max(one for one, _ in ranges), min(one for _, one in ranges)
    if low > high * (1 + 1e-6):
        raise InputError(
            f"{name}: some cases were staged with neighbouring slices at {low:.3g} mm or more, others at {high:.3g} mm "
            "or less; expected one `neighbour_mm`, since their results cannot be compared. Watch the batches of each "
            "apart, or stage the cases again with one."
        )


def read_outcomes(path: Path) -> tuple[dict[str, str], tuple[str, ...]]:
    """Read true stages that came in later: case id -> stage, of the cases that have one, and notes on the reading.

    Parameters
    ----------
    path
        Table with `case_id` and `stage`; a cell of `stage` may be empty.
    """
    path = Path(path)
    table = read_case_table(path, ("case_id", "stage"), may_be_empty=("stage",))
    known = {str(row["case_id"]): str(row["stage"]) for row in table.rows if row["stage"] is not None}
    note = f"{path.name} (sha256 {sha256_of(path)}) has the true stages of {counted(len(known), 'case')}."
    return known, (*table.notes, note)


# -- parts ---------------------------------------------------------------------------------------------------------


def _table_of(folder: Path) -> Table:
    if not (folder / PREDICTIONS).is_file():
        raise InputError(
            f"{folder.name} has no {PREDICTIONS}; expected the output folder of a finished batch. Finish the batch "
            "with `resume`, or correct the path."
        )
    return read_table(folder / PREDICTIONS)


def _time_column(table: Table, time: str | None) -> str | None:
    try:
        found = find(table.columns, TIMES if time is None else (time,))
    except ValueError as error:
        raise InputError(f"{table.path.parent.name}/{PREDICTIONS}: {error}.") from error
    if found is None and time is not None:
        raise InputError(
            f"{table.path.parent.name}/{PREDICTIONS} has no column {time!r}; expected the day of each scan there. Add "
            "it to the case table of the batch, or leave out `time` to use the time of staging."
        )
    return found


def _true_stages(outcomes: Mapping[str, str | TStage]) -> dict[str, str]:
    """Return outcomes as texts, T1 to T4; raise `InputError` if one is no stage, which would count as wrong."""
    found: dict[str, str] = {}
    for case_id, given in outcomes.items():
        if (stage := _stage_or_none(str(given))) is None:
            raise InputError(f"The outcome of {case_id} is {str(given)!r}; expected T1 to T4. Correct it.")
        found[case_id] = stage
    return found


def _time_of(text: str, where: str, remedy: str) -> datetime:
    plain = text.strip()
    if _COMPACT.fullmatch(plain):  # as in DICOM
        plain = f"{plain[:4]}-{plain[4:6]}-{plain[6:]}"
    try:
        found = datetime.fromisoformat(plain)
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError) as error:  # the latter of a zone that leads out of the years 1 to 9999
        raise InputError(
            f"{where}: the time is {text!r}; expected a day such as 2026-12-31, or an ISO 8601 time. {remedy}"
        ) from error


def _record_of(path: Path) -> Any:
    """Return the record of a case; None if it was removed or is damaged."""
    try:
        return read_json(path, "the record of a case") if path.is_file() else None
    except StagingError:
        return None


def _stage_or_none(text: str | None) -> str | None:
    stage = None if text is None else named_stage(text)
    return None if stage is None else str(stage)


def _observed(
    record: Fields, case_id: str, time: datetime, truth: str | None
) -> tuple[ObservedCase, tuple[str, str, str | None]]:
    """Return a case, and the name, hash and warning of its model."""
    if record.has("looks"):  # means of several looks are spread less, which would look like a change
        raise InputError(
            f"{case_id} was staged with several looks; expected one look of one model, as in a reference. Stage the "
            "cases with one model, and without `tta`."
        )
    prediction, familiarity = record.fields("prediction"), record.fields("familiarity")
    model, provenance = record.fields("model"), record.fields("provenance")
    if (stage := _stage_or_none(prediction.text("stage"))) is None:
        given = prediction.text("stage")
        raise InputError(f"{case_id}, {RECORD}: the stage is {given!r}; expected T1 to T4. Stage the case again.")
    four = prediction.numbers("probabilities", len(TStage))
    numbers = familiarity.fields("numbers") if familiarity.has("numbers") else Fields({})
    acquisition = record.fields("input").fields("acquisition")
    case = ObservedCase(
        case_id=case_id,
        time=time,
        stage=stage,
        confidence=four[[str(one) for one in TStage].index(stage)],
        set_size=_set_size(prediction.fields("set")) if prediction.has("set") else None,
        verdict=familiarity.text("verdict"),
        distance=familiarity.number("distance") if familiarity.has("distance") else None,
        numbers={name: numbers.number(name) for name in numbers.data},
        header={str(key): str(value) for key, value in acquisition.data.items()},
        truth=truth,
        digest=provenance.text("input_digest"),
        neighbours=_neighbours(prediction),
    )
    return case, (model.text("name"), provenance.text("card_sha256"), model.text("warning", None))


def _neighbours(prediction: Fields) -> tuple[int, float] | None:
    if not prediction.has("stability"):
        return None
    steps = [abs(one.whole("offset", least=-(2**53))) for one in prediction.list_of_fields("slices")]
    mm = prediction.fields("stability").number("step_mm")
    return None if not any(steps) else (max(steps), mm / max(steps))


def _set_size(found: Fields) -> str:
    return "withheld" if found.has("withheld") else str(len(found.texts("stages")))


def _each_once(ordered: Sequence[tuple[ObservedCase, object]], left_out: Counter[str]) -> Iterator[ObservedCase]:
    """Yield cases without those whose id or images came before."""
    ids, digests = set[str](), set[str]()
    for case, _ in ordered:
        if case.case_id in ids or case.digest in digests:
            left_out["twice"] += 1
            continue
        ids.add(case.case_id)
        digests.add(case.digest)
        yield case


__all__ = ["RECORD", "TIMES", "ObservedCase", "Stream", "read_outcomes", "read_stream", "require_one_distance"]
