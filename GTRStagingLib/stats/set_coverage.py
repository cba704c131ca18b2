"""Measure how often stage sets contain the true stage, and how many stages they have."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from GTRStagingLib.stages import TStage
from GTRStagingLib.stats.estimates import FEWEST_OF_AMOUNTS, Clusters, Estimate, Patients, mean, proportion


@dataclass(frozen=True)
class SetCoverage:
    """Coverage and size of stage sets.

    Attributes
    ----------
    rows
        Number of rows with a set.
    withheld
        Number of rows whose set was withheld.
    without
        Number of rows by a model without a calibration, or without a reason.
    levels
        Promised shares of the rows with a set; empty if the table does not state them.
    coverage
        'all' and each true stage -> share of the rows whose set contains the true stage.
    size
        'all' and each true stage -> mean number of stages in the set.
    """

    rows: int
    withheld: int
    without: int
    levels: tuple[float, ...]
    coverage: Mapping[str, Estimate]
    size: Mapping[str, Estimate]

    @property
    def promised(self) -> str:
        """Promised shares as text, as in '90 %'."""
        return ", ".join(f"{100 * level:g} %" for level in self.levels) or "not stated"

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain data."""
        return {
            "rows": self.rows,
            "withheld": self.withheld,
            "without": self.without,
            "levels": list(self.levels),
            "coverage": {name: one.to_json() for name, one in self.coverage.items()},
            "size": {name: one.to_json() for name, one in self.size.items()},
        }


def set_coverage(
    stages: np.ndarray,
    sets: np.ndarray,
    patients: Patients,
    *,
    withheld: int = 0,
    without: int = 0,
    levels: tuple[float, ...] = (),
) -> SetCoverage:
    """Measure stage sets.

    Parameters
    ----------
    stages
        (n,) true stages 0..3.
    sets
        (n, 2) first and last stage of each set.
    patients
        (n,) patient of each row.
    withheld, without, levels
        As in `SetCoverage`.

    Examples
    --------
    Of two patients of T2, the set of one contains T2.

    >>> import numpy as np
    >>> from GTRStagingLib.stats.set_coverage import set_coverage
    >>> found = set_coverage(np.array([1, 1]), np.array([[0, 1], [2, 2]]), np.arange(2))
    >>> found.coverage["T2"].value, found.size["T2"].value, found.coverage["T1"].value
    (0.5, 1.5, None)
    """
    clusters = Clusters.of(patients)
    hits = (sets[:, 0] <= stages) & (stages <= sets[:, 1])
    sizes = sets[:, 1] - sets[:, 0] + 1.0
    rows_of = {"all": np.ones(len(stages), bool), **{str(stage): stages == stage for stage in TStage}}
    groups = {name: (rows, clusters.at(rows)) for name, rows in rows_of.items()}
    return SetCoverage(
        rows=len(stages),
        withheld=withheld,
        without=without,
        levels=levels,
        coverage={name: proportion(hits[rows], own) for name, (rows, own) in groups.items()},
        size={name: mean(sizes[rows], own, (1.0, 4.0), FEWEST_OF_AMOUNTS) for name, (rows, own) in groups.items()},
    )


__all__ = ["SetCoverage", "set_coverage"]
