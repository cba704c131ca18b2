"""Read the organiser's part of a study: what was designed, which code is which case, and what the model advised."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from GTRStagingLib.errors import InputError
from GTRStagingLib.reading.advice import Advice, advice_of_row
from GTRStagingLib.reading.designs import TRAINING, Kind
from GTRStagingLib.reading.folders import GIVEN, KEY, KIND, ORGANISER, SCHEDULE, STUDY, TRUTH
from GTRStagingLib.reading.plan import READERS, Plan, PlannedCase, PlannedItem, rules_of
from GTRStagingLib.support.fields import Fields
from GTRStagingLib.support.files import read_json
from GTRStagingLib.tables.table_files import read_table

_KINDS: Mapping[str, Kind] = {"reading": "reading", "repeat": "repeat", "training": "training"}


@dataclass(frozen=True)
class StudyCase:
    """Case of a study; None where nothing is known."""

    case_id: str
    patient_id: str
    centre: str | None
    training: bool
    key_slice: int | None
    slices: int


@dataclass(frozen=True)
class Study:
    """Study as it was designed.

    Attributes
    ----------
    folder
        Of the study.
    plans
        Reader -> plan, made from the organiser's tables and not from the reader's folder.
    manifests
        Reader -> hash of the manifest that was handed out.
    case_ids
        Reader -> code -> id of the case.
    cases
        Id -> case, training cases included.
    advice
        Id -> the model's advice when the study was designed, without maps.
    """

    folder: Path
    plans: Mapping[str, Plan]
    manifests: Mapping[str, str]
    case_ids: Mapping[str, Mapping[str, str]]
    cases: Mapping[str, StudyCase]
    advice: Mapping[str, Advice]
    facts: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def reader_folder(self, reader: str) -> Path:
        """Return the folder of a reader."""
        return self.folder / READERS / reader


def read_study(folder: Path) -> Study:
    """Read the organiser's part of a study.

    Raises
    ------
    InputError
        If it is not the folder of a study, or its tables were changed so that they do not fit.
    """
    own = folder / ORGANISER
    if not (own / STUDY).is_file():
        raise InputError(
            f"{folder.name} has no {ORGANISER}/{STUDY}; expected the folder of a study with the organiser's part. "
            "Give the folder that the design wrote."
        )
    facts = read_json(own / STUDY, "the design of a study")
    fields = Fields(facts, STUDY)
    fields.require_kind(KIND)
    rules = rules_of(fields.data.get("rules"))
    readers = Fields(fields.data.get("readers"), "readers")
    manifests = {name: Fields(readers.data[name], name).sha256("manifest") for name in readers.data}
    cases = {one.case_id: one for one in map(_case, read_table(own / TRUTH).rows)}
    case_ids: dict[str, dict[str, str]] = {name: {} for name in manifests}
    for row in read_table(own / KEY).rows:
        if row["reader"] in case_ids and row["case_id"] in cases:
            case_ids[row["reader"]][row["code"] or ""] = row["case_id"]
    items: dict[str, list[PlannedItem]] = {name: [] for name in manifests}
    codes = {name: {case_id: code for code, case_id in own_ids.items()} for name, own_ids in case_ids.items()}
    for number, row in enumerate(read_table(own / SCHEDULE).rows, start=2):
        name, case_id, kind = row["reader"] or "", row["case_id"] or "", _KINDS.get(row["kind"] or "")
        if name not in items or case_id not in codes[name] or kind is None:
            raise InputError(f"{SCHEDULE}, row {number}: {name}, {case_id}; expected the schedule as it was designed.")
        period, place = int(row["period"] or 0), int(row["place"] or 0)
        items[name].append(PlannedItem(codes[name][case_id], row["phase"] or "", period, kind, place))
    study = fields.name("study")
    return Study(
        folder=folder,
        plans={
            name: Plan(study, name, rules, {code: _planned(code, cases[one]) for code, one in case_ids[name].items()},
                       tuple(items[name]))
            for name in manifests
        },
        manifests=manifests,
        case_ids=case_ids,
        cases=cases,
        advice={row["case_id"] or "": advice_of_row(row) for row in read_table(own / GIVEN).rows},
        facts=facts,
    )  # fmt: skip


def _case(row: Mapping[str, str | None]) -> StudyCase:
    key_slice = row["key_slice"]
    return StudyCase(
        case_id=row["case_id"] or "",
        patient_id=row["patient_id"] or "",
        centre=row["centre"],
        training=row["part"] == TRAINING,
        key_slice=None if key_slice is None else int(key_slice),
        slices=int(row["slices"] or 0),
    )


def _planned(code: str, case: StudyCase) -> PlannedCase:
    return PlannedCase(code, "", case.slices, key_slice=case.key_slice)


__all__ = ["Study", "StudyCase", "read_study"]
