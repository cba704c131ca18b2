"""One row of a cohort table, from text to values: what each column may hold. Needs pydantic."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from GTRStagingLib.tables.cells import covariate_value, folder_name, plain_text, unaltered_id

PlainText = Annotated[str, AfterValidator(plain_text)]


class CohortRow(BaseModel):
    """The columns that are no covariates."""

    model_config = ConfigDict(frozen=True)

    case_id: Annotated[str, AfterValidator(unaltered_id), AfterValidator(folder_name)]
    patient_id: Annotated[str, AfterValidator(unaltered_id)]
    image: PlainText
    centre: PlainText | None = None
    roi: PlainText | None = None
    segment: PlainText | None = None
    key_slice: Annotated[int, Field(ge=0)] | None = None
    stage: Literal["T1", "T2", "T3", "T4"] | None = None
    split: Literal["train", "validation", "test"] | None = None


EXPECTED = {
    "case_id": "expected an id for every case",
    "patient_id": "expected an id for every patient",
    "image": "expected the path of a CT",
    "key_slice": "expected a whole number from 0 (the slice nearest the feet), or nothing",
    "stage": "expected T1, T2, T3 or T4, or nothing",
    "split": "expected train, validation or test, or nothing",
}
"""For faults that pydantic finds by itself; the rules of `cells` say in their own words what they expected."""


def validated(cells: Mapping[str, str | None]) -> tuple[CohortRow | None, dict[str, str | float | None], list[str]]:
    """Check a row: its values, its covariates, and its faults, each with column, value and expectation."""
    row, covariates, faults = None, {}, []
    try:
        row = CohortRow.model_validate({name: cells[name] for name in CohortRow.model_fields if name in cells})
    except ValidationError as error:
        faults += list(_said(error))
    for name, text in cells.items():
        if name in CohortRow.model_fields:
            continue
        try:
            covariates[name] = None if text is None else covariate_value(text)
        except ValueError as error:
            faults.append(f"{name} {text!r}: {error}")
    return row, covariates, faults


def _said(error: ValidationError) -> Iterator[str]:
    for fault in error.errors(include_url=False):
        column = str(fault["loc"][0])
        met = "is empty" if fault["input"] is None else repr(fault["input"])
        own = fault.get("ctx", {}).get("error")
        yield f"{column} {met}: {own if isinstance(own, ValueError) else EXPECTED[column]}"
