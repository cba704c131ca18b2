"""Names and columns of the tables of a batch."""

from collections.abc import Iterable, Mapping

from GTRStagingLib.stages import TStage

TRUE_STAGE = "true_stage"
"""Column of the results for the case table's `stage`; the results' own `stage` is the predicted one."""

PREDICTIONS = "predictions.csv"
PARQUET = "predictions.parquet"

SECONDS = ("seconds_reading", "seconds_key_slice", "seconds_preparation", "seconds_network", "seconds_attention",
           "seconds_agreement", "seconds_writing", "seconds")  # fmt: skip
"""Columns of timings; only these differ between two runs on the same input."""

AGREEMENT = ("dice", "chance_dice", "blob_dice", "mean_mask_dice", "iou", "area_mm2", "roi_area_mm2", "hd95_mm",
             "centroid_distance_mm", "energy_inside")  # fmt: skip
STABILITY = ("stability_step_mm", "stays_up_mm", "asked_up_mm", "stays_down_mm", "asked_down_mm")
"""Columns of the fields of `staging.stability.Stability`, in their order."""

HEADER = {
    "ct_manufacturer": "Manufacturer",
    "ct_model": "ManufacturerModelName",
    "ct_tube_voltage_kv": "KVP",
    "ct_tube_current_ma": "XRayTubeCurrent",
    "ct_exposure_mas": "Exposure",
    "ct_single_collimation_mm": "SingleCollimationWidth",
    "ct_total_collimation_mm": "TotalCollimationWidth",
    "ct_contrast_mg_ml": "ContrastBolusIngredientConcentration",
    "ct_contrast_ml": "ContrastBolusVolume",
    "ct_contrast_rate_ml_s": "ContrastFlowRate",
    "ct_slice_thickness_mm": "SliceThickness",
    "ct_kernel": "ConvolutionKernel",
}
"""Column of scanner or protocol -> keyword of the DICOM header's element; empty if the header has none."""

PROBABILITIES = tuple(f"p_{stage}" for stage in TStage)
"""Columns of the mean probabilities of T1..T4."""

MATRIX = "ct_matrix"
"""Column with the columns and rows of the CT's slices, as in '512 x 512'."""

DELAY = "ct_scan_delay_s"
"""Column of the seconds from injection to scan, which no header states: it may be in the case table."""

RESULT_COLUMNS = ("case_id", "status", "reason", "stage", "unanimous", "tied", "votes", "mean_probability_stage",
        *PROBABILITIES, "key_slice", "key_slice_by", "key_position_mm", *AGREEMENT,
        "pointing_hit", "familiarity", "familiarity_percentile", "familiarity_reasons", "stage_set", "stage_set_note",
        *STABILITY, "looks", "spread", "warnings", "model", "model_warning", "card_sha256", *HEADER,
        MATRIX)  # fmt: skip
"""Columns of the tables, filled by `records.row_of`; the case table's columns, the scores and the timings follow.
Add a column of numbers to `NUMBER_COLUMNS` too, and raise `ROWS_VERSION`."""

ROWS_VERSION = 6
"""Version of a row's columns and their meaning. A resumed batch keeps the rows of finished cases if this number, the
software's version, the model and the options are unchanged."""

NUMBER_COLUMNS = frozenset({*PROBABILITIES, "key_slice", "key_position_mm", *AGREEMENT,
                            "familiarity_percentile", *STABILITY, "looks", "spread", *SECONDS})  # fmt: skip
"""Columns that are numbers in Parquet; all others are text."""


NO_CALIBRATION = "the model has no calibration"
"""Content of `stage_set_note` for a model without stage sets; otherwise the level of the set, or why it is withheld."""


def seconds_of(step: str) -> str:
    """Return the column name for the seconds of a step."""
    return f"seconds_{step.replace(' ', '_')}"


def given_names(tables: Iterable[Mapping[str, str]], scores: Iterable[str] = ()) -> dict[str, str]:
    """Map the case table's columns to their names in the results, changed where the results use the same name.

    Parameters
    ----------
    tables
        Further columns of each case.
    scores
        Names of the columns of scores.
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
    "DELAY",
    "HEADER",
    "MATRIX",
    "NO_CALIBRATION",
    "NUMBER_COLUMNS",
    "PARQUET",
    "PREDICTIONS",
    "RESULT_COLUMNS",
    "ROWS_VERSION",
    "SECONDS",
    "STABILITY",
    "TRUE_STAGE",
    "given_names",
    "seconds_of",
]
