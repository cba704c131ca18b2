"""Stage one case: from the CT to the stage, the attention and its agreement, in the order of the data flow."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import numpy as np
import SimpleITK as sitk

from GTRStagingLib.imaging import geometry, keyslice
from GTRStagingLib.imaging.keyslice import KeyChoice
from GTRStagingLib.imaging.rois import Roi
from GTRStagingLib.imaging.scans import Scan
from GTRStagingLib.model.card import ModelCard
from GTRStagingLib.model.logits import probabilities
from GTRStagingLib.model.passes import Backbone, Pass, PassRequest
from GTRStagingLib.model.several import joined, members_of
from GTRStagingLib.stages import TStage
from GTRStagingLib.staging.agreement import compute_agreement
from GTRStagingLib.staging.attention import Attention
from GTRStagingLib.staging.cam import comparison_map, compute_attention
from GTRStagingLib.staging.familiarity import Familiarity, compare
from GTRStagingLib.staging.inputs import DEFAULTS, require_backbone, require_case
from GTRStagingLib.staging.looks import AS_PREPARED, SEVERAL_LOOKS, VIEWS, Look, Looks, mean_map, mean_vote, worst
from GTRStagingLib.staging.options import Method, StagingOptions, is_stage_specific, resolve_method
from GTRStagingLib.staging.preprocess import PreparedSlices, neighbour_step, prepare
from GTRStagingLib.staging.proposal import outside_stomach, propose, stomach_slices, to_confirm
from GTRStagingLib.staging.result import Provenance, StagingResult, versions
from GTRStagingLib.staging.stage_set import UNLIKE, StageSet, stage_set
from GTRStagingLib.staging.voting import Prediction, vote
from GTRStagingLib.support.shared_text import without_identifiers

Progress = Callable[[str], None]

TILT_TO_REPORT = 5.0
"""Degrees between the slices' normal and the body axis above which a warning reports the tilt."""


@dataclass
class _Stopwatch:
    """Durations of the steps in seconds; announces each step to the caller."""

    progress: Progress
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        self.progress(name)
        start = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - start


STEPS = ("key slice", "preparation", "network", "attention", "agreement")
"""Steps that `stage_case` announces, in order."""


def stage_case(
    scan: Scan,
    backbone: Backbone | Sequence[Backbone],
    options: StagingOptions = DEFAULTS,
    *,
    tumour: Roi | None = None,
    stomach: Roi | None = None,
    key_slice: KeyChoice | None = None,
    case_id: str | None = None,
    progress: Progress = lambda step: None,
) -> StagingResult:
    """Stage one case.

    Parameters
    ----------
    scan
        The CT as read, of any axis order and obliquity. Only the voting slices are read.
    backbone
        A loaded model (`load_model`), or several, of which the result is the mean (`load_models`, `staging.looks`).
    tumour
        ROI to compare the attention with, on the CT's grid (or any grid, with `StagingOptions.resample_roi`).
    stomach
        Mask of the stomach, on the same grids: a key slice without stomach is warned of, and none is proposed there.
    key_slice
        The slice that shows the tumour best, or its index, 0 nearest the feet, or 'ko'; if not given, the one that
        `keyslice.find` finds; without one, that which the first model proposes, with `propose_key_slice`.
    case_id
        Name of the case in the result; if not given, made from the input's digest.
    progress
        Called with the name of each step as it begins; an exception that it raises (`Cancelled`) stops the run.

    Raises
    ------
    InputError, GeometryError, WeightsError
        With the value, the expectation and the remedy.

    Examples
    --------
    >>> from GTRStagingLib import Roi, TStage, load_model, make_phantom, scan_of, stage_case
    >>> phantom = make_phantom(TStage.T3, seed=3, size=128)
    >>> model = load_model("demonstration", device="cpu")
    >>> result = stage_case(scan_of(phantom.ct, "phantom"), model, tumour=Roi(phantom.tumour, "tumour"))
    >>> result.key_slice.chosen_by, len(result.prediction.slices)
    ('tumour area', 3)
    """
    backbones = _backbones(backbone)
    require_case(scan, options, tumour=tumour, stomach=stomach, case_id=case_id)
    watch = _Stopwatch(progress)
    card = joined([one.card for one in backbones])
    methods = [resolve_method(one.card, options.method) for one in backbones]
    warnings = first_warnings(scan, card)

    with watch.step("key slice"):
        mask = None if tumour is None else tumour.onto(scan.grid, resample=options.resample_roi)
        step = neighbour_step(scan.grid, options.neighbour_mm)
        proposal = None
        if options.propose_key_slice and keyslice.find(scan, mask=mask, key_slice=key_slice) is None:
            proposal = propose(scan, backbones[0], stomach=stomach, resample=options.resample_roi, step=step)
            key_slice = proposal.key_slice
        key = keyslice.choose(scan, mask=mask, key_slice=key_slice)

    with watch.step("preparation"):
        slices = prepare(scan, key, card.recipe, intensity=scan.intensity, step=step)
        roi = None if mask is None else geometry.embedded(mask, slices.native)

    with watch.step("network"):
        views = VIEWS if options.tta else (AS_PREPARED,)
        at = [(model, view) for model in range(len(backbones)) for view in views]
        wanted = [_wanted(slices, method, options) for method in methods]
        passes = [backbones[model].classify(view.of(slices.pixels), wanted[model]) for model, view in at]
        predictions = [
            vote(slices.offsets, probabilities(seen.logits, backbones[model].card))
            for (model, _), seen in zip(at, passes, strict=True)
        ]
        prediction = mean_vote(predictions)
        each_familiarity = [
            compare(scan, slices, seen.features, one.reference)
            for one, seen in zip(backbones, passes[:: len(views)], strict=True)  # of the unchanged looks
        ]
        familiarity = worst(each_familiarity)
        target = prediction.stage if options.target is None else options.target
        for i, (model, view) in enumerate(at):
            targets = passes[i].targets
            if wanted[model] and targets is not None and not (targets == target).any():
                # The vote and the look's mean probability differ: the gradients are for the latter's stage.
                again = [replace(one, target=target) for one in wanted[model]]
                passes[i] = backbones[model].classify(view.of(slices.pixels), again)
        seen = passes[0]

    with watch.step("attention"):
        maps = [
            view.undone(
                compute_attention(
                    backbones[model], each, slices.grid, target=target, method=methods[model],
                    alignment=options.alignment,
                )
            )
            for (model, view), each in zip(at, passes, strict=True)
        ]  # fmt: skip
        looks = None
        if len(maps) == 1:
            attention = maps[0]
            comparison = comparison_map(backbones[0], seen, attention)
        else:
            attention, comparison = mean_map(maps)
            looks = Looks(
                models=members_of(card),
                familiarity=tuple(each_familiarity),
                each=tuple(Look(n, view.name, one) for (n, view), one in zip(at, predictions, strict=True)),
                disagreement=comparison,
                volume=geometry.in_axis_order_of(comparison.on(slices.native), scan.grid),
            )
        heat = attention.on(slices.native)

    with watch.step("agreement"):
        agreement = None
        if roi is not None:
            body = slices.key_body if scan.intensity == "HU" else None
            agreement = compute_agreement(
                heat[:, :, slices.key : slices.key + 1],
                roi[:, :, slices.key : slices.key + 1],
                threshold=options.threshold,
                body=body,
                mean_mask=_mean_mask(backbones[0], slices),
                spacing_known=scan.spacing_known,
            )

    found_set = _stage_set(card, prediction, familiarity, looks)
    if key.chosen_by == "proposed":
        warnings += to_confirm(proposal, key, stage_sets=found_set is not None and not found_set.withheld)
    if stomach is not None:
        with_stomach = stomach_slices(scan, stomach, resample=options.resample_roi)
        warnings += [*outside_stomach(key, with_stomach, scan.grid), *stomach.warnings]
        if options.resample_roi:
            warnings.append(
                "The mask of the stomach was resampled to the CT's grid by nearest neighbour, where the grids differ."
            )
    warnings += dict.fromkeys(one.warning for one in passes if one.warning)
    warnings += roi_warnings(scan, tumour, options)
    if familiarity.verdict in ("unusual", "unlike"):
        warnings.append(_unfamiliar(familiarity))
    if looks is not None and len(given := [f"{n} {stage}" for stage, n in looks.votes.items() if n]) > 1:
        warnings.append(f"The {len(looks.each)} looks disagree: {', '.join(given)}.")
    warnings += _run_warnings(scan, slices, prediction, attention, card, step, options.target)
    warnings += _padding_warnings({key.index + offset: scan.padding(key.index + offset) for offset in slices.offsets})
    provenance = provenance_of(card, passes, scan.digest_with(slices.native, slices.offsets))
    return StagingResult(
        case_id=case_id or f"case-{scan.digest[:8]}",
        scan=scan,
        model=card,
        key_slice=key,
        prediction=prediction,
        stage_set=found_set,
        attention=attention,
        familiarity=familiarity,
        comparison=comparison,
        agreement=agreement,
        features=seen.features,
        looks=looks,
        provenance=provenance,
        slices=slices,
        roi=roi,
        segment=None if tumour is None else tumour.segment,
        segment_number=None if tumour is None else tumour.number,
        heat=heat,
        attention_volume=geometry.in_axis_order_of(heat, scan.grid),
        timings_s=watch.seconds,
        warnings=tuple(warnings),
        proposal=proposal,
    )


def _backbones(given: Backbone | Sequence[Backbone]) -> tuple[Backbone, ...]:
    """Return one or several loaded models as a tuple; raise `InputError` for anything else."""
    backbones = tuple(given) if isinstance(given, list | tuple) else (given,)
    for one in backbones:
        require_backbone(one)
    return backbones


def _stage_set(
    card: ModelCard, prediction: Prediction, familiarity: Familiarity, looks: Looks | None
) -> StageSet | None:
    """Return the stage set of a case, withheld for an unlike case and for several looks; None without a calibration."""
    withheld = UNLIKE if familiarity.verdict == "unlike" else None if looks is None else SEVERAL_LOOKS
    calibrated = [one for one in members_of(card) if one.stage_sets is not None]
    return stage_set(calibrated[0], prediction, withheld) if calibrated else None


def provenance_of(card: ModelCard, passes: Sequence[Pass], input_digest: str) -> Provenance:
    """Return the provenance of a result that was made now, with the model's card and its passes."""
    return Provenance(
        versions=versions(*(one.backend for one in passes)),
        weights_sha256=card.sha256,
        card_sha256=card.card_sha256,
        recipe=card.recipe.to_json(),
        device="; ".join(dict.fromkeys(one.device for one in passes)),
        backend="; ".join(dict.fromkeys(one.backend for one in passes)),
        input_digest=input_digest,
        utc=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _wanted(slices: PreparedSlices, method: Method, options: StagingOptions) -> list[PassRequest]:
    """Return the request for the gradients of a fine map; empty for other methods."""
    if method != "fine":
        return []
    every = range(len(slices.offsets))
    return [PassRequest(every, tuple(every) if options.neighbour_maps else (slices.key,), options.target)]


def _mean_mask(backbone: Backbone, slices: PreparedSlices) -> np.ndarray | None:
    """Return the model's mean mask on the acquired key slice, or None if there is none for slices of this size."""
    mean, cells = backbone.mean_mask, backbone.cells["stem"]
    grid = slices.grid[:, :, slices.key : slices.key + 1]
    if mean is None or mean.shape != tuple(-(-side // round(cells.step)) for side in grid.GetSize()[1::-1]):
        return None
    placed = Attention(mean[None], "mean mask", (), TStage.T1, "receptive_field", grid, cells, cells)
    return sitk.GetArrayFromImage(placed.on(slices.native[:, :, slices.key : slices.key + 1]))[0]


def first_warnings(scan: Scan, card: ModelCard) -> list[str]:
    """Return the warnings about the model, then those about the scan, without identifiers."""
    about_scan = [without_identifiers(text, scan.identifiers) for text in scan.warnings]
    return [*(text for one in members_of(card) if (text := one.warning)), *about_scan]


def roi_warnings(scan: Scan, tumour: Roi | None, options: StagingOptions) -> Iterator[str]:
    """Yield the warnings about the ROI and its place on the scan."""
    if tumour is None:
        return
    yield from tumour.warnings
    if options.resample_roi:
        yield "The ROI was resampled to the CT's grid by nearest neighbour, where the grids differ."
    if len({tumour.frame_of_reference, scan.frame_of_reference} - {None}) > 1:
        yield "The ROI and the CT name different frames of reference; the ROI was placed by its coordinates."


def _unfamiliar(familiarity: Familiarity) -> str:
    """Return the warning about a case that is rare among those of the training, or unlike them."""
    reasons = "; ".join(familiarity.reasons)
    if familiarity.verdict == "unlike":
        return f"This case is UNLIKE those that the model learned from: its stage means nothing. Found: {reasons}."
    return f"This case is unusual among those that the model learned from. Found: {reasons}."


def _padding_warnings(shares: Mapping[int, float]) -> Iterator[str]:
    """Yield a warning about declared padding in the slices that voted; `shares` by their indices."""
    if any(shares.values()):
        listed = ", ".join(f"{share:.1%} of slice {index}" for index, share in shares.items())
        yield f"Padding outside of the reconstruction, by the header, was taken as air: {listed}."


def _run_warnings(
    scan: Scan,
    slices: PreparedSlices,
    prediction: Prediction,
    attention: Attention,
    card: ModelCard,
    step: int,
    target: TStage | None,
) -> Iterator[str]:
    """Yield the warnings about this run."""
    if len(slices.offsets) < 3:
        missing = sorted({-step, 0, step} - set(slices.offsets))
        yield (
            f"{len(slices.offsets)} of 3 slices voted: the scan has no slice at "
            f"{', '.join(f'{offset:+d}' for offset in missing)} of the key slice."
        )
    if step > 1:
        yield f"The neighbouring slices are {step} acquired slices from the key slice, as requested."
    if prediction.tied:
        yield "The vote was tied; the highest mean probability decided."
    if prediction.stage != prediction.mean_probability_stage:
        yield (
            f"The vote gives {prediction.stage}, the highest mean probability {prediction.mean_probability_stage}: "
            "the slices disagree."
        )
    if any(attention.empty):
        empty = [f"{o:+d}" for o, is_empty in zip(slices.offsets, attention.empty, strict=True) if is_empty]
        yield f"The attention map is empty for {attention.target} in the slices at {', '.join(empty)}."
    if attention.method == "eigencam":
        if target is not None:
            yield "EigenCAM does not depend on the stage: the map is the same for every target."
    elif not is_stage_specific(attention.method):
        name = {"gradcam++": "Grad-CAM++", "layercam": "LayerCAM"}.get(attention.method, attention.method)
        yield (
            f"{name} gives nearly the same map for every stage: it shows where the network looks, not the evidence for "
            f"{attention.target}."
        )
    if attention.alignment == "half_pixel":
        yield "The map is placed by the half-pixel convention, half a cell too far right and down."
    if card.stage_sets is not None and card.stage_sets["warning"]:
        yield card.stage_sets["warning"]
    if any(one.fusion == "concat" for one in members_of(card)):
        yield "Fusion 'concat': a cell of the map covers two places in the image; the overlay shows one of them."
    if not scan.spacing_known:
        yield "The input has no physical pixel size: distances in millimetres are not defined."
    yield from tilt_warning(scan)


def tilt_warning(scan: Scan) -> Iterator[str]:
    """Yield a warning if the slices are not axial."""
    if (tilt := geometry.tilt_degrees(scan.grid)) > TILT_TO_REPORT:
        yield f"The slices are tilted by {tilt:.0f}° from axial; they are used as acquired."


__all__ = [
    "DEFAULTS",
    "STEPS",
    "Progress",
    "first_warnings",
    "provenance_of",
    "roi_warnings",
    "stage_case",
    "tilt_warning",
]
