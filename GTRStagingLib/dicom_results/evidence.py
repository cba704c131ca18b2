"""Collect what DICOM objects about a result refer to: the images of the voting slices."""

from dataclasses import dataclass, field
from typing import Any

from GTRStagingLib.errors import InputError
from GTRStagingLib.imaging.dicom_source import DicomSource
from GTRStagingLib.imaging.geometry import axial_order, axial_window
from GTRStagingLib.staging.result import StagingResult

REQUIRED = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID", "FrameOfReferenceUID")
"""Keywords without which an image cannot be referred to."""


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
    flipped
        Whether axial LPS pixels (x, y) run against those of the image's columns and rows.
    """

    result: StagingResult
    headers: tuple[Any, ...] = field(repr=False)
    frames: tuple[int, ...] | None
    flipped: tuple[bool, bool]

    @property
    def key(self) -> Any:
        """Header of the key slice's image."""
        return self.headers[self.result.slices.key]

    @property
    def images(self) -> list[Any]:
        """Headers of the images, each once."""
        return list({str(one.SOPInstanceUID): one for one in self.headers}.values())


def require_source(result: StagingResult) -> DicomSource:
    """Return the images of a result's CT; raise `InputError` unless DICOM results can refer to them."""
    scan = result.scan
    if scan.source is None:
        raise InputError(
            f"The CT was read from {scan.format}; expected DICOM, since results as DICOM belong to the study of their "
            "CT. Give the DICOM series, or leave out `dicom`."
        )
    if axial_order(scan.grid).axes != (0, 1, 2):
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
        If the CT is not DICOM, its images are not axial, an image lacks a value of `REQUIRED`, or cannot be read.
    """
    source, scan = require_source(result), result.scan
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
    flipped = axial_order(scan.grid).flipped
    return Evidence(
        result,
        tuple(headers),
        None if source.frames is None else tuple(source.frames[k] for k in indices),
        (flipped[0], flipped[1]),
    )


__all__ = ["REQUIRED", "Evidence", "evidence_of", "require_source"]
