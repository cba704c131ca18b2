"""Stage a phantom that is written as DICOM, and write its result as DICOM objects."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from pydicom import dcmread
from pydicom.dataset import Dataset

from GTRStagingLib.dicom_results.write import write_dicom_results
from GTRStagingLib.imaging.rois import Roi
from GTRStagingLib.imaging.scans import read_scan
from GTRStagingLib.phantoms.phantom import Phantom
from GTRStagingLib.staging.options import StagingOptions
from GTRStagingLib.staging.pipeline import stage_case
from helpers import oriented_cts


def staged(
    model: Any,
    phantom: Phantom,
    folder: Path,
    *,
    slices: list[Dataset] | None = None,
    options: StagingOptions | None = None,
    **how: Any,
) -> SimpleNamespace:
    """Return the folder `ct`, the `result`, the `files` of its objects by kind, and their datasets `of` each kind.

    `slices` are those of the phantom if not given; `how` is passed to `write_dicom_results`.
    """
    ct = oriented_cts.write_slices(folder / "ct", oriented_cts.slices_of(phantom) if slices is None else slices)
    roi = Roi(phantom.tumour, "tumour")
    result = stage_case(read_scan(ct), model, options or StagingOptions(), tumour=roi)
    files = write_dicom_results(result, folder / "dicom", **how)
    return SimpleNamespace(ct=ct, result=result, files=files, of={kind: dcmread(one) for kind, one in files.items()})
