"""Make small real DICOM CT files, slice by slice."""

from pathlib import Path

import numpy as np
import SimpleITK as sitk
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.tag import Tag
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

AXIAL = (1, 0, 0, 0, 1, 0)
CORONAL = (1, 0, 0, 0, 0, -1)
FEET_FIRST_PRONE = (1, 0, 0, 0, -1, 0)  # normal towards the feet
OBLIQUE = (0.8, 0.6, 0, -0.6 * 0.8, 0.8 * 0.8, 0.6)  # two turns with sides 3-4-5
ORIGIN = (-12.5, -30.25, 101.0)
ROWS, COLUMNS = 12, 16
PIXEL_MM = (0.75, 0.5)  # between rows, between columns


def stored(k: int) -> np.ndarray:
    """Return (rows, columns) int16 stored values of slice k; all slices, rows and columns differ."""
    rows, columns = np.mgrid[:ROWS, :COLUMNS]
    return (100 * k + 16 * rows + columns).astype(np.int16)


def a_slice(k: int, orientation: tuple[float, ...], step: float, uids: dict[str, str]) -> Dataset:
    """Return one CT slice, k steps (mm) along the normal from ORIGIN; HU = stored - 1024."""
    d = Dataset()
    d.file_meta = FileMetaDataset()
    d.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    d.SOPClassUID, d.SOPInstanceUID = CTImageStorage, generate_uid()
    d.StudyInstanceUID, d.SeriesInstanceUID, d.FrameOfReferenceUID = uids["study"], uids["series"], uids["frame"]
    d.PatientName, d.PatientID, d.PatientBirthDate, d.PatientSex = "Doe^Jane", "MRN-4711", "19500102", "F"
    d.AccessionNumber, d.StudyID, d.ReferringPhysicianName = "ACC-9", "1", ""
    d.StudyDate, d.StudyTime, d.ContentDate, d.ContentTime = "20240102", "101010", "20240102", "101010"
    d.AcquisitionDate, d.AcquisitionTime, d.AcquisitionNumber = "20240102", "101010", 1
    d.Modality, d.Manufacturer, d.ImageType = "CT", "Maker", ["ORIGINAL", "PRIMARY", "AXIAL"]
    d.ConvolutionKernel, d.KVP, d.SliceThickness = "B30f", 120, step
    d.SeriesNumber, d.SeriesDescription, d.InstanceNumber = 3, "portal venous", k + 1
    d.PatientPosition, d.PositionReferenceIndicator = "HFS", ""
    d.SamplesPerPixel, d.PhotometricInterpretation = 1, "MONOCHROME2"
    d.Rows, d.Columns, d.BitsAllocated, d.BitsStored, d.HighBit, d.PixelRepresentation = ROWS, COLUMNS, 16, 16, 15, 1
    d.RescaleSlope, d.RescaleIntercept, d.RescaleType = 1, -1024, "HU"
    normal = np.cross(orientation[:3], orientation[3:])
    d.ImagePositionPatient = [f"{x:.6f}" for x in np.array(ORIGIN) + k * step * normal]
    d.ImageOrientationPatient, d.PixelSpacing = list(orientation), list(PIXEL_MM)
    d.PixelData = stored(k).tobytes()
    return d


def a_series(
    n: int = 6, *, orientation: tuple[float, ...] = AXIAL, step: float = 2.5, study: str = ""
) -> list[Dataset]:
    """Return slices in the order of their positions."""
    uids = {"study": study or generate_uid(), "series": generate_uid(), "frame": generate_uid()}
    return [a_slice(k, orientation, step, uids) for k in range(n)]


def save(path: Path, d: Dataset) -> Path:
    d.file_meta.MediaStorageSOPClassUID, d.file_meta.MediaStorageSOPInstanceUID = d.SOPClassUID, d.SOPInstanceUID
    path.parent.mkdir(parents=True, exist_ok=True)
    d.save_as(path, enforce_file_format=True)
    return path


def write(folder: Path, slices: list[Dataset], *, name: str = "IM{}.dcm") -> Path:
    """Write slice k as IMk.dcm."""
    for k, d in enumerate(slices):
        save(folder / name.format(k), d)
    return folder


def move(d: Dataset, mm: float, axis: int = 2) -> None:
    position = [float(x) for x in d.ImagePositionPatient]
    position[axis] += mm
    d.ImagePositionPatient = position


def say(d: Dataset, keyword: str, text: str) -> None:
    """Set a decimal string without any check of its text."""
    tag = Tag(keyword)
    value = text.encode().ljust(len(text) + len(text) % 2)
    d[tag] = RawDataElement(tag, "DS", len(value), value, 0, False, True)


def voxels(image: sitk.Image) -> np.ndarray:
    return sitk.GetArrayFromImage(image)
