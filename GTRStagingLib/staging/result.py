"""Result of a staged case and its provenance. Needs no torch, so that results can be written without it."""

import platform
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import numpy as np
import SimpleITK as sitk

import GTRStagingLib
from GTRStagingLib.imaging.keyslice import KeySlice, slice_distance_mm
from GTRStagingLib.imaging.scans import Scan
from GTRStagingLib.model.card import ModelCard
from GTRStagingLib.staging.agreement import Agreement
from GTRStagingLib.staging.attention import Attention
from GTRStagingLib.staging.familiarity import Familiarity
from GTRStagingLib.staging.looks import UNCHECKED, Looks
from GTRStagingLib.staging.preprocess import PreparedSlices
from GTRStagingLib.staging.stability import Stability, stability_of
from GTRStagingLib.staging.stage_set import StageSet
from GTRStagingLib.staging.voting import Prediction

if TYPE_CHECKING:
    from GTRStagingLib.staging.proposal import Proposal


@dataclass(frozen=True)
class Provenance:
    """Provenance of a result: the data needed to reproduce it.

    Attributes
    ----------
    versions
        Package -> version; includes ONNX Runtime if the network ran on it.
    weights_sha256
        Of the model's weights; for several models, of the list of their hashes.
    card_sha256
        Of the model's card, which also has the temperature and the calibration of the stage sets; for several models,
        of their common card, which contains theirs.
    recipe
        The preprocessing, as plain data.
    device, backend
        Device and backend of the network, as in 'cpu' and 'PyTorch 2.14.1, folded'.
    input_digest
        sha256 of the scan's digest and of the voxels of the voting slices (`Scan.digest_with`).
    utc
        ISO 8601 time of the run.
    """

    versions: Mapping[str, str]
    weights_sha256: str
    card_sha256: str
    recipe: Mapping[str, Any]
    device: str
    backend: str
    input_digest: str
    utc: str


@dataclass(frozen=True)
class StagingResult:
    """Result of staging one case.

    Attributes
    ----------
    case_id
        Contains no identifiers unless the caller gave one.
    model
        Card of the model, or of several together (`model.several`).
    stage_set
        Neighbouring stages that contain the true one with the promised frequency; None if the model has no calibration.
    familiarity
        Whether the case is like those that the model learned from.
    comparison
        A second map to show beside the first: of the same pass, see `cam.comparison_map`; for several looks, their
        disagreement.
    proposal
        How the model proposed the key slice; None if it did not.
    slices
        Input of the network, and the acquired slices that it was made from.
    roi
        0/1 on the acquired slices (`slices.native`), or None.
    segment
        Name of the ROI.
    segment_number
        Number of the ROI's segment, for a picture that cannot show the name; None if there is none.
    heat
        Raw attention on the acquired slices: float32, axial LPS.
    attention_volume
        Raw attention in the axis order of the input: each voxel is a voxel of the CT.
    features
        (S, 2048) penultimate features (512 for depth 10 and 18, 64 for a gated head); for several looks, of the first.
    looks
        The looks that the result is the mean of; None for one look of one model.
    timings_s
        Step -> seconds.
    warnings
        Sentences for the reader of the result; they contain no identifiers or paths.
    """

    case_id: str
    scan: Scan
    model: ModelCard
    key_slice: KeySlice
    prediction: Prediction
    stage_set: StageSet | None
    attention: Attention
    familiarity: Familiarity
    comparison: Attention | None
    agreement: Agreement | None
    features: np.ndarray
    looks: Looks | None
    provenance: Provenance
    slices: PreparedSlices
    roi: sitk.Image | None
    segment: str | None
    segment_number: int | None
    heat: sitk.Image
    attention_volume: sitk.Image
    timings_s: Mapping[str, float]
    warnings: tuple[str, ...]
    proposal: "Proposal | None" = None

    @property
    def stability(self) -> Stability | None:
        """How far the key slice may move before the stage changes, as far as the voting slices show; None if unknown.

        It is not known without a neighbouring slice, or without a spacing in millimetres.
        """
        return stability_of(self.prediction, slice_distance_mm(self.scan.grid) if self.scan.spacing_known else None)

    @property
    def map_check(self) -> str:
        """Sentence about the check of the model's maps, to show beside the result's map."""
        if self.looks is not None:
            return UNCHECKED.format(len(self.looks.each))
        return self.model.map_check(self.attention.method)

    @property
    def map_verdict(self) -> str:
        """Verdict of that check, one of `card.VERDICTS`."""
        return "not checked" if self.looks is not None else self.model.map_verdict(self.attention.method)


def versions(*backends: str) -> dict[str, str]:
    """Return the versions of all packages that influence a result; `backends` as in `Pass`."""
    packages = ("SimpleITK", "numpy", "scikit-image", "pillow")
    found = {name: version(name) for name in packages}
    optional = ["torch", "torchvision", "pydicom", "nibabel", "pynrrd"]  # the last three read headers
    if any(backend.startswith("ONNX Runtime") for backend in backends):
        optional.append("onnxruntime")
    for name in optional:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return {"gtrstaging": GTRStagingLib.__version__, "python": platform.python_version(), **found}


__all__ = ["Provenance", "StagingResult", "versions"]
