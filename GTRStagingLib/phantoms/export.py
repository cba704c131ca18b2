"""Write phantoms as DICOM series with SEG, or as NIfTI, with the ground truth as JSON."""

import json
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import SimpleITK as sitk

from GTRStagingLib.errors import InputError
from GTRStagingLib.phantoms.phantom import Phantom
from GTRStagingLib.stages import RESEARCH_USE_ONLY
from GTRStagingLib.support.extras import import_extra
from GTRStagingLib.support.files import new_folder

if TYPE_CHECKING:
    import pydicom

WHEN = datetime(2020, 1, 1, 12)
"""Fixed date of all phantoms, so that the same phantom gives the same files."""

TRUTH_FILE = "truth.json"
STOMACH_FILE = "stomach.nii.gz"
"""Mask of the stomach, in the form that TotalSegmentator writes, also beside a DICOM series."""

AIR_STORED = 1024
"""Stored value of 0 HU, as on most scanners: -1024 HU is stored as 0."""


def write_dicom(phantom: Phantom, folder: Path) -> None:
    """Write `ct/0001.dcm`, ..., `tumour_seg.dcm` (one segment, 'tumour'), `stomach.nii.gz` and `truth.json`.

    All or nothing is written.

    Raises
    ------
    InputError
        If the folder exists and is not empty.
    MissingDependencyError
        If pydicom or highdicom is not installed.
    """
    for module in ("highdicom", "pydicom"):
        import_extra(module, "Writing DICOM needs", "dicom")
    _require_free(folder)
    with new_folder(folder) as work:
        (work / "ct").mkdir()
        slices = [_ct_slice(phantom, k) for k in range(phantom.ct.GetDepth())]
        for k, slice_ in enumerate(slices):
            slice_.save_as(work / "ct" / f"{k + 1:04d}.dcm", enforce_file_format=True)
        _segmentation(phantom, slices).save_as(work / "tumour_seg.dcm")
        _write_volume(phantom.stomach, work / STOMACH_FILE)
        _write_truth(phantom, work)


def write_nifti(phantom: Phantom, folder: Path) -> None:
    """Write `ct.nii.gz`, `tumour.nii.gz`, `stomach.nii.gz` and `truth.json`, all or nothing.

    Raises
    ------
    InputError
        If the folder exists and is not empty.
    """
    _require_free(folder)
    with new_folder(folder) as work:
        for name, image in (
            ("ct.nii.gz", phantom.ct), ("tumour.nii.gz", phantom.tumour), (STOMACH_FILE, phantom.stomach)
        ):  # fmt: skip
            _write_volume(image, work / name)
        _write_truth(phantom, work)


def _write_volume(image: sitk.Image, path: Path) -> None:
    """Write a NIfTI file, and read it again, since ITK does not report a full disk."""
    sitk.WriteImage(image, str(path))
    written = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    if not np.array_equal(written, sitk.GetArrayViewFromImage(image)):
        raise OSError(f"{path.name} is incomplete; the disk may be full")


def _require_free(folder: Path) -> None:
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
    if folder.exists():
        raise InputError(f"{folder} exists and is not an empty folder; expected a new folder. Choose another folder.")


def _write_truth(phantom: Phantom, folder: Path) -> None:
    truth = {
        "note": f"Synthetic CT, no patient. {RESEARCH_USE_ONLY}",
        "stage": phantom.stage.name,
        "seed": phantom.seed,
        "size": phantom.ct.GetWidth(),
        "depth_mm": round(phantom.depth_mm, 2),
        "body": asdict(phantom.body),
        "lesion": asdict(phantom.lesion),
        "scan": asdict(phantom.scan),
    }
    (folder / TRUTH_FILE).write_text(json.dumps(truth, indent=2) + "\n", encoding="utf-8")


def _ct_slice(phantom: Phantom, k: int) -> "pydicom.Dataset":
    """Return one slice as a CT Image Storage dataset."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

    image, scan, identity = phantom.ct, phantom.scan, f"PHANTOM-{phantom.seed:06d}"
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID = CTImageStorage
    ds.SOPInstanceUID = _uid(phantom, f"slice {k}")
    ds.StudyInstanceUID, ds.SeriesInstanceUID = _uid(phantom, "study"), _uid(phantom, "series")
    ds.FrameOfReferenceUID = _uid(phantom, "frame")
    ds.ImageType = ["DERIVED", "PRIMARY", "AXIAL"]
    ds.Modality, ds.Manufacturer, ds.ManufacturerModelName = "CT", scan.profile.manufacturer, "GTR Staging phantom"
    ds.InstitutionName = f"Synthetic centre {scan.profile.name}"
    ds.StudyDescription, ds.SeriesDescription = "Synthetic abdomen", f"Synthetic portal venous {phantom.stage.name}"
    ds.BodyPartExamined, ds.ContrastBolusAgent, ds.ConvolutionKernel = "ABDOMEN", "SYNTHETIC", scan.profile.kernel
    ds.PatientName, ds.PatientID = f"Phantom^Seed {phantom.seed}", identity
    ds.PatientBirthDate, ds.PatientSex, ds.PatientPosition = "", "", "HFS"
    ds.AccessionNumber, ds.StudyID, ds.ReferringPhysicianName = "", "1", ""
    ds.StudyDate = ds.SeriesDate = ds.ContentDate = WHEN.strftime("%Y%m%d")
    ds.StudyTime = ds.SeriesTime = ds.ContentTime = WHEN.strftime("%H%M%S")
    ds.SeriesNumber, ds.AcquisitionNumber, ds.InstanceNumber = 1, 1, k + 1
    ds.KVP, ds.PositionReferenceIndicator, ds.ImageComments = str(scan.profile.kvp), "", RESEARCH_USE_ONLY
    ds.ReconstructionDiameter = f"{scan.field_mm:.3f}"
    ds.ImagePositionPatient = [f"{v:.6f}" for v in image.TransformIndexToPhysicalPoint((0, 0, k))]
    ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    ds.SliceLocation = ds.ImagePositionPatient[2]
    sx, sy, sz = image.GetSpacing()
    ds.PixelSpacing = [f"{sy:.8f}", f"{sx:.8f}"]
    ds.SliceThickness = ds.SpacingBetweenSlices = f"{sz:g}"
    ds.Rows, ds.Columns = image.GetHeight(), image.GetWidth()
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = str(-AIR_STORED), "1", "HU"
    ds.WindowCenter, ds.WindowWidth = "50", "350"
    stored = sitk.GetArrayViewFromImage(image)[k].astype(np.int32) + AIR_STORED
    ds.PixelData = stored.astype("<u2").tobytes()
    return ds


def _segmentation(phantom: Phantom, slices: "list[pydicom.Dataset]") -> "pydicom.Dataset":
    """Return the tumour as a binary DICOM SEG on the slices."""
    import highdicom as hd
    from pydicom.sr.codedict import codes

    segment = hd.seg.SegmentDescription(
        segment_number=1,
        segment_label="tumour",
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=codes.SCT.Neoplasm,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name="GTR Staging phantom", version="1", family=codes.DCM.ArtificialIntelligence
        ),
    )
    segmentation = hd.seg.Segmentation(
        source_images=slices,
        pixel_array=sitk.GetArrayFromImage(phantom.tumour).astype(bool),
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[segment],
        series_instance_uid=_uid(phantom, "seg series"),
        series_number=2,
        sop_instance_uid=_uid(phantom, "seg"),
        instance_number=1,
        manufacturer="GTR Staging",
        manufacturer_model_name="Phantom",
        software_versions="1",
        device_serial_number="0",
        content_description="Ground truth of a synthetic tumour",
        content_label="TUMOUR",
        series_description="Tumour (ground truth)",
    )
    segmentation.ContentDate, segmentation.ContentTime = WHEN.strftime("%Y%m%d"), WHEN.strftime("%H%M%S")
    segmentation.SeriesDate, segmentation.SeriesTime = segmentation.ContentDate, segmentation.ContentTime
    return segmentation


def _uid(phantom: Phantom, what: str) -> str:
    """Return a UID that is always the same for the same phantom."""
    from pydicom.uid import generate_uid

    grid = f"{phantom.ct.GetSize()} {phantom.ct.GetSpacing()} {phantom.scan.profile.name}"
    return generate_uid(entropy_srcs=["gtrstaging phantom 2", str(phantom.seed), phantom.stage.name, grid, what])
