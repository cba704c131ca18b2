"""Prepare the CT of a case for readers: a copy of its voxels without a header, or a reference to its files."""

import gzip
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from GTRStagingLib.cohort.cohort import Case
from GTRStagingLib.errors import GeometryError, InputError, OutputError
from GTRStagingLib.imaging import keyslice
from GTRStagingLib.imaging.geometry import axial_lps, axial_size, describe, embedded, grid_of, slices_of_block
from GTRStagingLib.imaging.inputs import read_inputs
from GTRStagingLib.imaging.scans import Scan
from GTRStagingLib.imaging.volumes import read_volume


def read_case(case: Case) -> tuple[Scan, int | None]:
    """Read the CT of a case, and return it with the index of its key slice; None if the case has none.

    Raises
    ------
    InputError, GeometryError
        If the CT cannot be read, or is a picture: readers set the window themselves, which needs HU.
    """
    scan, roi, _ = read_inputs(
        case.ct, series=case.series, roi=case.roi, segment=case.segment, key_slice=case.key_slice
    )
    if scan.intensity != "HU":
        raise InputError(
            f"Case {case.case_id} is a {scan.format} with a fixed window; expected a CT in HU, since readers set "
            "the window. Give the CT, or exclude the case."
        )
    mask = None if roi is None else roi.onto(scan.grid)
    found = keyslice.find(scan, mask=mask, key_slice=case.key_slice)
    return scan, None if found is None else found.index


def write_case_image(scan: Scan, path: Path) -> None:
    """Write the voxels of a CT in axial order with their geometry, and nothing else, as `.nii.gz`.

    Raises
    ------
    InputError
        If a slice cannot be decoded, or was rejected in the archive.
    OutputError
        If the file is incomplete, since the disk is full.
    """
    write_plain(scan.slices(0, axial_size(scan.grid)[2] - 1), path)


def write_map(source: Path, scan: Scan, path: Path) -> None:
    """Write an attention map of a batch on all voxels of the CT, in axial order and without its header.

    A batch writes the slices that voted; the map is 0 on the others.

    Raises
    ------
    InputError
        If the map is no volume, or its voxels are not voxels of the CT.
    OutputError
        If the file is incomplete, since the disk is full.
    """
    image, _ = read_volume(source)
    try:
        slices_of_block(image, scan.grid, "attention map and CT")
    except GeometryError as error:
        raise InputError(
            f"The attention map of a case is on other voxels than its CT ({describe(image)}; {describe(scan.grid)}); "
            "expected some of its slices. Stage the batch again on these CTs.",
            details=str(source),
        ) from error
    write_plain(axial_lps(embedded(image, scan.grid, sitk.sitkFloat32)), path)


def write_plain(image: sitk.Image, path: Path) -> None:
    """Write voxels and geometry of an image as `.nii.gz`, and read them back: ITK does not report a full disk."""
    bare = grid_of(image).image(sitk.GetArrayFromImage(image))  # without the texts of a header
    plain = path.with_name(path.name.removesuffix(".gz"))
    try:
        sitk.WriteImage(bare, str(plain))
        written = sitk.GetArrayFromImage(sitk.ReadImage(str(plain)))
        if not np.array_equal(written, sitk.GetArrayViewFromImage(bare)):
            raise OSError("the file is incomplete")
        # No name and no time in the header of the compressed file.
        with path.open("wb") as file, gzip.GzipFile("", "wb", 6, file, mtime=0) as packed:
            packed.write(plain.read_bytes())
    except (OSError, RuntimeError) as error:
        raise OutputError(
            f"{path.name} was not written ({error}); expected a writable disk with free space. Free some space."
        ) from error
    finally:
        plain.unlink(missing_ok=True)


__all__ = ["read_case", "write_case_image", "write_map", "write_plain"]
