"""Collect what DICOM objects about a result refer to: the images of the voting slices."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import SimpleITK as sitk

from GTRStagingLib.errors import InputError
from GTRStagingLib.imaging.dicom_source import DicomSource
from GTRStagingLib.imaging.geometry import axial_order, axial_window, in_axis_order_of
from GTRStagingLib.imaging.scans import Scan
from GTRStagingLib.staging.result import StagingResult

REQUIRED = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID", "FrameOfReferenceUID")
"""Keywords without which an image cannot be referred to."""

CLASSES = ("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2")
"""SOP classes of CT images: single-frame, enhanced, and converted to enhanced."""


@dataclass(frozen=True)
class Evidence:
    """Images of the voting slices, in the order of `result.slices.offsets`.

    Attributes
    ----------
    result
        The result.
    headers
        Whole header of the image of each voting slice, without pixels; of a multi-frame CT, the same for all.
    frames
        Number of each slice's frame, from 1; None for single-frame images.
    """

    result: StagingResult
    headers: tuple[Any, ...] = field(repr=False)
    frames: tuple[int, ...] | None

    @property
    def key(self) -> Any:
        """Header of the key slice's image."""
        return self.headers[self.result.slices.key]

    @property
    def images(self) -> list[Any]:
        """Headers of the images, each once."""
        return list({str(one.SOPInstanceUID): one for one in self.headers}.values())

    def pixels(self, axial: sitk.Image) -> np.ndarray:
        """Return an image on the voting slices in the pixels of the CT's images.

        Parameters
        ----------
        axial
            On the grid of `result.slices.native`, axial LPS, such as `result.heat`.

        Returns
        -------
        (S, rows, columns), slices in the order of `headers`.
        """
        grid = self.result.scan.grid
        stored = sitk.GetArrayFromImage(in_axis_order_of(axial, grid))
        return stored[::-1] if axial_order(grid).flipped[2] else stored


def require_source(scan: Scan) -> DicomSource:
    """Return the images of a CT; raise `InputError` unless DICOM results can refer to them."""
    if scan.source is None:
        raise InputError(
            f"The CT was read from {scan.format}; expected DICOM, since results as DICOM belong to the study of their "
            "CT. Give the DICOM series, or leave out `dicom`."
        )
    if axial_order(scan.grid).axes[2] != 2:
        raise InputError(
            "The CT's images are not axial, so that no image of the study shows a voting slice; expected axial images. "
            "Stage the axial reconstruction, or leave out `dicom`."
        )
    return scan.source


def evidence_of(result: StagingResult) -> Evidence:
    """Read the headers of the voting slices.

    Raises
    ------
    InputError
        If the CT is not DICOM, its images are not axial, or an image lacks a value of `REQUIRED`, is of another class
        than `CLASSES`, or cannot be read.
    """
    source, scan = require_source(result.scan), result.scan
    axial = [result.key_slice.index + offset for offset in result.slices.offsets]
    indices = [scan.grid.indices(axial_window(scan.grid, k, k))[2][0] for k in axial]
    headers = source.headers(indices)
    for index, header in zip(axial, headers, strict=True):
        missing = [keyword for keyword in REQUIRED if not str(header.get(keyword) or "")]
        if missing:
            raise InputError(
                f"The image of slice {index} has no {' and no '.join(missing)}; expected them, since DICOM results "
                "refer to their images. Export the series again from the archive, or leave out `dicom`."
            )
        if header.SOPClassUID not in CLASSES:
            raise InputError(
                f"The image of slice {index} is of class {header.SOPClassUID}; expected a CT image (one of "
                f"{', '.join(CLASSES)}). Stage the original series, or leave out `dicom`."
            )
    return Evidence(
        result,
        tuple(headers),
        None if source.frames is None else tuple(source.frames[k] for k in indices),
    )


__all__ = ["CLASSES", "REQUIRED", "Evidence", "evidence_of", "require_source"]
