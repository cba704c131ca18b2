"""Hold the result of a staged case, and what made it. Needs no torch: whoever writes results need not stage."""

import platform
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import SimpleITK as sitk

import GTRStagingLib
from GTRStagingLib.imaging.keyslice import KeySlice
from GTRStagingLib.imaging.scans import Scan
from GTRStagingLib.model.card import ModelCard
from GTRStagingLib.staging.agreement import Agreement
from GTRStagingLib.staging.attention import Attention
from GTRStagingLib.staging.preprocess import PreparedSlices
from GTRStagingLib.staging.voting import Prediction


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
    comparison
        A second map of the same pass, to show beside the first: see `cam.comparison_map`.
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
        (S, 2048) penultimate features (512 for depth 10 and 18, 64 for a gated head).
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
    comparison: Attention | None
    agreement: Agreement | None
    features: np.ndarray
    provenance: Provenance
    slices: PreparedSlices
    roi: sitk.Image | None
    segment: str | None
    heat: sitk.Image
    attention_volume: sitk.Image
    timings_s: Mapping[str, float]
    warnings: tuple[str, ...]


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


__all__ = ["Provenance", "StagingResult", "versions"]
