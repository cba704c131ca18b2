"""One case, from the CT to the stage, the attention and its agreement: the page that reads as the data flow."""

import platform
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal

import numpy as np
import SimpleITK as sitk

import GTRStagingLib
from GTRStagingLib.errors import InputError
from GTRStagingLib.imaging import geometry, keyslice
from GTRStagingLib.imaging.keyslice import KeySlice
from GTRStagingLib.imaging.rois import Roi
from GTRStagingLib.imaging.scans import Scan
from GTRStagingLib.model.backbone import Backbone, ready
from GTRStagingLib.model.card import ModelCard
from GTRStagingLib.model.network import crop_corner
from GTRStagingLib.model.weights import Model, probabilities
from GTRStagingLib.stages import TStage
from GTRStagingLib.staging.agreement import Agreement, agree
from GTRStagingLib.staging.attention import Alignment, Attention, attend
from GTRStagingLib.staging.preprocess import PreparedSlices, body_mask, neighbour_step, prepare
from GTRStagingLib.staging.voting import Prediction, vote

CropCentre = Literal["image", "body"] | tuple[float, float]
Progress = Callable[[str], None]

TILT_WORTH_A_WORD = 5.0
"""Degrees between the slices' normal and the body axis from which the result says so."""


@dataclass(frozen=True)
class Provenance:
    """What made a result: enough to make it again.

    Attributes
    ----------
    versions
        Package -> version; of ONNX Runtime where the network ran on it.
    weights_sha256
        Of the model's weights.
    recipe
        The preprocessing, as plain data.
    device, backend
        What the network ran on, and by, as in 'cpu' and 'PyTorch 2.14.1, folded'.
    input_digest
        sha256 of the scan's digest and of the voxels that voted (`Scan.digest_with`).
    utc
        ISO 8601 time of the run.
    """

    versions: Mapping[str, str]
    weights_sha256: str
    recipe: Mapping[str, Any]
    device: str
    backend: str
    input_digest: str
    utc: str


@dataclass(frozen=True)
class StagingResult:
    """All that is known of a case after its staging.

    Attributes
    ----------
    case_id
        Free of identifiers unless the caller put one in.
    model
        The card of the model that was used.
    slices
        What the network saw, and the acquired slices it was made from.
    roi
        0/1 on the acquired slices (`slices.native`), or None.
    segment
        The ROI's name.
    heat
        Raw attention on the acquired slices: float32, axial LPS.
    attention_volume
        The same in the axis order of the input: each voxel is a voxel of the CT.
    features
        (S, 2048) penultimate features (512 for depth 10 and 18).
    crop_shift
        (rows, columns) by which the centre crop was moved, in cells of 4 input pixels, as far as the image reaches.
    timings_s
        Step -> seconds.
    warnings
        What a reader of the result must know; free of identifiers and paths.
    """

    case_id: str
    scan: Scan
    model: ModelCard
    key_slice: KeySlice
    prediction: Prediction
    attention: Attention
    agreement: Agreement | None
    features: np.ndarray
    provenance: Provenance
    slices: PreparedSlices
    roi: sitk.Image | None
    segment: str | None
    heat: sitk.Image
    attention_volume: sitk.Image
    crop_centre: CropCentre
    crop_shift: tuple[int, int]
    timings_s: Mapping[str, float]
    warnings: tuple[str, ...]


@dataclass
class _Stopwatch:
    """Seconds of each step; tells the caller when one begins."""

    progress: Progress
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        self.progress(name)
        start = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - start


STEPS = ("key slice", "preparation", "network", "attention", "agreement")
"""The steps that `stage_case` announces, in order."""


def stage_case(
    scan: Scan,
    *,
    model: Model | Backbone,
    tumour: Roi | None = None,
    key_slice: KeySlice | None = None,
    target: TStage | None = None,
    method: str = "gradcam",
    alignment: Alignment = "receptive_field",
    threshold: float = 0.5,
    neighbour_mm: float | None = None,
    crop_centre: CropCentre = "image",
    resample_roi: bool = False,
    device: str = "auto",
    backend: str = "auto",
    case_id: str | None = None,
    timings_s: Mapping[str, float] | None = None,
    progress: Progress = lambda step: None,
) -> StagingResult:
    """Stage one case.

    Parameters
    ----------
    scan
        The CT as read; any axis order and obliquity. Of its voxels only the slices that vote are asked for.
    model
        A model, made ready as `device` and `backend` say and remembered so; or one that is ready already.
    tumour
        An ROI to compare the attention with, on the CT's voxels (or anywhere, with `resample_roi`).
    key_slice
        The slice that shows the tumour best; the one with the ROI's largest area if not given.
    target
        The stage whose attention is wanted; the predicted one if not given.
    method, alignment, threshold
        See `attention.METHODS`, `attention.Attention` and `agreement.agree`.
    neighbour_mm
        Distance of the voting neighbours; the adjacent acquired slices if not given.
    crop_centre
        Where the network's centre crop lies: the image's centre, the body's, or (x, y) LPS mm.
    device, backend
        See `backbone.ready`; without effect on a model that is ready already.
    timings_s
        Seconds of the steps before this one (reading, loading), for the record.
    progress
        Called with the name of each step as it begins; an exception that it raises (`Cancelled`) stops the run.

    Raises
    ------
    InputError, GeometryError, WeightsError
        With the value, the expectation and the remedy.
    """
    watch = _Stopwatch(progress, dict(timings_s or {}))
    warnings = [text for text in (model.card.warning,) if text] + list(scan.warnings)
    recipe = model.card.recipe
    backbone = ready(model, device, backend) if isinstance(model, Model) else model

    with watch.step("key slice"):
        mask = None if tumour is None else geometry.onto_block(tumour.mask, scan.grid, resample=resample_roi)
        key = keyslice.choose(scan.grid, mask=mask, chosen=key_slice, named=scan.key_index)

    with watch.step("preparation"):
        step = neighbour_step(scan.grid, neighbour_mm)
        slices = prepare(scan, key, recipe, intensity=scan.intensity, step=step)
        roi = None if mask is None else geometry.embedded(mask, slices.native)
        crop_shift = _crop_shift(crop_centre, slices, model.card)

    with watch.step("network"):
        seen = backbone.classify(slices.pixels, crop_shift)
        prediction = vote(slices.offsets, probabilities(seen.logits, model.card))

    with watch.step("attention"):
        wanted = prediction.stage if target is None else target
        head, cells = backbone.head, backbone.cells
        attention = attend(
            head, cells, seen.feature_map, slices.grid, target=wanted, method=method, alignment=alignment
        )
        heat = attention.on(slices.native)

    with watch.step("agreement"):
        agreement = None
        if roi is not None:
            body = body_mask(_key_array(slices)) if scan.intensity == "HU" else None
            agreement = agree(
                heat[:, :, slices.key : slices.key + 1],
                roi[:, :, slices.key : slices.key + 1],
                threshold=threshold,
                body=body,
                spacing_known=scan.spacing_known,
            )

    if seen.warning:
        warnings.append(seen.warning)
    if tumour is not None and resample_roi:
        warnings.append(
            "The ROI was brought onto the CT's voxels by nearest-neighbour resampling where it had its own."
        )
    named = set() if tumour is None else {tumour.frame_of_reference, scan.frame_of_reference} - {None}
    if len(named) > 1:
        warnings.append("The ROI names another frame of reference than the CT; it was placed by its coordinates.")
    warnings += _remarks(scan, slices, prediction, attention, model.card, step, target)
    provenance = Provenance(
        versions=versions(seen.backend),
        weights_sha256=model.card.sha256,
        recipe=recipe.to_json(),
        device=seen.device,
        backend=seen.backend,
        input_digest=scan.digest_with(slices.native, slices.offsets),
        utc=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    return StagingResult(
        case_id=case_id or f"case-{scan.digest[:8]}",
        scan=scan,
        model=model.card,
        key_slice=key,
        prediction=prediction,
        attention=attention,
        agreement=agreement,
        features=seen.features,
        provenance=provenance,
        slices=slices,
        roi=roi,
        segment=None if tumour is None else tumour.segment,
        heat=heat,
        attention_volume=geometry.in_order_of(heat, scan.grid),
        crop_centre=crop_centre,
        crop_shift=crop_shift,
        timings_s=watch.seconds,
        warnings=tuple(warnings),
    )


def _key_array(slices: PreparedSlices) -> np.ndarray:
    return sitk.GetArrayFromImage(slices.native)[slices.key]


def _crop_shift(centre: CropCentre, slices: PreparedSlices, card: ModelCard) -> tuple[int, int]:
    """Rows and columns, in cells of 4 input pixels, from the image's centre to the wanted one."""
    if centre == "image":
        return 0, 0
    if card.fusion == "none":
        raise InputError(
            f"Crop centre {centre!r} for model {card.name!r}, whose network has no centre crop (fusion 'none'); "
            "expected 'image'. Leave the option out."
        )
    if centre == "body":
        row, column = np.argwhere(body_mask(_key_array(slices))).mean(axis=0)
        point = slices.native.TransformContinuousIndexToPhysicalPoint((float(column), float(row), float(slices.key)))
    else:
        middle = [(n - 1) / 2 for n in slices.native.GetSize()]
        z = slices.native.TransformContinuousIndexToPhysicalPoint(middle)[2]
        point = (*centre, z)
    x, y, _ = slices.grid.TransformPhysicalPointToContinuousIndex(point)
    width, height, _ = slices.grid.GetSize()
    if not (0 <= x < width and 0 <= y < height):
        raise InputError(
            f"Crop centre {centre} lies outside the slices; expected a point (x, y) in LPS mm inside them."
        )
    wanted = round((y - (height - 1) / 2) / 4), round((x - (width - 1) / 2) / 4)
    # The crop stays inside the image: what is recorded is where it went, not where it was asked to go.
    cells = -(-height // 4), -(-width // 4)
    went, centred = crop_corner(cells, wanted), crop_corner(cells, (0, 0))
    return went[0] - centred[0], went[1] - centred[1]


def _remarks(
    scan: Scan,
    slices: PreparedSlices,
    prediction: Prediction,
    attention: Attention,
    card: ModelCard,
    step: int,
    target: TStage | None,
) -> Iterator[str]:
    """What a reader must know of this run beyond the numbers."""
    if len(slices.offsets) < 3:
        missing = sorted({-step, 0, step} - set(slices.offsets))
        yield (
            f"The vote had {len(slices.offsets)} of 3 slices: the scan has no slice at "
            f"{', '.join(f'{offset:+d}' for offset in missing)} of the key slice."
        )
    if step > 1:
        yield f"The neighbours that voted are {step} acquired slices away from the key slice, as asked."
    if prediction.tied:
        yield "The vote was tied; the highest mean probability decided."
    if prediction.stage != prediction.mean_probability_stage:
        yield (
            f"The vote says {prediction.stage}, the mean probability {prediction.mean_probability_stage}: "
            "the slices disagree."
        )
    if any(attention.empty):
        empty = [f"{o:+d}" for o, is_empty in zip(slices.offsets, attention.empty, strict=True) if is_empty]
        yield f"The attention map is empty for {attention.target} in the slices at {', '.join(empty)}."
    if attention.method == "eigencam" and target is not None:
        yield "EigenCAM does not depend on the stage: the map is the same for every target."
    if attention.alignment == "half_pixel":
        yield "The map is placed by the half-pixel convention, half a cell too far right and down."
    if card.fusion == "concat":
        yield "Fusion 'concat': a cell of the map answers for two places in the image; the overlay shows one of them."
    if not scan.spacing_known:
        yield "The input has no physical pixel size: distances in millimetres are not defined."
    if (tilt := geometry.tilt_degrees(scan.grid)) > TILT_WORTH_A_WORD:
        yield f"The slices are tilted by {tilt:.0f}° from axial; they are used as acquired."


def versions(backend: str = "") -> dict[str, str]:
    """Versions of everything that shapes a result; `backend` as `Pass` has it."""
    packages = ("torch", "torchvision", "SimpleITK", "numpy", "grad-cam", "scikit-image", "pillow")
    found = {name: version(name) for name in packages}
    optional = ["pydicom", "highdicom"]  # they read DICOM
    if backend.startswith("ONNX Runtime"):
        optional.append("onnxruntime")
    for name in optional:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return {"gtrstaging": GTRStagingLib.__version__, "python": platform.python_version(), **found}


__all__ = [
    "STEPS",
    "CropCentre",
    "Progress",
    "Provenance",
    "StagingResult",
    "stage_case",
    "versions",
]
