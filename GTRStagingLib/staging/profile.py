"""Results of staging a scan along its slices, and which slices to ask. Needs no torch."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from GTRStagingLib.errors import InputError
from GTRStagingLib.imaging.geometry import ImageOrGrid, axial_size
from GTRStagingLib.imaging.keyslice import KeySlice, positions_mm, slice_distance_mm
from GTRStagingLib.imaging.scans import Scan
from GTRStagingLib.model.card import ModelCard
from GTRStagingLib.stages import TStage
from GTRStagingLib.staging.familiarity import Familiarity
from GTRStagingLib.staging.options import Method
from GTRStagingLib.staging.result import Provenance
from GTRStagingLib.staging.stability import Stability, stability
from GTRStagingLib.staging.voting import Prediction, SlicePrediction

NEAR_MM = 30.0
"""Default distance to which slices around a key slice are asked."""


@dataclass(frozen=True)
class ProfileSlice:
    """One slice of a profile, staged as the key slice.

    Attributes
    ----------
    index
        Index in the axial LPS image: 0 is the slice nearest the feet.
    position_mm
        Position of the slice's centre along the body axis, positive towards the head.
    prediction
        Vote of the slice and its neighbours; None if the slice was refused.
    familiarity
        Likeness of the case with this key slice to the training: mean features of the voting slices; picture and
        tissue of this slice. None if the slice was refused.
    roi_area_mm2
        Area of the ROI in the slice; None without an ROI.
    attention_inside
        Share of the attention in the ROI, as `Agreement.energy_inside`; None without an ROI, without its pixels in the
        slice, or if the map is empty.
    refused
        Why the slice cannot be staged as a key slice; None if it can.
    """

    index: int
    position_mm: float
    prediction: Prediction | None
    familiarity: Familiarity | None
    roi_area_mm2: float | None = None
    attention_inside: float | None = None
    refused: str | None = None

    @property
    def own(self) -> SlicePrediction | None:
        """Prediction for the slice alone; None if it was refused."""
        return None if self.prediction is None else next(one for one in self.prediction.slices if one.offset == 0)


@dataclass(frozen=True)
class Profile:
    """Result of staging a scan along its slices.

    Attributes
    ----------
    case_id
        Contains no identifiers unless the caller gave one.
    model
        Card of the model.
    slices
        The asked slices, in ascending order, without gaps.
    slice_mm
        Distance of the acquired slices.
    step
        Acquired slices from a key slice to the neighbours that vote with it.
    key_slice
        The key slice of the case; None if it has none, or it was not asked.
    method
        Attention method of `attention_inside`.
    segment
        Name of the ROI; None without one.
    provenance
        Its `input_digest` is the scan's digest.
    warnings
        Sentences for the reader of the result; they contain no identifiers or paths.
    """

    case_id: str
    scan: Scan
    model: ModelCard
    slices: tuple[ProfileSlice, ...]
    slice_mm: float
    step: int
    key_slice: KeySlice | None
    method: Method
    segment: str | None
    provenance: Provenance
    warnings: tuple[str, ...]

    @property
    def key(self) -> ProfileSlice | None:
        """The key slice among the slices; None without one."""
        index = None if self.key_slice is None else self.key_slice.index
        return next((one for one in self.slices if one.index == index), None)

    @property
    def stage(self) -> TStage | None:
        """Stage of the case, by the vote at its key slice; None without one, or if it was refused."""
        return None if self.key is None or self.key.prediction is None else self.key.prediction.stage

    @cached_property
    def stability(self) -> Stability | None:
        """How far the key slice may move before the stage changes; None without a stage, or without other slices.

        A slice that was refused ends what was asked in its direction.
        """
        if self.key is None or self.stage is None:
            return None
        stages = {one.index - self.key.index: one.own.stage for one in self.slices if one.own is not None}
        return stability(stages, self.stage, self.slice_mm)

    @property
    def stable_mm(self) -> tuple[float, float] | None:
        """Positions of the outermost slices that have the stage of the case; None without a stability."""
        if self.key is None or self.stability is None:
            return None
        ups, downs = (round(mm / self.slice_mm) for mm in (self.stability.stays_up_mm, self.stability.stays_down_mm))
        first, key = self.slices[0].index, self.key.index
        return self.slices[key - downs - first].position_mm, self.slices[key + ups - first].position_mm


def slices_between(ct: ImageOrGrid, low_mm: float | None = None, high_mm: float | None = None) -> range:
    """Return the indices of the slices whose centres lie between two positions along the body axis, both included.

    Parameters
    ----------
    low_mm, high_mm
        Towards the feet and towards the head (S in mm); None: to the end of the scan.

    Raises
    ------
    InputError
        If no slice lies there.

    Examples
    --------
    >>> from GTRStagingLib.imaging.geometry import Grid
    >>> from GTRStagingLib.staging.profile import slices_between
    >>> ct = Grid((2, 2, 5), (1.0, 1.0, 5.0), (0.0, 0.0, -100.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
    >>> slices_between(ct, -96.0, -85.0), slices_between(ct, high_mm=-90.0)
    (range(1, 4), range(0, 3))
    """
    positions = positions_mm(ct)
    low, high = (-math.inf if low_mm is None else low_mm), (math.inf if high_mm is None else high_mm)
    inside = np.flatnonzero((positions >= low - 1e-6) & (positions <= high + 1e-6))
    if not len(inside):
        where = f"from {low:g} to {high:g} mm"
        if math.isinf(low) or math.isinf(high):
            where = f"at {high:g} mm or below" if math.isinf(low) else f"at {low:g} mm or above"
        raise InputError(
            f"No slice lies {where}; the slices' centres lie at {positions[0]:.1f} to "
            f"{positions[-1]:.1f} mm (towards the head), {slice_distance_mm(ct):g} mm apart. Give a range that "
            "includes some of them, the lower position first."
        )
    return range(int(inside[0]), int(inside[-1]) + 1)


def slices_near(ct: ImageOrGrid, indices: Sequence[int], distance_mm: float = NEAR_MM) -> range:
    """Return the indices of the slices from the first to the last of `indices`, and up to a distance beyond them.

    Raises
    ------
    InputError
        If the distance is negative or not finite.

    Examples
    --------
    >>> from GTRStagingLib.imaging.geometry import Grid
    >>> from GTRStagingLib.staging.profile import slices_near
    >>> ct = Grid((2, 2, 9), (1.0, 1.0, 5.0), (0.0, 0.0, -100.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
    >>> slices_near(ct, [1], 12.0), slices_near(ct, [3, 4], 0.0)
    (range(0, 4), range(3, 5))
    """
    if not 0 <= distance_mm < math.inf:
        raise InputError(f"`mm` is {distance_mm:g}; expected a distance of 0 or more.")
    more = math.floor(distance_mm / slice_distance_mm(ct) + 1e-6)
    return range(max(0, min(indices) - more), min(axial_size(ct)[2], max(indices) + more + 1))


__all__ = ["NEAR_MM", "Profile", "ProfileSlice", "slices_between", "slices_near"]
