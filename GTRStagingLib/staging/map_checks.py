"""Measure one case's attention map for the check of a model. `checking.rules` judges the numbers.

All measures refer to the key slice, the predicted stage and the method of the staging, at half of the map's maximum.
Three need no ROI: whether the maps of other stages differ, whether the stage becomes less likely when the map's region
is filled in, and whether the map differs from a map of random weights. The fourth needs an ROI: whether the map lies on
it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import SimpleITK as sitk
from scipy.stats import rankdata

from GTRStagingLib.imaging.coverage import coverage, pooled
from GTRStagingLib.imaging.geometry import empty_grid
from GTRStagingLib.model.logits import probabilities
from GTRStagingLib.model.passes import Backbone, PassRequest
from GTRStagingLib.stages import TStage
from GTRStagingLib.staging.cam import compute_attention
from GTRStagingLib.staging.covering import fill_region, find_controls
from GTRStagingLib.staging.options import Method, StagingOptions
from GTRStagingLib.staging.preprocess import BODY_HU, prepare
from GTRStagingLib.staging.result import StagingResult

THRESHOLD = 0.5
"""Threshold of the maps as a share of the maximum: the default of every command, fixed before any check."""

OPTIONS = StagingOptions(threshold=THRESHOLD, neighbour_maps=False)
"""Options of staging a case for a check."""

MOST_COVERED = 0.02
"""Largest share of the body's section that is filled in, the highest values first: about 1,000 mm², several times a
tumour's section. The whole region of a coarse map would leave no place for controls."""


@dataclass(frozen=True, eq=False)
class SeenSlice:
    """Key slice of a case as the network's input, and its map, in cells of the map.

    Attributes
    ----------
    pixels
        (3, H, W) float32.
    target
        Stage of the map.
    heat, body, roi
        (h, w): the map; bool, the body's section; float32, the share of each cell that the ROI covers, or None.
    method
        Attention method.
    """

    pixels: np.ndarray
    target: TStage
    heat: np.ndarray
    body: np.ndarray
    roi: np.ndarray | None
    method: Method = "auto"


@dataclass(frozen=True, eq=False)
class Measured:
    """Measures of one case's map.

    Attributes
    ----------
    numbers
        Measure -> value, NaN where undefined. `dice`, `chance_dice`, `blob_dice`, `model_mean_mask_dice`,
        `energy_inside`, `pointing_hit`, `centroid_mm`, `area_mm2`, `roi_area_mm2` as in `agreement`; `roi_share`, the
        ROI's share of the body, which is also the energy and the pointing of chance; `blob_energy`, `blob_pointing`,
        `blob_centroid_mm`; `other_spearman`, the mean correlation with the other stages' maps; `second_spearman` and
        `second_dice`, of the second most likely stage's map alone; `fall`, `control_fall`, `roi_fall`, the fall of the
        stage's probability when the map's region, its controls or the ROI are filled in. For an empty map `empty` is 1,
        and with an ROI every Dice is 0.
    digest
        Of the staged voxels.
    """

    numbers: Mapping[str, float]
    seen: SeenSlice
    digest: str


def measure(result: StagingResult, backbone: Backbone) -> Measured:
    """Measure the map of a case staged with `OPTIONS` (or another method) by the same backbone."""
    key, slices = result.slices.key, result.slices
    native = slices.native[:, :, key : key + 1]
    body = slices.key_body if result.scan.intensity == "HU" else np.ones(native.GetSize()[1::-1], bool)
    roi = None if result.roi is None else result.roi[:, :, key : key + 1]
    inside = None if roi is None else sitk.GetArrayFromImage(roi)[0].astype(bool)
    place = slices.grid[:, :, key : key + 1]
    heat = result.attention.maps[key]
    seen = SeenSlice(
        pixels=slices.pixels[key],
        target=result.attention.target,
        heat=heat,
        body=in_cells(_like(body, native), place, heat.shape) >= 0.5,
        roi=None if roi is None else in_cells(roi, place, heat.shape),
        method=cast("Method", result.attention.method),
    )
    numbers = {"empty": float(not heat.any())}
    if heat.any():
        numbers |= _location(result, body, inside) if inside is not None else {}
        numbers |= _other_stages(result, backbone, seen)
        numbers |= _deletion(result, backbone, body, inside)
    elif inside is not None and inside.any():
        numbers |= dict.fromkeys(("dice", "chance_dice", "blob_dice"), 0.0)  # as for any empty region
        if backbone.mean_mask is not None:
            numbers["model_mean_mask_dice"] = 0.0
    return Measured(numbers, seen, result.provenance.input_digest)


def in_cells(mask: sitk.Image, place: sitk.Image, cells: tuple[int, ...]) -> np.ndarray:
    """Return the share of each cell of an (h, w) map that a mask covers; `place` is a slice of the network's input."""
    step = round(place.GetSize()[1] / cells[0])
    return pooled(coverage(mask, place), step)[0]


def _like(region: np.ndarray, image: sitk.Image) -> sitk.Image:
    made = sitk.GetImageFromArray(region[None].astype(np.uint8))
    made.CopyInformation(image)
    return made


# -- with an ROI ---------------------------------------------------------------------------------------------------


def _location(result: StagingResult, body: np.ndarray, inside: np.ndarray) -> dict[str, float]:
    """Return the agreement of the result, and the same measures of chance and of a centred blob."""
    found = result.agreement
    if found is None or "all" in found.reasons:
        return {}
    cut = found.at_threshold
    spacing = np.array(result.slices.native.GetSpacing()[1::-1])
    middle = np.argwhere(body).mean(axis=0)
    row, column = np.round(middle).astype(int)
    return {
        "dice": cut.dice,
        "chance_dice": cut.chance_dice,
        "blob_dice": cut.blob_dice,
        "model_mean_mask_dice": cut.mean_mask_dice,
        "energy_inside": found.energy_inside,
        "pointing_hit": math.nan if found.pointing_hit is None else float(found.pointing_hit),
        "centroid_mm": cut.centroid_distance_mm,
        "area_mm2": cut.area_mm2,
        "roi_area_mm2": found.roi_area_mm2,
        "roi_share": float((inside & body).sum() / body.sum()),
        # Dice is 2 |disc in ROI| / (|disc| + |ROI|), and the energy of a uniform disc |disc in ROI| / |disc|.
        "blob_energy": cut.blob_dice * (1 + found.roi_area_mm2 / cut.area_mm2) / 2 if cut.area_mm2 else math.nan,
        "blob_pointing": float(inside[row, column]),
        "blob_centroid_mm": float(np.linalg.norm((np.argwhere(inside).mean(axis=0) - middle) * spacing)),
    }


def dice_in_cells(region: np.ndarray, roi: np.ndarray) -> float:
    """Return the Dice of a region of (h, w) cells, bool, with the shares of the cells that an ROI covers."""
    return float(2 * roi[region].sum() / (region.sum() + roi.sum()))


def cut(heat: np.ndarray) -> np.ndarray:
    """Return the cells of a non-empty map at or above `THRESHOLD` of its maximum."""
    region: np.ndarray = heat >= THRESHOLD * heat.max()
    return region


def disc_in_cells(body: np.ndarray, cells: int) -> np.ndarray:
    """Return the `cells` cells nearest to the middle of the body's section, bool."""
    away = ((np.argwhere(np.ones_like(body)) - np.argwhere(body).mean(axis=0)) ** 2).sum(axis=1)
    return _first(away, cells).reshape(body.shape)


def highest(values: np.ndarray, cells: int) -> np.ndarray:
    """Return the `cells` cells of the highest values, without cells of 0; bool."""
    return _first(-values.ravel(), cells).reshape(values.shape) & (values > 0)


def _first(order: np.ndarray, number: int) -> np.ndarray:
    chosen = np.zeros(len(order), dtype=bool)
    chosen[np.argsort(order, kind="stable")[:number]] = True
    return chosen


def similarity(one: np.ndarray, other: np.ndarray, body: np.ndarray) -> float:
    """Return Spearman's correlation of two maps over the body's cells.

    Air is left out: every map is 0 there, which would make all maps similar. NaN if the first map is constant, 0 if
    only the other is.
    """
    a, b = (rankdata(heat[body]) for heat in (one, other))
    if not a.size or a.std() == 0:
        return math.nan
    return float(np.corrcoef(a, b)[0, 1]) if b.std() > 0 else 0.0


# -- another stage, covered regions --------------------------------------------------------------------------------


def _other_stages(result: StagingResult, backbone: Backbone, seen: SeenSlice) -> dict[str, float]:
    """Return the similarity of the map to those of the other stages: to all, and to the second most likely stage's."""
    others = [stage for stage in TStage if stage != seen.target]
    maps = maps_of(backbone, [replace(seen, target=stage) for stage in others])
    alike = [similarity(seen.heat, one, seen.body) for one in maps]
    second = int(np.argmax([result.prediction.probabilities[int(stage)] for stage in others]))
    found = {"other_spearman": float(np.mean(alike)), "second_spearman": alike[second]}
    if seen.roi is not None and seen.roi.any():
        found["second_dice"] = dice_in_cells(cut(maps[second]), seen.roi) if maps[second].any() else 0.0
    return found


def _deletion(
    result: StagingResult, backbone: Backbone, body: np.ndarray, inside: np.ndarray | None
) -> dict[str, float]:
    """Return the fall of the stage's probability in the key slice when regions of it are filled in."""
    key, slices = result.slices.key, result.slices
    native = slices.native[:, :, key : key + 1]
    spacing = native.GetSpacing()[1], native.GetSpacing()[0]
    low, high = result.model.recipe.window_hu if result.scan.intensity == "HU" else (0.0, 255.0)
    values = sitk.GetArrayFromImage(native)[0].astype(np.float32)
    grey = np.clip(values, low, high)
    tissue = body & (values > BODY_HU) if result.scan.intensity == "HU" else body
    heat = sitk.GetArrayFromImage(result.heat)[key]
    region = cut(heat) & body
    region &= highest(np.where(region, heat, 0), round(MOST_COVERED * body.sum()))
    avoid = np.zeros_like(body) if inside is None else inside
    controls = find_controls(region, grey, body, avoid, high - low)
    regions = [np.zeros_like(body), region, *controls]
    if inside is not None and inside.any():
        regions.append(inside)
    covers = [np.where(one, fill_region(grey, one, tissue, spacing), values) for one in regions]
    p = _probabilities(result, backbone, covers)
    falls = p[0] - p
    return {
        "fall": float(falls[1]) if region.any() else math.nan,
        "control_fall": float(falls[2 : 2 + len(controls)].mean()) if controls else math.nan,
        "roi_fall": float(falls[-1]) if len(regions) > 2 + len(controls) else math.nan,
        "controls": float(len(controls)),
    }


def _probabilities(result: StagingResult, backbone: Backbone, slices: Sequence[np.ndarray]) -> np.ndarray:
    """Return the probability (n,) of the map's stage in n variants (H, W) of the key slice, prepared like it."""
    native = result.slices.native[:, :, result.slices.key : result.slices.key + 1]
    key = replace(result.key_slice, index=0)
    pixels = []
    for one in slices:
        image = sitk.GetImageFromArray(one[None])
        image.CopyInformation(native)
        pixels.append(prepare(image, key, result.model.recipe, intensity=result.scan.intensity).pixels[0])
    logits = backbone.classify(np.stack(pixels)).logits
    found: np.ndarray = probabilities(logits, result.model)[:, int(result.attention.target)]
    return found


# -- other weights -------------------------------------------------------------------------------------------------


def maps_of(backbone: Backbone, slices: Sequence[SeenSlice]) -> list[np.ndarray]:
    """Compute the map (h, w) of each slice for its target, with another model of the same kind and one method."""
    pixels, method = np.stack([one.pixels for one in slices]), slices[0].method
    wanted = [PassRequest(range(i, i + 1), (i,), one.target) for i, one in enumerate(slices)]
    seen = backbone.classify(pixels, wanted if method in ("auto", "fine") else [])
    size = (pixels.shape[3], pixels.shape[2], len(pixels))
    grid = empty_grid(size, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
    targets = {one.target for one in slices}
    maps = {target: compute_attention(backbone, seen, grid, target=target, method=method).maps for target in targets}
    return [maps[one.target][i] for i, one in enumerate(slices)]


def compare_maps(backbone: Backbone, slices: Sequence[SeenSlice]) -> list[dict[str, float]]:
    """Compare each slice's map with another model's map of the same slice: `spearman`, and with an ROI `dice`.

    `chance_dice` and `blob_dice` of a region of the same area accompany `dice`; all are 0 for an empty map.
    """
    found = []
    for one, other in zip(slices, maps_of(backbone, slices), strict=True):
        numbers = {"spearman": similarity(one.heat, other, one.body)}
        if one.roi is not None and one.roi.any():
            numbers |= {"dice": 0.0, "chance_dice": 0.0, "blob_dice": 0.0}
            if other.any():
                region = cut(other)
                both = region.sum() * one.roi[one.body].sum() / one.body.sum()
                numbers["dice"] = dice_in_cells(region, one.roi)
                numbers["chance_dice"] = float(2 * both / (region.sum() + one.roi.sum()))
                numbers["blob_dice"] = dice_in_cells(disc_in_cells(one.body, int(region.sum())), one.roi)
        found.append(numbers)
    return found


__all__ = ["OPTIONS", "THRESHOLD", "Measured", "SeenSlice", "compare_maps", "measure"]
