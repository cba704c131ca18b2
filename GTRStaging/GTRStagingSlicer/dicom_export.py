"""Write a result as DICOM objects into Slicer's DICOM database, in the study of its CT.

A volume node that Slicer's DICOM module loaded names its images; the database knows their files. The objects refer to
these images, so that they are read again, and compared with what was staged. Needs no Qt.
"""

import importlib.util
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import SimpleITK as sitk
import slicer

from GTRStagingLib.errors import GeometryError, InputError, OutputError
from GTRStagingLib.imaging import geometry
from GTRStagingLib.imaging.scans import Scan, read_scan
from GTRStagingSlicer.mrml import Node, Scene, VolumeNode
from GTRStagingSlicer.words import tr as _

if TYPE_CHECKING:
    from GTRStagingLib.dicom_results.identity import Codes
    from GTRStagingLib.staging.result import StagingResult

INSTANCES = "DICOM.instanceUIDs"
"""Attribute of volume nodes in which Slicer's DICOM module keeps the UIDs of the images."""


@dataclass(frozen=True)
class Exported:
    """Objects of a result in Slicer's DICOM database.

    Attributes
    ----------
    files
        Kind of object -> its file in the database.
    series
        Kind of object -> UID of its series.
    """

    files: Mapping[str, Path]
    series: Mapping[str, str]


def reason_not_exportable(volume: VolumeNode | None) -> str | None:
    """Return why results of a volume cannot be written as DICOM, as far as its node tells; None if they can."""
    if importlib.util.find_spec("highdicom") is None:
        return _(
            "Slicer's Python has no highdicom, which Slicer contains since 5.12: install it in the Python console by "
            "slicer.util.pip_install('highdicom')."
        )
    if volume is None or (volume.GetAttribute(INSTANCES) or "").split():
        return None
    return _("The CT was not loaded from DICOM: results as DICOM belong to the study of their CT.")


def export(result: "StagingResult", volume: VolumeNode, *, threshold: float, codes: "Codes" = "standard") -> Exported:
    """Write a result's objects into the DICOM database.

    Parameters
    ----------
    result
        Result of staging the volume.
    threshold
        Threshold of the region, as a share of the key slice's maximum.
    codes
        Codes of the objects: those of SNOMED CT and the AJCC, or private ones.

    Raises
    ------
    InputError, GeometryError
        If the volume was not loaded from DICOM, an image is missing in the database, or the volume differs from its
        images.
    OutputError
        If the objects cannot be written, or the database does not take them.
    """
    from pydicom import dcmread

    from GTRStagingLib.dicom_results.write import write_dicom_results

    with tempfile.TemporaryDirectory(prefix="gtrstaging-") as name:
        folder = Path(name)
        (folder / "ct").mkdir()
        of_dicom = as_staged_from_dicom(result, volume, _read_images(volume, folder / "ct"))
        written = write_dicom_results(of_dicom, folder / "results", threshold=threshold, codes=codes)
        headers = {kind: dcmread(path, stop_before_pixels=True) for kind, path in written.items()}
        _insert(folder / "results")
    files = {kind: slicer.dicomDatabase.fileForInstance(str(ds.SOPInstanceUID)) for kind, ds in headers.items()}
    if lacking := [kind for kind, file in files.items() if not file or not Path(file).is_file()]:
        raise OutputError(
            _("Slicer's DICOM database did not take: {kinds}; expected all objects of the result. Check in the DICOM "
              "module that the database is open and its disk is not full.").format(kinds=", ".join(lacking))
        )  # fmt: skip
    return Exported(
        {kind: Path(file) for kind, file in files.items()},
        {kind: str(ds.SeriesInstanceUID) for kind, ds in headers.items()},
    )


def _insert(folder: Path) -> None:
    """Copy the DICOM files of a folder into the database."""
    from DICOMLib import DICOMUtils

    DICOMUtils.importDicom(str(folder), slicer.dicomDatabase, copyFiles=True)


def _read_images(volume: VolumeNode, folder: Path) -> Scan:
    """Read the images that a volume was loaded from; `folder` gets links to their files, or copies."""
    name = volume.GetName()
    uids = (volume.GetAttribute(INSTANCES) or "").split()
    if not uids:
        raise InputError(
            _("“{name}” was not loaded by Slicer's DICOM module; expected a CT from the DICOM database, since results "
              "as DICOM belong to the study of their CT. Load the CT in the DICOM module, and stage it.").format(
                name=name
            )
        )  # fmt: skip
    database = slicer.dicomDatabase
    if database is None or not database.isOpen:
        raise InputError(
            _("Slicer's DICOM database is not open; expected the one with the CT. Open it in the DICOM module.")
        )
    files = [database.fileForInstance(uid) for uid in uids]
    if missing := sum(not file or not Path(file).is_file() for file in files):
        raise InputError(
            _("{missing} of the {count} images of “{name}” are not in Slicer's DICOM database; expected all of them. "
              "Import the CT again in the DICOM module.").format(missing=missing, count=len(files), name=name)
        )  # fmt: skip
    for k, file in enumerate(dict.fromkeys(files)):
        try:
            (folder / f"{k:05}.dcm").symlink_to(Path(file).resolve())
        except OSError:  # Windows allows links to administrators only
            shutil.copy2(file, folder / f"{k:05}.dcm")
    return read_scan(folder)


def as_staged_from_dicom(result: "StagingResult", volume: VolumeNode, scan: Scan) -> "StagingResult":
    """Return a result of a volume as the same result of its DICOM images.

    Raises
    ------
    InputError, GeometryError
        If the volume has another number of slices, lies elsewhere, or has other voxels in the voting slices.
    """
    name, slices = volume.GetName(), result.slices
    counts = geometry.axial_size(result.scan.grid)[2], geometry.axial_size(scan.grid)[2]
    if counts[0] != counts[1]:
        raise GeometryError(
            _("“{name}” has {here} slices, its DICOM images have {there}; expected equal numbers: the volume was "
              "cropped or resampled. Stage the volume that the DICOM module loaded.").format(
                name=name, here=counts[0], there=counts[1]
            )
        )  # fmt: skip
    places = [result.key_slice.index + offset for offset in slices.offsets]
    step = places[1] - places[0] if len(places) > 1 else 1
    stored = scan.slices(places[0], places[-1], step)
    if not geometry.same_grid(stored, slices.native):
        raise GeometryError(
            _("“{name}” ({here}) does not lie where its DICOM images lie ({there}); expected the same place: the "
              "volume was moved by a transform, cropped or resampled. Stage the volume that the DICOM module loaded, "
              "without a transform.").format(
                name=name, here=geometry.describe(slices.native), there=geometry.describe(stored)
            )
        )  # fmt: skip
    if not np.array_equal(sitk.GetArrayViewFromImage(stored), sitk.GetArrayViewFromImage(slices.native)):
        raise InputError(
            _("The voxels of “{name}” differ from those of its DICOM images; expected the same: the volume was "
              "changed after it was loaded. Stage the volume as the DICOM module loads it.").format(name=name)
        )  # fmt: skip
    own_id = f"case-{result.scan.digest[:8]}"
    return replace(
        result,
        scan=scan,
        slices=replace(slices, native=stored),
        case_id=f"case-{scan.digest[:8]}" if result.case_id == own_id else result.case_id,
    )


def mark(scene: Scene, attention: Node | None, exported: Exported) -> None:
    """Give the attention map's item in the subject hierarchy the UID of its DICOM series."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    if hierarchy is None or attention is None:
        return
    item = hierarchy.GetItemByDataNode(attention)
    if item:
        hierarchy.SetItemUID(item, "DICOM", exported.series["map"])


__all__ = ["INSTANCES", "Exported", "as_staged_from_dicom", "export", "mark", "reason_not_exportable"]
