"""What the tables of a batch are called, and their columns."""

from collections.abc import Iterable, Mapping

from GTRStagingLib.stages import TStage

TRUE_STAGE = "true_stage"
"""A case table's `stage`, in the results: `stage` is there what was predicted."""

PREDICTIONS = "predictions.csv"
PARQUET = "predictions.parquet"

SECONDS = ("seconds_reading", "seconds_key_slice", "seconds_preparation", "seconds_network", "seconds_attention",
           "seconds_agreement", "seconds_writing", "seconds")  # fmt: skip
"""The columns of timings: the only ones that differ between two runs of the same."""

AGREEMENT = ("dice", "chance_dice", "blob_dice", "mean_mask_dice", "iou", "area_mm2", "roi_area_mm2", "hd95_mm",
             "centroid_distance_mm", "energy_inside")  # fmt: skip
RESULT_COLUMNS = ("case_id", "status", "reason", "stage", "unanimous", "tied", "votes", "mean_probability_stage",
        *(f"p_{stage}" for stage in TStage), "key_slice", "key_slice_by", "key_position_mm", *AGREEMENT,
        "pointing_hit", "warnings")  # fmt: skip
"""Columns of the tables, filled by `records.row_of`; the table's own follow, the scores, and the timings at the end.
A number is named in `NUMBER_COLUMNS` as well. Whoever adds one raises `ROWS_VERSION`."""

ROWS_VERSION = 2
"""Raised when a row gets a column, or a value another meaning: the rows of finished cases are kept by `--resume` as
long as this, the software's version, the model and the options are the same."""

NUMBER_COLUMNS = frozenset({*(f"p_{stage}" for stage in TStage), "key_slice", "key_position_mm", *AGREEMENT, *SECONDS})
"""Numbers in Parquet; everything else is text there."""


def seconds_of(step: str) -> str:
    """The column of a step's seconds."""
    return f"seconds_{step.replace(' ', '_')}"


def given_names(tables: Iterable[Mapping[str, str]], scores: Iterable[str] = ()) -> dict[str, str]:
    """The case table's own columns -> what they are called in the results, none like one of ours.

    Parameters
    ----------
    tables
        The own columns of each case.
    scores
        Further columns of ours.
    """
    own = dict.fromkeys(name for given in tables for name in given)
    taken = {*RESULT_COLUMNS, *SECONDS, *scores} | ({TRUE_STAGE} if "stage" in own else set())
    called = {}
    for name in own:
        called[name] = TRUE_STAGE if name == "stage" else name
        while name != "stage" and called[name] in taken:
            called[name] = f"given_{called[name]}"
        taken.add(called[name])
    return called


__all__ = [
    "AGREEMENT",
    "NUMBER_COLUMNS",
    "PARQUET",
    "PREDICTIONS",
    "RESULT_COLUMNS",
    "ROWS_VERSION",
    "SECONDS",
    "TRUE_STAGE",
    "given_names",
    "seconds_of",
]
