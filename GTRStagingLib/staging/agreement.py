"""Compare an attention map with the ROI on one grid, and with three baselines.

The baselines are regions of the map's area: random pixels of the body's section (chance), a disc in its middle (centred
blob), and the most frequent place of the ROIs of the model's cases (mean mask). The mean mask uses location alone and
is the strongest baseline.

All measures refer to one slice, the key slice. An undefined measure is NaN, and `reasons` gives the cause.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import SimpleITK as sitk
from scipy.ndimage import binary_erosion
from scipy.spatial import cKDTree
from skimage.filters import threshold_otsu

from GTRStagingLib.imaging.geometry import require_same_grid
from GTRStagingLib.staging.options import SWEEP, require_threshold


@dataclass(frozen=True)
class Overlap:
    """Overlap of the attention map at one threshold with the ROI.

    Attributes
    ----------
    threshold
        Share of the key slice's maximum.
    dice, iou
        ``2|A∩B|/(|A|+|B|)`` and ``|A∩B|/|A∪B|``.
    chance_dice
        Expected Dice of a map of the same area with random pixels in the body's section.
    blob_dice
        Dice of a disc of the same area in the middle of the body's section.
    mean_mask_dice
        Dice of a region of the same area where the model's mean mask is highest.
    area_mm2
        Area of the attention map above the threshold.
    centroid_distance_mm
        Between the centroids of the two regions.
    hd95_mm
        The larger of the two directed 95th percentiles of the distances between the regions' outlines.
    """

    threshold: float
    dice: float
    iou: float
    chance_dice: float
    blob_dice: float
    mean_mask_dice: float
    area_mm2: float
    centroid_distance_mm: float
    hd95_mm: float


@dataclass(frozen=True)
class Agreement:
    """Agreement of the key slice's attention with its ROI.

    Attributes
    ----------
    at_threshold, at_otsu
        At the chosen share of the maximum, and at Otsu's threshold of the map.
    sweep
        One for each threshold of `SWEEP`.
    pointing_hit
        Whether the position of the maximum lies in the ROI; None if undefined.
    energy_inside
        Share of the map's sum that lies in the ROI (the energy-based pointing game of Wang 2020).
    roi_area_mm2
        Area of the ROI in the key slice.
    reasons
        Measure -> cause of its being undefined.
    """

    at_threshold: Overlap
    at_otsu: Overlap
    sweep: tuple[Overlap, ...]
    pointing_hit: bool | None
    energy_inside: float
    roi_area_mm2: float
    reasons: Mapping[str, str]

    @property
    def dice(self) -> float:
        """Dice at the chosen threshold."""
        return self.at_threshold.dice

    @property
    def threshold(self) -> float:
        """The chosen threshold, as a share of the key slice's maximum."""
        return self.at_threshold.threshold


def compute_agreement(
    heat: sitk.Image,
    roi: sitk.Image,
    *,
    threshold: float = 0.5,
    body: np.ndarray | None = None,
    mean_mask: np.ndarray | None = None,
    spacing_known: bool = True,
) -> Agreement:
    """Compare one slice's attention map with its ROI.

    Parameters
    ----------
    heat
        (1 slice) raw attention, >= 0.
    roi
        0/1 on the same grid.
    threshold
        Share of the map's maximum, in (0, 1].
    body
        (H, W) bool: region of the random maps; the whole slice if not given.
    mean_mask
        (H, W) mean of the ROIs of the model's cases on the same grid, 0..1; None if unknown.
    spacing_known
        False if the pixels have no size in millimetres: distances and areas are then NaN.

    Raises
    ------
    GeometryError
        If the map and the ROI are not on one grid.
    InputError
        If the threshold is out of range.

    Examples
    --------
    At half of its maximum, the map's region is the two right columns; the ROI is the two middle columns. Each has 8 of
    16 pixels, and they share 4: a Dice of 2 * 4 / 16. Eight random pixels share 4 on average, too.

    >>> import numpy as np
    >>> from GTRStagingLib.imaging.geometry import Grid
    >>> from GTRStagingLib.staging.agreement import compute_agreement
    >>> place = Grid((4, 4, 1), (2.0, 2.0, 5.0), (0.0, 0.0, 0.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
    >>> heat = place.image(np.tile([0.0, 0.4, 0.9, 1.0], (1, 4, 1)))
    >>> roi = place.image(np.tile(np.array([0, 1, 1, 0], np.uint8), (1, 4, 1)))
    >>> found = compute_agreement(heat, roi)
    >>> found.dice, found.at_threshold.chance_dice
    (0.5, 0.5)
    >>> found.at_threshold.area_mm2, found.at_threshold.centroid_distance_mm
    (32.0, 2.0)
    >>> found.pointing_hit
    False
    """
    require_same_grid(heat, roi, "Attention map and ROI")
    require_threshold(threshold)
    values = sitk.GetArrayFromImage(heat)[0].astype(np.float64)
    inside = sitk.GetArrayFromImage(roi)[0].astype(bool)
    spacing = (heat.GetSpacing()[1], heat.GetSpacing()[0])
    peak = float(values.max())
    # Computed once for the regions of all thresholds.
    reference = _Reference.of(inside, np.ones_like(inside) if body is None else body, mean_mask, spacing)

    nan = math.nan
    reasons: dict[str, str] = {}
    if not inside.any():
        reasons["all"] = "the ROI has no pixel in the key slice"
    elif peak == 0:
        reasons["all"] = "the attention map is empty: the slice contains no evidence for the target stage"
    if not spacing_known:
        reasons["millimetres"] = "the input has no physical pixel size"
    if mean_mask is None:
        reasons["mean mask"] = "the model has no mean mask for slices of this size"

    def cut(share: float) -> Overlap:
        if "all" in reasons:
            area = float(np.count_nonzero(values >= share * peak) * np.prod(spacing)) if peak > 0 else 0.0
            overlap = Overlap(share, nan, nan, nan, nan, nan, area, nan, nan)
        else:
            overlap = _overlap(values >= share * peak, inside, reference, share, spacing)
        return overlap if spacing_known else _without_millimetres(overlap)

    # Otsu's threshold of a constant map is that constant; an empty map has none, and `reasons` says so above.
    otsu = float(threshold_otsu(values)) / peak if peak > 0 else nan
    defined = "all" not in reasons
    return Agreement(
        at_threshold=cut(threshold),
        at_otsu=cut(otsu),
        sweep=tuple(cut(share) for share in SWEEP),
        pointing_hit=_pointing_hit(values, inside) if defined else None,
        energy_inside=share_inside(values, inside) if defined else nan,
        roi_area_mm2=float(inside.sum() * np.prod(spacing)) if spacing_known else nan,
        reasons=reasons,
    )


def share_inside(values: np.ndarray, inside: np.ndarray) -> float:
    """Return the share of a map's sum, (H, W) >= 0, in a region, (H, W) bool; NaN if map or region is empty."""
    total = values.sum()
    return float(values[inside].sum() / total) if total > 0 and inside.any() else math.nan


@dataclass(frozen=True)
class _Reference:
    """Data of the ROI and the baselines that regions of any area are compared with.

    Attributes
    ----------
    outline
        Outline of the ROI.
    body
        Region of the random maps.
    distances
        Distance of each pixel of the ROI from the middle of the body, mm.
    hits
        Number of ROI pixels among the first 0, 1, 2, … pixels of the mean mask, in descending order of its values and
        without its zeros. None without a mean mask.
    """

    outline: cKDTree
    body: np.ndarray
    distances: np.ndarray
    hits: np.ndarray | None

    @classmethod
    def of(
        cls, inside: np.ndarray, body: np.ndarray, mean_mask: np.ndarray | None, spacing: tuple[float, float]
    ) -> "_Reference":
        distances = np.linalg.norm((np.argwhere(inside) - _centroid(body)) * spacing, axis=1)
        hits = None
        if mean_mask is not None:
            known = mean_mask > 0
            order = np.argsort(-mean_mask[known], kind="stable")
            hits = np.concatenate([[0], np.cumsum(inside[known][order])])
        return cls(_outline(inside, spacing), body, distances, hits)


def _overlap(
    hot: np.ndarray, inside: np.ndarray, reference: _Reference, share: float, spacing: tuple[float, float]
) -> Overlap:
    both, a, b = (int(np.count_nonzero(region)) for region in (hot & inside, hot, inside))
    area_mm2 = float(a * np.prod(spacing))
    in_disc = int(np.count_nonzero(reference.distances <= np.sqrt(area_mm2 / np.pi)))
    hits = reference.hits
    return Overlap(
        threshold=share,
        dice=2 * both / (a + b),
        iou=both / (a + b - both),
        chance_dice=chance_dice(hot, inside, reference.body),
        blob_dice=2 * in_disc / (a + b),
        mean_mask_dice=math.nan if hits is None else float(2 * hits[min(a, len(hits) - 1)] / (a + b)),
        area_mm2=area_mm2,
        centroid_distance_mm=float(np.linalg.norm((_centroid(hot) - _centroid(inside)) * spacing)),
        hd95_mm=_hd95_mm(_outline(hot, spacing), reference.outline),
    )


def chance_dice(hot: np.ndarray, inside: np.ndarray, body: np.ndarray) -> float:
    """Return the expected Dice with the ROI of random pixels of `body`, as many as `hot` has; all (H, W) bool.

    Each pixel of the body is hit with probability area/body; an area larger than the body fills it.
    """
    area, roi, whole, roi_in_body = (int(np.count_nonzero(x)) for x in (hot, inside, body, inside & body))
    return 2 * roi_in_body * min(area / whole, 1.0) / (area + roi)


def _without_millimetres(overlap: Overlap) -> Overlap:
    nan = math.nan
    return replace(overlap, area_mm2=nan, centroid_distance_mm=nan, hd95_mm=nan)


def _centroid(region: np.ndarray) -> np.ndarray:
    pixels = [np.count_nonzero(region, axis=axis) for axis in (1, 0)]  # of each row, of each column
    return np.array([np.average(np.arange(len(counts)), weights=counts) for counts in pixels])


def _pointing_hit(values: np.ndarray, inside: np.ndarray) -> bool:
    """Return whether the maximum lies in the ROI; if several pixels have the maximum, whether their centroid does."""
    row, column = np.round(_centroid(values == values.max())).astype(int)
    return bool(inside[row, column])


def _hd95_mm(a: cKDTree, b: cKDTree) -> float:
    """Return the larger of the two 95th percentiles of the distances from one outline to the other."""
    return max(float(np.percentile(one.query(other.data)[0], 95)) for one, other in ((a, b), (b, a)))


def _outline(region: np.ndarray, spacing: tuple[float, float]) -> cKDTree:
    """Return the pixels of a region with a neighbour outside it, in mm; beyond the slice's edge is outside."""
    return cKDTree(np.argwhere(region & ~binary_erosion(region)) * spacing)
