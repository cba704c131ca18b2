"""Describe the CT acquisition of the rows by cohort (scanner table), from columns of scanner and protocol.

The columns are those of a batch, which come from the DICOM headers, or columns named after the DICOM keywords, such as
`KVP`, in the table of other software.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from GTRStagingLib.batch.columns import DELAY, HEADER, MATRIX
from GTRStagingLib.evaluation.predictions import Predictions

ABSENT = "not in the headers"
MOST_VALUES = 4
"""Largest number of different values that a cell lists with their counts; of more numbers it shows the range."""

PARAMETERS: Mapping[str, tuple[str, ...]] = {
    "CT scanner": ("ct_manufacturer", "ct_model"),
    "Tube voltage (kV)": ("ct_tube_voltage_kv",),
    "Tube current (mA)": ("ct_tube_current_ma",),
    "Exposure (mAs)": ("ct_exposure_mas",),
    "Detector row width (mm)": ("ct_single_collimation_mm",),
    "Total collimation (mm)": ("ct_total_collimation_mm",),
    "Contrast agent concentration (mg/ml)": ("ct_contrast_mg_ml",),
    "Contrast agent dose (ml)": ("ct_contrast_ml",),
    "Injection rate (ml/s)": ("ct_contrast_rate_ml_s",),
    "Scan delay (s)": (DELAY,),
    "Image matrix": (MATRIX,),
    "Slice thickness (mm)": ("ct_slice_thickness_mm",),
    "Reconstruction kernel": ("ct_kernel",),
}
"""Parameter -> its columns, whose texts are joined."""


@dataclass(frozen=True)
class ScannerLine:
    """Line of the scanner table.

    Attributes
    ----------
    parameter
        As in 'Tube voltage (kV)'.
    cells
        Texts of the cohorts in their order, then of all rows; of all rows alone without a cohort column.
    """

    parameter: str
    cells: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain data."""
        return asdict(self)


def scanner_table(found: Predictions, cohorts: Sequence[np.ndarray] = ()) -> tuple[ScannerLine, ...]:
    """Describe scanner and protocol of the rows; empty if the table has no such column.

    Different values are listed with their numbers of rows; of more than `MOST_VALUES` numbers, the median and range.

    Parameters
    ----------
    cohorts
        (n,) bool of the rows of each cohort.
    """
    spelt = {name.casefold(): name for name in reversed(found.frame.columns)}
    # A batch's own column, else one that is named after the DICOM keyword.
    columns = {
        name: spelt.get(name) or spelt.get(HEADER.get(name, name).casefold())
        for names in PARAMETERS.values()
        for name in names
    }
    if not any(columns.values()):
        return ()
    groups = [*cohorts, np.ones(len(found), bool)]
    lines = []
    for parameter, names in PARAMETERS.items():
        parts = [found.texts(name) for own in names if (name := columns[own]) is not None]
        texts = [" ".join(filter(None, row)) for row in zip(*parts, strict=True)] if parts else [""] * len(found)
        values = np.array([_without_repeats(text) for text in texts], dtype=object)
        lines.append(ScannerLine(parameter, tuple(_cell(values[rows]) for rows in groups)))
    return tuple(lines)


def _without_repeats(text: str) -> str:
    """Return a value once if a header repeats it, as in '3.0/3.0'."""
    parts = set(text.split("/"))
    return parts.pop() if len(parts) == 1 else text


def _cell(values: np.ndarray) -> str:
    given = [value for value in values.tolist() if value]
    if not given:
        return ABSENT
    missing = len(values) - len(given)
    text = _of_numbers(given) or _listed(given)
    return f"{text}; {ABSENT}: {missing:,}" if missing else text


def _of_numbers(given: Sequence[str]) -> str | None:
    """Return numbers as text; None if one of the texts is no number."""
    try:
        numbers = np.array([float(text) for text in given])
    except ValueError:
        return None
    if len(np.unique(numbers)) <= MOST_VALUES:
        return _listed([f"{number:g}" for number in np.sort(numbers).tolist()])
    return f"{np.median(numbers):g} ({numbers.min():g} to {numbers.max():g})"


def _listed(given: Sequence[str]) -> str:
    counts = Counter(given)
    if len(counts) == 1:
        return given[0]
    most = counts.most_common(MOST_VALUES)
    shown = [f"{value} ({n:,})" for value, n in most]
    if len(counts) > len(most):
        others = counts.total() - sum(n for _, n in most)
        shown.append(f"{len(counts) - len(most)} others ({others:,})")
    return ", ".join(shown)


__all__ = ["ABSENT", "PARAMETERS", "ScannerLine", "scanner_table"]
