"""Stage a scan along its slices: each slice as the key slice, in batches of bounded memory."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from numbers import Integral

import numpy as np
import SimpleITK as sitk

from GTRStagingLib.errors import InputError, StagingError
from GTRStagingLib.imaging import geometry, keyslice
from GTRStagingLib.imaging.keyslice import KeyChoice
from GTRStagingLib.imaging.rois import Roi
from GTRStagingLib.imaging.scans import Scan
from GTRStagingLib.model.logits import probabilities
from GTRStagingLib.model.passes import Backbone, Pass, PassRequest
from GTRStagingLib.staging.agreement import share_inside
from GTRStagingLib.staging.cam import compute_attention
from GTRStagingLib.staging.familiarity import compare
from GTRStagingLib.staging.inputs import DEFAULTS, require_backbone, require_case
from GTRStagingLib.staging.options import Method, StagingOptions, resolve_method
from GTRStagingLib.staging.pipeline import (
    first_warnings,
    provenance_of,
    roi_warnings,
    tilt_warning,
)
from GTRStagingLib.staging.preprocess import AT_ONCE, PreparedSlices, neighbour_step, prepare
from GTRStagingLib.staging.profile import Profile, ProfileSlice
from GTRStagingLib.staging.voting import Prediction, vote
from GTRStagingLib.support.counts import counted
from GTRStagingLib.support.given import require_type

Seen = tuple[np.ndarray, np.ndarray]
"""Logits (4,) and penultimate features (features,) of a slice."""


def profile_scan(
    scan: Scan,
    backbone: Backbone,
    options: StagingOptions = DEFAULTS,
    *,
    indices: Sequence[int] | None = None,
    tumour: Roi | None = None,
    key_slice: KeyChoice | None = None,
    case_id: str | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Profile:
    """Stage each of some slices as the key slice, as `stage_case` does.

    Each slice runs through the network once, and once more for its attention if the ROI has pixels in it.

    Parameters
    ----------
    scan
        The CT as read. Only the asked slices and their neighbours are read.
    backbone
        A loaded model (`load_model`); a profile is of one look of one model.
    options
        Options of staging without `tta` and `propose_key_slice`; `threshold` and `neighbour_maps` change nothing here.
    indices
        Slices to ask, ascending and without gaps (`slices_between`, `slices_near`); all if not given.
    tumour
        Region to compare the attention with: the tumour, or the stomach.
    key_slice
        As in `stage_case`; without one, that of the largest area of `tumour`. A profile may have none.
    case_id
        As in `stage_case`.
    progress
        Called with the numbers of slices done and of all; an exception that it raises (`Cancelled`) stops the run.

    Raises
    ------
    InputError, GeometryError, WeightsError
        With the value, the expectation and the remedy; so if no slice can be staged. Single slices that cannot be are
        in the result, with the reason.

    Examples
    --------
    >>> from GTRStagingLib import Roi, TStage, load_model, make_phantom, profile_scan, scan_of
    >>> phantom = make_phantom(TStage.T3, seed=3, size=128)
    >>> model = load_model("demonstration", device="cpu")
    >>> found = profile_scan(scan_of(phantom.ct, "phantom"), model, indices=range(9, 12))
    >>> [one.index for one in found.slices], found.key_slice
    ([9, 10, 11], None)
    """
    require_backbone(backbone)
    for name in ("tta", "propose_key_slice"):
        if getattr(options, name):
            raise InputError(
                f"Option {name} is set; expected options without it, since a profile is of one look at each slice, and "
                "proposes none. Leave it out, or stage a single key slice."
            )
    require_case(scan, options, tumour=tumour, case_id=case_id)
    if not scan.spacing_known:
        raise InputError(
            "The input has no physical pixel size, so that its slices have no positions in mm; expected a CT volume. "
            "Give the CT itself."
        )
    asked = _asked(scan, indices)
    method, step = resolve_method(backbone.card, options.method), neighbour_step(scan.grid, options.neighbour_mm)
    mask = None if tumour is None else tumour.onto(scan.grid, resample=options.resample_roi)
    areas = None if mask is None else keyslice.areas_mm2(scan.grid, mask)
    key = keyslice.find(scan, mask=mask, key_slice=key_slice)
    warnings = [*first_warnings(scan, backbone.card), *roi_warnings(scan, tumour, options)]
    if key is not None and key.index not in asked:
        warnings.append(
            f"The key slice, {key.index}, is not among the asked slices, {asked[0]} to {asked[-1]}: how far the stage "
            "holds around it is not known."
        )
        key = None

    known: dict[int, Seen] = {}
    found: list[ProfileSlice] = []
    last: Pass | None = None
    progress(0, len(asked))
    for start in range(0, len(asked), AT_ONCE):
        windows, refused = _windows(scan, asked[start : start + AT_ONCE], backbone, step)
        for seen in _run(windows, backbone, known):
            last = seen
        votes = {index: _vote(window, index, backbone, known) for index, window in windows.items()}
        inside = _inside(windows, votes, backbone, mask, method, options)
        for index in asked[start : start + AT_ONCE]:
            area = None if areas is None else float(areas[index])
            position = geometry.slice_position_mm(scan.grid, index)
            if index in refused:
                found.append(ProfileSlice(index, position, None, None, area, None, refused[index]))
            else:
                window = windows[index]
                features = np.stack([known[index + offset][1] for offset in window.offsets])
                likeness = compare(scan, window, features, backbone.reference)
                found.append(ProfileSlice(index, position, votes[index], likeness, area, inside.get(index)))
            progress(len(found), len(asked))
    if last is None:
        raise InputError(f"None of the {counted(len(asked), 'slice')} can be staged. The first: {found[0].refused}")
    if last.warning:
        warnings.append(last.warning)
    warnings += _warnings(scan, found, step)
    return Profile(
        case_id=case_id or f"case-{scan.digest[:8]}",
        scan=scan,
        model=backbone.card,
        slices=tuple(found),
        slice_mm=keyslice.slice_distance_mm(scan.grid),
        step=step,
        key_slice=key,
        method=method,
        segment=None if tumour is None else tumour.segment,
        provenance=provenance_of(backbone.card, [last], scan.digest),
        warnings=tuple(warnings),
    )


def _asked(scan: Scan, indices: Sequence[int] | None) -> range:
    """Return the slices to ask; raise `InputError` unless they are slices of the scan without gaps."""
    n = geometry.axial_size(scan.grid)[2]
    remedy = "Give a range, as by slices_near."
    require_type("indices", () if indices is None else indices, (Sequence, np.ndarray), "indices of slices", remedy)
    given = list(range(n) if indices is None else indices)
    for one in given:
        require_type("indices", one, Integral, "whole numbers", remedy)
    if not given or given != list(range(given[0], given[-1] + 1)) or not 0 <= given[0] <= given[-1] < n:
        raise InputError(
            f"Slices {given[:3]}{' …' if len(given) > 3 else ''} to ask; expected ascending indices without gaps, from "
            f"0 (nearest the feet) to {n - 1}."
        )
    return range(given[0], given[-1] + 1)


def _windows(
    scan: Scan, indices: range, backbone: Backbone, step: int
) -> tuple[dict[int, PreparedSlices], dict[int, str]]:
    """Prepare each slice with its neighbours; return these by index, and why the others cannot be."""
    windows, refused = {}, {}
    for index in indices:
        try:
            key = keyslice.by_index(scan.grid, index)
            windows[index] = prepare(scan, key, backbone.card.recipe, intensity=scan.intensity, step=step)
        except StagingError as error:
            refused[index] = str(error)
    return windows, refused


def _run(windows: Mapping[int, PreparedSlices], backbone: Backbone, known: dict[int, Seen]) -> Iterator[Pass]:
    """Run the slices of the windows that are not known yet, and add them; yield the passes."""
    new = {
        index + offset: pixels
        for index, window in windows.items()
        for offset, pixels in zip(window.offsets, window.pixels, strict=True)
        if index + offset not in known
    }
    for part in _batches(list(new)):
        seen = backbone.classify(np.stack([new[index] for index in part]))
        known.update(zip(part, zip(seen.logits, seen.features, strict=True), strict=True))
        yield seen


def _batches(indices: list[int]) -> Iterator[list[int]]:
    for start in range(0, len(indices), AT_ONCE):
        yield indices[start : start + AT_ONCE]


def _vote(window: PreparedSlices, index: int, backbone: Backbone, known: Mapping[int, Seen]) -> Prediction:
    """Return the vote at a key slice."""
    logits = np.stack([known[index + offset][0] for offset in window.offsets])
    return vote(window.offsets, probabilities(logits, backbone.card))


def _inside(
    windows: Mapping[int, PreparedSlices],
    votes: Mapping[int, Prediction],
    backbone: Backbone,
    mask: sitk.Image | None,
    method: Method,
    options: StagingOptions,
) -> dict[int, float | None]:
    """Return the share of the attention in the ROI for the slices with pixels of it; None for an empty map."""
    rois: dict[int, np.ndarray] = {}
    for index, window in windows.items():
        roi = None if mask is None else sitk.GetArrayFromImage(geometry.embedded(mask, window.native))[window.key]
        if roi is not None and roi.any():
            rois[index] = roi.astype(bool)
    if not rois:
        return {}
    targets = {index: votes[index].stage if options.target is None else options.target for index in rois}
    wanted = []
    if method == "fine":
        wanted = [PassRequest(range(row, row + 1), (row,), targets[index]) for row, index in enumerate(rois)]
    seen = backbone.classify(np.stack([windows[index].pixels[windows[index].key] for index in rois]), wanted)
    found: dict[int, float | None] = {}
    for row, (index, roi) in enumerate(rois.items()):
        window, target = windows[index], targets[index]
        at = slice(window.key, window.key + 1)
        attention = compute_attention(
            backbone,
            seen.part(slice(row, row + 1)),
            window.grid[:, :, at],
            target=target,
            method=method,
            alignment=options.alignment,
        )
        heat = sitk.GetArrayFromImage(attention.on(window.native[:, :, at]))[0].astype(np.float64)
        share = share_inside(heat, roi)
        found[index] = None if math.isnan(share) else share
    return found


def _warnings(scan: Scan, found: Sequence[ProfileSlice], step: int) -> Iterator[str]:
    """Yield the warnings about the slices together."""
    n = len(found)
    if refused := sum(one.refused is not None for one in found):
        yield f"{refused} of {counted(n, 'slice')} could not be staged; the table has the reasons."
    verdicts = [one.familiarity.verdict for one in found if one.familiarity is not None]
    if unlike := verdicts.count("unlike"):
        yield (
            f"{unlike} of {counted(n, 'slice')} {'is' if unlike == 1 else 'are'} UNLIKE those that the model learned "
            f"from: {'its' if unlike == 1 else 'their'} stage means nothing."
        )
    if step > 1:
        yield f"The neighbours that vote with a slice are {step} acquired slices from it, as requested."
    if padded := [share for one in found if (share := scan.padding(one.index)) > 0]:
        yield (
            "Padding outside of the reconstruction, by the header, was taken as air in "
            f"{counted(len(padded), 'slice')}: at most {max(padded):.1%} of a slice."
        )
    yield from tilt_warning(scan)


__all__ = ["profile_scan"]
