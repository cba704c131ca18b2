"""Describe the CT acquisition of the rows by cohort (scanner table)."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class ScannerLine:
    """Line of the scanner table.

    Attributes
    ----------
    parameter
        As in 'Tube voltage (kVp)'.
    cells
        Texts of the cohorts in their order, then of all rows; of all rows alone without a cohort column.
    """

    parameter: str
    cells: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain data."""
        return asdict(self)


__all__ = ["ScannerLine"]
