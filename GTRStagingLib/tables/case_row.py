"""Check one row of a cohort table and convert its text to values. Needs pydantic."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from GTRStagingLib.tables.cells import covariate_value, folder_name, plain_text, unaltered_id, visible_text

PlainText = Annotated[str, AfterValidator(plain_text)]


class CohortRow(BaseModel):
    """Values of the columns that are not covariates."""

    model_config = ConfigDict(frozen=True)

    case_id: Annotated[str, AfterValidator(unaltered_id), AfterValidator(folder_name)]
    patient_id: Annotated[str, AfterValidator(unaltered_id)]
    image: PlainText
    centre: Annotated[PlainText, AfterValidator(visible_text)] | None = None
    series: Annotated[str, AfterValidator(unaltered_id)] | None = None
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
"""Expectations for errors of pydantic's own checks; the rules of `cells` state theirs in the exception."""


def validate_row(cells: Mapping[str, str | None]) -> tuple[CohortRow | None, dict[str, str | float | None], list[str]]:
    """Return the values, the covariates and the errors of a row; an error names column, value and expectation."""
    row, covariates, faults = None, {}, []
    try:
        row = CohortRow.model_validate({name: cells[name] for name in CohortRow.model_fields if name in cells})
    except ValidationError as error:
        faults += list(_messages(error))
    for name, text in cells.items():
        if name in CohortRow.model_fields:
            continue
        try:
            covariates[name] = None if text is None else covariate_value(text)
        except ValueError as error:
            faults.append(f"{name} {text!r}: {error}")
    return row, covariates, faults


def _messages(error: ValidationError) -> Iterator[str]:
    for fault in error.errors(include_url=False):
        column = str(fault["loc"][0])
        met = "is empty" if fault["input"] is None else repr(fault["input"])
        own = fault.get("ctx", {}).get("error")
        yield f"{column} {met}: {own if isinstance(own, ValueError) else EXPECTED[column]}"
