"""Measure the map of one case in the ways that tell whether it can be believed. `checking.rules` judges the numbers.

All of it is of the key slice, of the stage that the case was given, by the method it was staged by, cut at half of its
maximum. Three questions need no ROI: is the map of another stage another map; is the stage less likely without what
the map shows; and does anything remain of the map when the weights are random. Where there is an ROI, a fourth: does
the map lie on it.
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
from GTRStagingLib.model.backbone import Backbone, PassRequest
from GTRStagingLib.model.weights import probabilities
from GTRStagingLib.stages import TStage
from GTRStagingLib.staging.cam import compute_attention
from GTRStagingLib.staging.covering import fill_region, find_controls
from GTRStagingLib.staging.options import Method, StagingOptions
from GTRStagingLib.staging.preprocess import BODY_HU, prepare
from GTRStagingLib.staging.result import StagingResult

THRESHOLD = 0.5
"""Share of the maximum from which a map counts; the default of every command, and fixed before anything is checked."""

OPTIONS = StagingOptions(threshold=THRESHOLD, neighbour_maps=False)
"""How a case is staged for a check."""

MOST_COVERED = 0.02
"""Share of the body's section that is covered at most, the hottest first: about 1,000 mm², some times a tumour's
section. Of a coarse map the whole region would leave no place for controls."""


@dataclass(frozen=True, eq=False)
class SeenSlice:
    """The key slice of a case as the network saw it, and its map, in cells of the map.

    Attributes
    ----------
    pixels
        (3, H, W) float32.
    target
        The stage of the map.
    heat, body, roi
        (h, w): the map; bool, the body's section; float32, the share of each cell that the ROI covers, None without.
    method
        How the map was made.
    """

    pixels: np.ndarray
    target: TStage
    heat: np.ndarray
    body: np.ndarray
    roi: np.ndarray | None
    method: Method = "auto"


@dataclass(frozen=True, eq=False)
class Measured:
    """What was measured of a case.

    Attributes
    ----------
    numbers
        Measure -> value, NaN where it is not defined. `dice`, `chance_dice`, `blob_dice`, `model_mean_mask_dice`,
        `energy_inside`,
        `pointing_hit`, `centroid_mm`, `area_mm2`, `roi_area_mm2` as in `agreement`; `roi_share` of the body, which is
        the energy and the pointing of chance; `blob_energy`, `blob_pointing`, `blob_centroid_mm`; `other_spearman`,
        the mean correlation with the other stages' maps, `second_spearman` and `second_dice` of the second most likely
        stage's alone; `fall`, `control_fall`, `roi_fall` of the stage's
        probability when the map's region, its controls, the ROI are covered. Of an empty map: `empty` is 1, and where
        there is an ROI every Dice is 0.
    digest
        Of the voxels that were staged.
    """

    numbers: Mapping[str, float]
    seen: SeenSlice
    digest: str


def measure(result: StagingResult, backbone: Backbone) -> Measured:
    """Measure a case that was staged by `OPTIONS` (of another method too), by the same backbone."""
    key, slices = result.slices.key, result.slices
    native = slices.native[:, :, key : key + 1]
    body = slices.body[key] if result.scan.intensity == "HU" else np.ones(native.GetSize()[1::-1], bool)
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
        numbers |= dict.fromkeys(("dice", "chance_dice", "blob_dice"), 0.0)  # as of any region of no area
        if backbone.mean_mask is not None:
            numbers["model_mean_mask_dice"] = 0.0
    return Measured(numbers, seen, result.provenance.input_digest)


def in_cells(mask: sitk.Image, place: sitk.Image, cells: tuple[int, ...]) -> np.ndarray:
    """Share of each of (h, w) cells of a map that a mask covers; `place` is the network's input, one slice."""
    step = round(place.GetSize()[1] / cells[0])
    return pooled(coverage(mask, place), step)[0]


def _like(region: np.ndarray, image: sitk.Image) -> sitk.Image:
    made = sitk.GetImageFromArray(region[None].astype(np.uint8))
    made.CopyInformation(image)
    return made


# -- with an ROI ---------------------------------------------------------------------------------------------------


def _location(result: StagingResult, body: np.ndarray, inside: np.ndarray) -> dict[str, float]:
    """The product's own agreement, and what chance and a centred blob have of it."""
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
    """Dice of (h, w) cells, bool, and the shares of them that an ROI covers."""
    return float(2 * roi[region].sum() / (region.sum() + roi.sum()))


def cut(heat: np.ndarray) -> np.ndarray:
    """Cells of a map that is not empty, from `THRESHOLD` of its maximum on."""
    region: np.ndarray = heat >= THRESHOLD * heat.max()
    return region


def disc_in_cells(body: np.ndarray, cells: int) -> np.ndarray:
    """The `cells` cells nearest to the middle of the body's section, bool."""
    away = ((np.argwhere(np.ones_like(body)) - np.argwhere(body).mean(axis=0)) ** 2).sum(axis=1)
    return _first(away, cells).reshape(body.shape)


def highest(values: np.ndarray, cells: int) -> np.ndarray:
    """The `cells` cells of the highest values, those of 0 left out; bool."""
    return _first(-values.ravel(), cells).reshape(values.shape) & (values > 0)


def _first(order: np.ndarray, number: int) -> np.ndarray:
    chosen = np.zeros(len(order), dtype=bool)
    chosen[np.argsort(order, kind="stable")[:number]] = True
    return chosen


def similarity(one: np.ndarray, other: np.ndarray, body: np.ndarray) -> float:
    """Spearman's correlation of two maps over the body's cells; 0 where the other is the same everywhere.

    Air is left out: there every map is 0, and all would be alike. NaN where the first is the same everywhere.
    """
    a, b = (rankdata(heat[body]) for heat in (one, other))
    if not a.size or a.std() == 0:
        return math.nan
    return float(np.corrcoef(a, b)[0, 1]) if b.std() > 0 else 0.0


# -- another stage, covered regions --------------------------------------------------------------------------------


def _other_stages(result: StagingResult, backbone: Backbone, seen: SeenSlice) -> dict[str, float]:
    """How alike the maps of the other stages are, all of them and the second most likely one's."""
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
    """By how much the stage's probability in the key slice falls when regions of it are covered."""
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
    """(n,) probability of the map's stage in each of (H, W) variants of the key slice, prepared as it was."""
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
    """(h, w) map of each slice, of its target, by another model of the same kind; all by one method."""
    pixels, method = np.stack([one.pixels for one in slices]), slices[0].method
    wanted = [PassRequest(range(i, i + 1), (i,), one.target) for i, one in enumerate(slices)]
    seen = backbone.classify(pixels, wanted if method in ("auto", "fine") else [])
    size = (pixels.shape[3], pixels.shape[2], len(pixels))
    grid = empty_grid(size, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
    targets = {one.target for one in slices}
    maps = {target: compute_attention(backbone, seen, grid, target=target, method=method).maps for target in targets}
    return [maps[one.target][i] for i, one in enumerate(slices)]


def compare_maps(backbone: Backbone, slices: Sequence[SeenSlice]) -> list[dict[str, float]]:
    """What of each slice's map another model's map of it has: `spearman`, and where there is an ROI `dice`.

    Beside `dice` stand `chance_dice` and `blob_dice`, of as large a region; an empty map has 0 of all.
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
