"""Read the case table of a batch: the cases to stage, and the cases to skip with the reason."""

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import get_args

from GTRStagingLib.errors import InputError
from GTRStagingLib.tables import case_table
from GTRStagingLib.tables.case_row import CaseRow, Cases
from GTRStagingLib.tables.cells import Split

NEEDED = ("case_id", "image")

NOT_COPIED = ("image", "series", "roi", "segment", "key_slice", "stomach", "stomach_segment", "exclude")
"""Columns that say what to read; those beside them are copied to the results."""

SPLITS: tuple[str, ...] = get_args(Split)


def read_cases(path: Path, split: Collection[str] = ()) -> Cases[CaseRow]:
    """Read a case table or cohort table (see `tables.table_files.read_table`); its paths are relative to its folder.

    Rows without an image, with a reason in `exclude`, or in another split than those of `split` (all, if empty) are
    included, with the reason in `skip`.

    Raises
    ------
    InputError
        With every error of the table: its row (the header is row 1) and the expected content.
    """
    cases = case_table.read_cases(path, NEEDED, CaseRow, may_be_empty=("image",), keep_excluded=True)
    if split and "split" not in cases[0].given:
        raise InputError(
            f"{path.name} has no column 'split'; expected one to select the cases of {', '.join(split)}. Split the "
            "cohort first, or leave out `split`."
        )
    return Cases(
        tuple(
            replace(
                case,
                skip=_reason_to_skip(case, split),
                given={name: text for name, text in case.given.items() if name not in NOT_COPIED},
            )
            for case in cases
        ),
        cases.notes,
    )


def _reason_to_skip(case: CaseRow, split: Collection[str]) -> str | None:
    if case.skip is not None:
        return case.skip
    if case.image is None and case.archive is None:
        return "no image in the table"
    if split and case.split not in split:
        return "in no split" if case.split is None else f"in split {case.split}"
    return None


__all__ = ["NEEDED", "SPLITS", "read_cases"]
