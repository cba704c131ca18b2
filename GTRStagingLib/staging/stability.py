"""Measure how far the key slice may move before the stage changes.

From the key slice towards the head (up) and towards the feet (down), slices are asked one after the other. The stage
holds as far as every asked slice on the way has the stage of the case by its own probabilities. If adjacent slices
vote, any key slice within that range gives this stage too: it and a neighbour vote for it, two of at most three votes.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from GTRStagingLib.errors import InputError
from GTRStagingLib.stages import TStage
from GTRStagingLib.staging.voting import Prediction

TOLERANCE_MM = 0.05
"""Distances that differ by less are equal: they are shown with one decimal."""


@dataclass(frozen=True)
class Stability:
    """How far the stage of a case holds along the scan, in mm from the key slice along the slices' normal.

    Attributes
    ----------
    step_mm
        Distance of the asked slices from each other.
    stays_up_mm, stays_down_mm
        Distance of the last slice, up and down, such that each asked slice on the way has the stage of the case; 0 in
        both directions if the key slice itself has another stage.
    asked_up_mm, asked_down_mm
        Distance of the last slice that was asked. If `stays` is equal to it, the stage holds for at least so far.

    Raises
    ------
    InputError
        If a distance is negative or not finite, the step is 0, or the stage holds farther than slices were asked.
    """

    step_mm: float
    stays_up_mm: float
    asked_up_mm: float
    stays_down_mm: float
    asked_down_mm: float

    def __post_init__(self) -> None:
        values = (self.step_mm, self.stays_up_mm, self.asked_up_mm, self.stays_down_mm, self.asked_down_mm)
        if not all(math.isfinite(value) and value >= 0 for value in values) or self.step_mm == 0:
            raise InputError(f"Distances {values} mm; expected finite numbers, 0 or more, and a step above 0.")
        for stays, asked in self.ways:
            if stays > asked + TOLERANCE_MM:
                raise InputError(
                    f"The stage holds for {stays:g} mm, but slices were asked for {asked:g} mm; expected no more."
                )

    @property
    def ways(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Distances (stays, asked) in mm: up, then down."""
        return (self.stays_up_mm, self.asked_up_mm), (self.stays_down_mm, self.asked_down_mm)

    @property
    def at_least(self) -> tuple[bool, bool]:
        """Whether the asked slices ended before the stage changed: up, then down."""
        up, down = (abs(stays - asked) <= TOLERANCE_MM and asked > 0 for stays, asked in self.ways)
        return up, down

    @property
    def least_mm(self) -> float:
        """Smaller one of the distances up and down for which the stage holds."""
        return min(self.stays_up_mm, self.stays_down_mm)

    def within(self, distance_mm: float) -> bool | None:
        """Return whether all slices within a distance, up and down, have the stage of the case; None if not known.

        The answer is known if every slice of the distance was asked in both directions, and there is one at all. This
        does not depend on the answer: a case that changes early is no more likely to count than another.

        Examples
        --------
        Slices 2.5 mm apart, of which one up and two down were asked:

        >>> from GTRStagingLib.staging.stability import Stability
        >>> found = Stability(2.5, stays_up_mm=2.5, asked_up_mm=2.5, stays_down_mm=2.5, asked_down_mm=5.0)
        >>> found.within(2.5), found.within(5.0), found.within(1.0)
        (True, None, None)
        """
        reached = distance_mm + TOLERANCE_MM
        if self.step_mm > reached or any(asked + self.step_mm <= reached for _, asked in self.ways):
            return None
        return all(stays + self.step_mm > reached for stays, _ in self.ways)

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain data, with whether each distance is a lower limit."""
        up, down = self.at_least
        return {
            "step_mm": self.step_mm,
            "up": {"stays_mm": self.stays_up_mm, "asked_mm": self.asked_up_mm, "at_least": up},
            "down": {"stays_mm": self.stays_down_mm, "asked_mm": self.asked_down_mm, "at_least": down},
        }


def stability(stages: Mapping[int, TStage], stage: TStage, slice_mm: float, *, step: int = 1) -> Stability | None:
    """Measure the stability of a stage along the slices that were asked.

    Parameters
    ----------
    stages
        Offset of a slice from the key slice (0), positive towards the head -> its stage by its own probabilities. In
        each direction, what follows a gap is not used.
    stage
        Stage of the case, by the vote.
    slice_mm
        Distance of the acquired slices.
    step
        Acquired slices between the asked ones.

    Returns
    -------
    None if no neighbour of the key slice was asked.

    Raises
    ------
    InputError
        If the key slice was not asked.

    Examples
    --------
    Of slices 2 mm apart, the second one above the key slice has another stage; none below does.

    >>> from GTRStagingLib.stages import TStage
    >>> from GTRStagingLib.staging.stability import stability
    >>> asked = {-1: TStage.T3, 0: TStage.T3, 1: TStage.T3, 2: TStage.T4, 3: TStage.T3}
    >>> stability(asked, TStage.T3, 2.0)
    Stability(step_mm=2.0, stays_up_mm=2.0, asked_up_mm=6.0, stays_down_mm=2.0, asked_down_mm=2.0)
    """
    if 0 not in stages:
        raise InputError(f"Slices at offsets {sorted(stages)} were asked; expected the key slice, 0, among them.")

    def way(sign: int) -> tuple[float, float]:
        asked = stays = 0
        while sign * step * (asked + 1) in stages:
            asked += 1
        if stages[0] == stage:
            while stays < asked and stages[sign * step * (stays + 1)] == stage:
                stays += 1
        return stays * step * slice_mm, asked * step * slice_mm

    (stays_up, asked_up), (stays_down, asked_down) = way(1), way(-1)
    if asked_up == asked_down == 0:
        return None
    return Stability(step * slice_mm, stays_up, asked_up, stays_down, asked_down)


def stability_of(prediction: Prediction, slice_mm: float | None) -> Stability | None:
    """Return the stability that the voting slices show; None without a neighbour or a known distance of the slices.

    Examples
    --------
    >>> import numpy as np
    >>> from GTRStagingLib.staging.stability import stability_of
    >>> from GTRStagingLib.staging.voting import vote
    >>> voted = vote([-1, 0, 1], np.array([[0, 0.6, 0.4, 0], [0, 0.2, 0.8, 0], [0, 0.1, 0.9, 0]]))
    >>> stability_of(voted, 2.5)
    Stability(step_mm=2.5, stays_up_mm=2.5, asked_up_mm=2.5, stays_down_mm=0.0, asked_down_mm=2.5)
    """
    stages = {one.offset: one.stage for one in prediction.slices}
    if slice_mm is None or len(stages) == 1:
        return None
    return stability(stages, prediction.stage, slice_mm, step=min(abs(offset) for offset in stages if offset))


__all__ = ["TOLERANCE_MM", "Stability", "stability", "stability_of"]
