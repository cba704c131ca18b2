"""Test whether a measure differs between cohorts."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Heterogeneity:
    """Test of the differences of one measure between cohorts.

    Attributes
    ----------
    measure
        As in 'accuracy', 'macro AUC' or 'sensitivity of T1'.
    statistic
        Cochran's Q; None if the measure or its interval is not defined in two cohorts or more.
    df
        Degrees of freedom: the number of compared cohorts less 1.
    p, p_holm
        P value, and the same corrected for the number of measures (Holm); None with `statistic`.
    i2
        Share of the variation between cohorts beyond chance, 0..1.
    method
        Name of the test, the cohorts that are left out, or why the test is not defined.
    """

    measure: str
    statistic: float | None
    df: int
    p: float | None
    i2: float | None
    method: str
    p_holm: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain data."""
        return asdict(self)


__all__ = ["Heterogeneity"]
