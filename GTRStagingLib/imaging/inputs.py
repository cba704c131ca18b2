"""Read the images of a case together: the CT, the ROI of its tumour, and the mask of its stomach.

A DICOM SEG or RTSTRUCT says on which CT it was drawn, and a key object selection which series has the key slice. So the
series of a study with several need not be named.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol

from GTRStagingLib.imaging import rois, scans
from GTRStagingLib.imaging.dicom_references import References
from GTRStagingLib.imaging.keyslice import KO, KeyChoice
from GTRStagingLib.imaging.rois import Roi
from GTRStagingLib.imaging.scans import Scan


class Inputs(NamedTuple):
    """Images of a case; None for a mask that it does not have."""

    scan: Scan
    roi: Roi | None
    stomach: Roi | None


class ScanReader(Protocol):
    """Function that reads a CT from another place than a path, as `archive.remote_series.read_remote` does."""

    def __call__(
        self, *, series: str | None = None, referring: Sequence[References] = (), by_key_objects: bool = False
    ) -> Scan:
        """Read the CT, as `read_scan` does."""


def read_inputs(
    ct: Path | ScanReader,
    *,
    series: str | None = None,
    roi: Path | None = None,
    segment: str | int | None = None,
    stomach: Path | None = None,
    stomach_segment: str | int | None = None,
    key_slice: KeyChoice | None = None,
) -> Inputs:
    """Read the CT and the masks of a case.

    Without `series`, the one of several CT series is read that the ROI refers to, or else the mask of the stomach, or,
    if the key slice is 'ko', a key object selection; the scan has a warning of it, and of an ROI that refers to another
    series.

    Parameters
    ----------
    ct, series
        As in `read_scan`; or a function in the place of the path.
    roi, segment
        As in `read_roi`; the folder of the study is taken as well, if it has one DICOM SEG or RTSTRUCT.
    stomach, stomach_segment
        As in `read_stomach`.
    key_slice
        As in `keyslice.find`; only 'ko' matters here.

    Raises
    ------
    InputError, GeometryError
        As the functions above.
    """
    drawn = None if roi is None else rois.read_roi(roi, segment=segment)
    organ = None if stomach is None else rois.read_stomach(stomach, segment=stomach_segment)
    referring = [one.refers_to for one in (drawn, organ) if one is not None and one.refers_to is not None]
    read: ScanReader = partial(scans.read_scan, ct) if isinstance(ct, Path) else ct
    return Inputs(read(series=series, referring=referring, by_key_objects=key_slice == KO), drawn, organ)


__all__ = ["Inputs", "ScanReader", "read_inputs"]
