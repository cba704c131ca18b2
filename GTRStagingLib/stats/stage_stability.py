"""Measure in how many cases the stage holds when the key slice moves by a distance."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from GTRStagingLib.stages import TStage
from GTRStagingLib.staging.stability import Stability
from GTRStagingLib.stats.estimates import Clusters, Estimate, Patients, proportion

DISTANCES_MM = (2.5, 5.0, 10.0)
"""Distances that are reported, up and down."""


@dataclass(frozen=True)
class StageStability:
    """Share of the cases whose stage holds within a distance from the key slice, by the distance.

    Attributes
    ----------
    rows
        Number of rows with a stability.
    without
        Number of rows without one: no neighbouring slice, no spacing, or an empty cell.
    known
        Distance in mm -> number of rows whose slices were asked as far as that (`Stability.within`).
    stable
        Distance in mm -> 'all' and each true stage -> share of these rows whose stage holds within the distance.
    """

    rows: int
    without: int
    known: Mapping[float, int]
    stable: Mapping[float, Mapping[str, Estimate]]

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain data."""
        return {
            "rows": self.rows,
            "without": self.without,
            "known": {f"{mm:g} mm": n for mm, n in self.known.items()},
            "stable": {
                f"{mm:g} mm": {name: one.to_json() for name, one in groups.items()}
                for mm, groups in self.stable.items()
            },
        }


def stage_stability(
    stages: np.ndarray,
    found: Sequence[Stability | None],
    patients: Patients,
    distances_mm: Sequence[float] = DISTANCES_MM,
) -> StageStability:
    """Measure the share of cases whose stage holds within each distance.

    Cases whose slices were not asked so far are not counted, whether their stage changed before or not: a share of
    those with a known answer would else count nearly all early changes and few of the cases that hold.

    Parameters
    ----------
    stages
        (n,) true stages 0..3.
    found
        Stability of each row; None if it is not known.
    patients
        (n,) patient of each row.

    Examples
    --------
    Two cases with slices 5 mm apart, of which one holds; a third was asked for 2 mm only.

    >>> import numpy as np
    >>> from GTRStagingLib.staging.stability import Stability
    >>> from GTRStagingLib.stats.stage_stability import stage_stability
    >>> cases = [Stability(5, 5, 5, 5, 5), Stability(5, 5, 5, 0, 5), Stability(2, 0, 2, 0, 2)]
    >>> shares = stage_stability(np.array([2, 2, 2]), cases, np.arange(3))
    >>> shares.known, shares.stable[5.0]["T3"].value, shares.stable[10.0]["T3"].value
    ({2.5: 1, 5.0: 2, 10.0: 0}, 0.5, None)
    """
    clusters = Clusters.of(patients)
    rows_of = {"all": np.ones(len(stages), bool), **{str(stage): stages == stage for stage in TStage}}
    known, stable = {}, {}
    for mm in distances_mm:
        answers = [None if one is None else one.within(mm) for one in found]
        asked = np.array([answer is not None for answer in answers], bool)
        holds = np.array([answer is True for answer in answers], bool)
        known[mm] = int(asked.sum())
        stable[mm] = {
            name: proportion(holds[rows & asked], clusters.at(rows & asked)) for name, rows in rows_of.items()
        }
    given = sum(one is not None for one in found)
    return StageStability(given, len(found) - given, known, stable)


__all__ = ["DISTANCES_MM", "StageStability", "stage_stability"]
