"""Small valid files of every format that the readers take, made from one synthetic CT.

All bytes are the same in every run: UIDs are fixed, and archives have no time.
"""

import bz2
import gzip
import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import pydicom
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    EnhancedCTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

SIZE = (5, 40, 48)  # slices, rows, columns
SPACING = (7.5, 8.0, 5.0)  # x, y, z in mm
ORIGIN = (-176.25, -156.0, -100.0)
ROOT = "1.2.826.0.1.3680043.10.1417"


@dataclass(frozen=True)
class Base:
    """A valid input: its files by relative name, and the path to read (empty: the folder)."""

    name: str
    format: str
    files: dict[str, bytes] = field(repr=False)
    path: str = ""
    kind: str = "scan"
    segment: str | int | None = None


@cache
def hu() -> np.ndarray:
    """Return the CT, (z, y, x) int16 HU: body with fat, soft tissue, gas, spine and a lesion; neighbours differ."""
    z, y, x = np.indices(SIZE)
    _, rows, columns = SIZE
    at = ((y - rows / 2) / (0.42 * rows)) ** 2 + ((x - columns / 2) / (0.45 * columns)) ** 2
    texture = (x * 7 + y * 13 + z * 29) % 23 - 11
    values = np.where(at < 1, -100, -1000)
    values = np.where(at < 0.8, 40, values)
    values = np.where((y - 28) ** 2 + (x - 24) ** 2 < 12, 320, values)
    values = np.where((y - 14) ** 2 + (x - 28) ** 2 < 16, -950, values)
    values = np.where((y - 19) ** 2 + (x - 15) ** 2 < 9 + z, 115, values)
    return np.where(values > -500, values + texture, values).astype(np.int16)


@cache
def tumour() -> np.ndarray:
    """Return the lesion, (z, y, x) uint8 of 0 and 1."""
    z, y, x = np.indices(SIZE)
    inside = ((y - 19) ** 2 + (x - 15) ** 2 < 9 + z) & (z > 0)
    return inside.astype(np.uint8)


# -- DICOM -----------------------------------------------------------------------------------------------------------


def common(sop_class: str, number: int) -> Dataset:
    """Return the elements that every DICOM file of the synthetic patient has."""
    d = Dataset()
    d.file_meta = FileMetaDataset()
    d.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    d.SOPClassUID, d.SOPInstanceUID = sop_class, f"{ROOT}.4.{number}"
    d.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    d.StudyDate, d.StudyTime, d.AccessionNumber, d.Modality = "20200101", "120000", "", "CT"
    d.AcquisitionTime, d.ContentTime = "120000", "120000"
    d.Manufacturer, d.ReferringPhysicianName, d.SeriesDescription = "SYNTHETIC", "", "portal venous"
    d.PatientName, d.PatientID, d.PatientBirthDate, d.PatientSex = "Case^Synthetic", "SYN1", "", "O"
    d.StudyInstanceUID, d.SeriesInstanceUID = f"{ROOT}.1", f"{ROOT}.2"
    d.StudyID, d.SeriesNumber, d.AcquisitionNumber, d.InstanceNumber = "1", 1, 1, number
    d.FrameOfReferenceUID = f"{ROOT}.3"
    d.ConvolutionKernel, d.KVP = "B30f", 120
    return d


def slice_of(values: np.ndarray, k: int, *, signed: bool = False) -> Dataset:
    """Return slice k with (y, x) HU: 12 bits and an intercept of -1024, or 16 bits signed without an intercept."""
    d = common(CTImageStorage, k + 1)
    x, y, z = SPACING
    d.SliceThickness = z
    d.ImagePositionPatient = [ORIGIN[0], ORIGIN[1], ORIGIN[2] + k * z]
    d.ImageOrientationPatient, d.PixelSpacing = [1, 0, 0, 0, 1, 0], [y, x]
    d.SamplesPerPixel, d.PhotometricInterpretation = 1, "MONOCHROME2"
    d.Rows, d.Columns = values.shape
    bits = 16 if signed else 12
    d.BitsAllocated, d.BitsStored, d.HighBit, d.PixelRepresentation = 16, bits, bits - 1, int(signed)
    d.RescaleIntercept, d.RescaleSlope, d.RescaleType = 0 if signed else -1024, 1, "HU"
    stored = values if signed else values + 1024
    d.PixelData = stored.astype("<i2" if signed else "<u2").tobytes()
    return d


def encoded(d: Dataset, syntax: str = ExplicitVRLittleEndian) -> bytes:
    """Return a DICOM file in a transfer syntax."""
    if syntax in (RLELossless, JPEGLSLossless):
        d.compress(syntax, generate_instance_uid=False)
    elif syntax == JPEG2000Lossless:
        pixels = np.frombuffer(d.PixelData, "<u2").reshape(d.Rows, d.Columns)
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "JPEG2000", irreversible=False, no_jp2=True)
        d.PixelData = encapsulate([stream.getvalue()])
        d["PixelData"].is_undefined_length = True
        # Pillow writes 16 bits.
        d.BitsStored, d.HighBit = 16, 15
    elif syntax == ExplicitVRBigEndian:
        d.PixelData = np.frombuffer(d.PixelData, "<u2").astype(">u2").tobytes()
    d.file_meta.TransferSyntaxUID = syntax
    d.file_meta.MediaStorageSOPClassUID, d.file_meta.MediaStorageSOPInstanceUID = d.SOPClassUID, d.SOPInstanceUID
    d.file_meta.ImplementationClassUID, d.file_meta.ImplementationVersionName = f"{ROOT}.9", "FUZZ"
    stream = io.BytesIO()
    d.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def series(
    syntax: str = ExplicitVRLittleEndian, *, signed: bool = False, files: str = "{:03d}.dcm"
) -> dict[str, bytes]:
    """Return the files of a series."""
    return {files.format(k): encoded(slice_of(hu()[k], k, signed=signed), syntax) for k in range(SIZE[0])}


def enhanced(*, shared: bool = True, syntax: str = ExplicitVRLittleEndian) -> Dataset:
    """Return an enhanced CT; the rescale is shared by all frames, or stands in each frame."""
    d = common(EnhancedCTImageStorage, 1)
    one = slice_of(hu()[0], 0, signed=True)
    for keyword in (
        "Rows",
        "Columns",
        "SamplesPerPixel",
        "PhotometricInterpretation",
        "BitsAllocated",
        "BitsStored",
        "HighBit",
        "PixelRepresentation",
    ):
        setattr(d, keyword, getattr(one, keyword))
    d.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    d.NumberOfFrames = SIZE[0]
    d.ContentDate, d.AcquisitionDateTime, d.BurnedInAnnotation = "20200101", "20200101120000", "NO"
    d.VolumetricProperties, d.VolumeBasedCalculationTechnique = "VOLUME", "NONE"
    d.PixelPresentation, d.PresentationLUTShape, d.LossyImageCompression = "MONOCHROME", "IDENTITY", "00"
    organization = Dataset()
    organization.DimensionOrganizationUID = f"{ROOT}.5"
    d.DimensionOrganizationSequence = Sequence([organization])
    pointer = Dataset()
    pointer.DimensionOrganizationUID = f"{ROOT}.5"
    pointer.DimensionIndexPointer, pointer.FunctionalGroupPointer = 0x00200032, 0x00209113
    d.DimensionIndexSequence = Sequence([pointer])

    def group(**values: object) -> Sequence:
        item = Dataset()
        for keyword, value in values.items():
            setattr(item, keyword, value)
        return Sequence([item])

    x, y, z = SPACING
    rescale = group(RescaleIntercept=0, RescaleSlope=1, RescaleType="HU")
    common_groups = Dataset()
    common_groups.PixelMeasuresSequence = group(SliceThickness=z, PixelSpacing=[y, x])
    common_groups.PlaneOrientationSequence = group(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
    if shared:
        common_groups.PixelValueTransformationSequence = rescale
    d.SharedFunctionalGroupsSequence = Sequence([common_groups])
    d.PerFrameFunctionalGroupsSequence = Sequence()
    for k in range(SIZE[0]):
        frame = Dataset()
        frame.PlanePositionSequence = group(ImagePositionPatient=[ORIGIN[0], ORIGIN[1], ORIGIN[2] + k * z])
        frame.FrameContentSequence = group(DimensionIndexValues=[k + 1])
        if not shared:
            frame.PixelValueTransformationSequence = rescale
        d.PerFrameFunctionalGroupsSequence.append(frame)
    d.PixelData = hu().astype("<i2").tobytes()
    return d


def with_fixed_uids(d: Dataset) -> Dataset:
    """Replace the random UIDs of a file by numbered ones, and the date of its making."""
    known: dict[str, str] = {}

    def fix(_: Dataset, element: pydicom.DataElement) -> None:
        if element.VR == "UI" and not str(element.value).startswith(("1.2.840.", ROOT)):
            element.value = known.setdefault(str(element.value), f"{ROOT}.7.{len(known)}")
        if element.keyword in ("ContentTime", "ContentDate", "InstanceCreationDate", "InstanceCreationTime"):
            element.value = "20200101" if element.VR == "DA" else "120000"

    d.walk(fix)
    return d


def segmentation(kind: str = "BINARY", *, sparse: bool = False, labels: tuple[str, ...] = ("tumour",)) -> bytes:
    """Return a DICOM SEG of the tumour; `sparse` draws every second plane."""
    import highdicom as hd
    from pydicom.sr.codedict import codes

    source = [slice_of(hu()[k], k) for k in range(SIZE[0])]
    for d in source:
        d.PatientPosition, d.PositionReferenceIndicator = "HFS", ""
    drawn = tumour().copy()
    if sparse:
        drawn[::2] = 0
    described = [
        hd.seg.SegmentDescription(
            segment_number=number,
            segment_label=label,
            segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
            segmented_property_type=codes.SCT.Neoplasm,
            algorithm_type=hd.seg.SegmentAlgorithmTypeValues.MANUAL,
        )
        for number, label in enumerate(labels, 1)
    ]
    mask = drawn if len(labels) == 1 else np.stack([np.roll(drawn, 9, axis=2), drawn], axis=-1)
    made = hd.seg.Segmentation(
        source_images=source,
        pixel_array=mask.astype(np.float32) if kind == "FRACTIONAL" else mask,
        segmentation_type=getattr(hd.seg.SegmentationTypeValues, kind),
        segment_descriptions=described,
        series_instance_uid=f"{ROOT}.6",
        series_number=2,
        sop_instance_uid=f"{ROOT}.6.1",
        instance_number=1,
        manufacturer="SYNTHETIC",
        manufacturer_model_name="fuzz",
        software_versions="1",
        device_serial_number="1",
        transfer_syntax_uid=ExplicitVRLittleEndian,
        omit_empty_frames=True,
    )
    return encoded(with_fixed_uids(made))


def outline(mask: np.ndarray, k: int) -> list[float]:
    """Return the corners of a mask without gaps in its rows, along the edges of its pixels, as LPS mm."""
    rows = [(y, *np.flatnonzero(row)[[0, -1]]) for y, row in enumerate(mask) if row.any()]
    right = [(last + 0.5, y + side) for y, _, last in rows for side in (-0.5, 0.5)]
    left = [(first - 0.5, y + side) for y, first, _ in reversed(rows) for side in (0.5, -0.5)]
    step, start = np.array(SPACING), np.array(ORIGIN)
    return [round(float(v), 3) for x, y in (*right, *left) for v in start + step * (x, y, k)]


def structure_set() -> Dataset:
    """Return an RTSTRUCT of two ROIs, with the outline of the tumour on each of its slices."""
    d = common("1.2.840.10008.5.1.4.1.1.481.3", 1)
    d.Modality, d.SeriesInstanceUID, d.SOPInstanceUID = "RTSTRUCT", f"{ROOT}.8", f"{ROOT}.8.1"
    for keyword in ("ImageType", "ConvolutionKernel", "KVP", "AcquisitionNumber", "AcquisitionTime"):
        delattr(d, keyword)
    d.StructureSetLabel, d.StructureSetDate, d.StructureSetTime = "fuzz", "20200101", "120000"
    frame = Dataset()
    frame.FrameOfReferenceUID = f"{ROOT}.3"
    d.ReferencedFrameOfReferenceSequence = Sequence([frame])
    d.StructureSetROISequence, d.ROIContourSequence = Sequence(), Sequence()
    for number, (name, mask) in enumerate((("stomach", np.roll(tumour(), 9, axis=2)), ("tumour", tumour())), 1):
        roi, drawn = Dataset(), Dataset()
        roi.ROINumber, roi.ROIName, roi.ROIGenerationAlgorithm = number, name, "MANUAL"
        roi.ReferencedFrameOfReferenceUID = f"{ROOT}.3"
        drawn.ReferencedROINumber, drawn.ContourSequence = number, Sequence()
        for k in np.flatnonzero(mask.any(axis=(1, 2))):
            contour = Dataset()
            corners = outline(mask[k], int(k))
            contour.ContourGeometricType, contour.NumberOfContourPoints = "CLOSED_PLANAR", len(corners) // 3
            contour.ContourData = corners
            drawn.ContourSequence.append(contour)
        d.StructureSetROISequence.append(roi)
        d.ROIContourSequence.append(drawn)
    return d


# -- Volumes ---------------------------------------------------------------------------------------------------------


def packed(content: bytes) -> bytes:
    """Return gzip without a time."""
    return gzip.compress(content, 6, mtime=0)


def nifti(
    values: np.ndarray, *, code: str = "<i2", scale: tuple[float, float] = (1.0, 0.0), qform: bool = True
) -> bytes:
    """Return a NIfTI-1 file of (z, y, x) values with equal qform and sform, or with the sform alone."""
    order, kind = code[0].replace("|", "<"), code[1:]
    datatype, bits = {"u1": (2, 8), "i2": (4, 16), "i4": (8, 32), "f4": (16, 32), "f8": (64, 64), "u2": (512, 16)}[kind]
    header = bytearray(352)
    x, y, z = SPACING

    def put(at: int, form: str, *numbers: object) -> None:
        struct.pack_into(order + form, header, at, *numbers)

    put(0, "i", 348)
    put(40, "8h", 3, *values.shape[::-1], 1, 1, 1, 1)
    put(70, "2h", datatype, bits)
    put(76, "8f", 1.0, x, y, z, 1, 1, 1, 1)  # voxels go to the left and to the back: RAS has two signs less
    put(108, "3f", 352.0, *scale)
    put(123, "b", 2)
    put(252, "2h", int(qform), 1)
    put(256, "3f", 0.0, 0.0, 1.0)  # a turn by 180 degrees about z
    put(268, "3f", -ORIGIN[0], -ORIGIN[1], ORIGIN[2])
    put(280, "12f", -x, 0, 0, -ORIGIN[0], 0, -y, 0, -ORIGIN[1], 0, 0, z, ORIGIN[2])
    header[344:348] = b"n+1\0"
    return bytes(header) + values.astype(code).tobytes()


NRRD_TYPES = {"<i2": "short", "<f4": "float", "|u1": "unsigned char", ">i2": "short", "<u2": "unsigned short"}


def nrrd(values: np.ndarray, encoding: str = "raw", *, code: str = "<i2", data_file: str | None = None,
         more: tuple[str, ...] = ()) -> tuple[bytes, bytes]:  # fmt: skip
    """Return the header and the data of an NRRD file of (z, y, x) values."""
    raw = values.astype(code).tobytes()
    data = {
        "raw": lambda: raw,
        "gzip": lambda: packed(raw),
        "bzip2": lambda: bz2.compress(raw),
        "ascii": lambda: "\n".join(" ".join(map(str, row)) for row in values.reshape(-1, values.shape[-1])).encode(),
    }[encoding]()
    x, y, z = SPACING
    lines = [
        "NRRD0004",
        "# Synthetic CT",
        f"type: {NRRD_TYPES[code]}",
        "dimension: 3",
        "space: left-posterior-superior",
        f"sizes: {' '.join(map(str, values.shape[::-1]))}",
        f"space directions: ({x},0,0) (0,{y},0) (0,0,{z})",
        "kinds: domain domain domain",
        f"endian: {'big' if code[0] == '>' else 'little'}",
        f"encoding: {encoding}",
        f"space origin: ({','.join(map(str, ORIGIN))})",
        *more,
    ]
    if data_file:
        lines.append(f"data file: {data_file}")
    return ("\n".join(lines) + "\n\n").encode(), data


META_TYPES = {"<i2": "MET_SHORT", "<f4": "MET_FLOAT", "|u1": "MET_UCHAR", ">i2": "MET_SHORT"}


def meta(
    values: np.ndarray, data_file: str = "LOCAL", *, code: str = "<i2", compressed: bool = False
) -> tuple[bytes, bytes]:
    """Return the header and the data of a MetaImage of (z, y, x) values."""
    raw = values.astype(code).tobytes()
    data = zlib.compress(raw) if compressed else raw
    lines = [
        "ObjectType = Image",
        "NDims = 3",
        "BinaryData = True",
        f"BinaryDataByteOrderMSB = {code[0] == '>'}",
        f"CompressedData = {compressed}",
        *([f"CompressedDataSize = {len(data)}"] if compressed else []),
        "TransformMatrix = 1 0 0 0 1 0 0 0 1",
        f"Offset = {' '.join(map(str, ORIGIN))}",
        "CenterOfRotation = 0 0 0",
        "AnatomicalOrientation = RAI",
        f"ElementSpacing = {' '.join(map(str, SPACING))}",
        f"DimSize = {' '.join(map(str, values.shape[::-1]))}",
        f"ElementType = {META_TYPES[code]}",
        f"ElementDataFile = {data_file}",
    ]
    return ("\n".join(lines) + "\n").encode(), data


def grey() -> np.ndarray:
    """Return the CT in a window of -160 to 240 HU, (z, y, x) uint8."""
    return np.clip((hu() + 160.0) / 400 * 255, 0, 255).astype(np.uint8)


def chunk(name: bytes, content: bytes) -> bytes:
    """Return a PNG chunk with its checksum."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(pixels: np.ndarray, *, rgb: bool = False, rows: int | None = None) -> bytes:
    """Return an 8-bit PNG of (y, x) pixels; `rows` of them are stored."""
    stored = np.repeat(pixels[..., None], 3, -1) if rgb else pixels
    lines = b"".join(b"\0" + row.tobytes() for row in stored[:rows])
    size = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 8, 2 if rgb else 0, 0, 0, 0)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"tEXt", b"Title\0slice")
            + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b""))  # fmt: skip


SLICER = ("Segment0_ID:=Segment_1", "Segment0_Name:=stomach", "Segment0_LabelValue:=1", "Segment0_Layer:=0",
          "Segment1_ID:=Segment_2", "Segment1_Name:=tumour", "Segment1_LabelValue:=2", "Segment1_Layer:=0")  # fmt: skip


def labels() -> np.ndarray:
    """Return a label map of two segments."""
    return np.where(tumour() > 0, 2, np.roll(tumour(), 9, axis=2)).astype(np.uint8)


def _one(name: str, format_: str, file: str, content: bytes, **more: object) -> Base:
    return Base(name, format_, {file: content}, file, **more)  # type: ignore[arg-type]


def _detached(name: str, format_: str, file: str, data: str, content: tuple[bytes, bytes]) -> Base:
    return Base(name, format_, {file: content[0], data: content[1]}, file)


def _dicom(name: str, syntax: str = ExplicitVRLittleEndian, **more: object) -> Callable[[], Base]:
    return lambda: Base(name, "DICOM series", series(syntax, **more))  # type: ignore[arg-type]


def _png_with_neighbours() -> Base:
    files = {f"slice{end}.png": png(grey()[k]) for k, end in ((1, "_-01"), (2, ""), (3, "_+01"))}
    return Base("png-neighbours", "PNG", files, "slice.png")


def _meta_list() -> Base:
    header, _ = meta(hu(), "LIST")
    names = [f"s{k}.raw" for k in range(SIZE[0])]
    files = {"ct.mhd": header + "\n".join(names).encode() + b"\n"}
    files |= {name: hu()[k].astype("<i2").tobytes() for k, name in enumerate(names)}
    return Base("mhd-list", "MetaImage", files, "ct.mhd")


def _nrrd_list() -> Base:
    names = [f"s{k}.raw" for k in range(SIZE[0])]
    header, _ = nrrd(hu(), data_file="LIST 2")
    files = {"ct.nhdr": header.rstrip(b"\n") + b"\n" + "\n".join(names).encode() + b"\n"}
    files |= {name: hu()[k].astype("<i2").tobytes() for k, name in enumerate(names)}
    return Base("nhdr-list", "NRRD", files, "ct.nhdr")


def _pillow_png() -> bytes:
    stream = io.BytesIO()
    Image.fromarray(grey()[2]).save(stream, "PNG", optimize=False)
    return stream.getvalue()


BASES: dict[str, tuple[int, Callable[[], Base]]] = {
    # name: (weight, function)
    "dicom-explicit": (6, _dicom("dicom-explicit")),
    "dicom-implicit": (5, _dicom("dicom-implicit", ImplicitVRLittleEndian)),
    "dicom-big-endian": (2, _dicom("dicom-big-endian", ExplicitVRBigEndian)),
    "dicom-deflated": (2, _dicom("dicom-deflated", DeflatedExplicitVRLittleEndian)),
    "dicom-signed": (2, _dicom("dicom-signed", signed=True)),
    "dicom-no-suffix": (2, _dicom("dicom-no-suffix", files="IM{:03d}")),
    "dicom-rle": (2, _dicom("dicom-rle", RLELossless)),
    "dicom-jpeg-ls": (2, _dicom("dicom-jpeg-ls", JPEGLSLossless)),
    "dicom-jpeg-2000": (2, _dicom("dicom-jpeg-2000", JPEG2000Lossless)),
    "enhanced": (4, lambda: _one("enhanced", "DICOM multi-frame", "ct.dcm", encoded(enhanced()))),
    "enhanced-per-frame": (
        2,
        lambda: _one("enhanced-per-frame", "DICOM multi-frame", "ct.dcm", encoded(enhanced(shared=False))),
    ),
    "enhanced-rle": (
        1,
        lambda: _one("enhanced-rle", "DICOM multi-frame", "ct.dcm", encoded(enhanced(), RLELossless)),
    ),
    "nifti": (6, lambda: _one("nifti", "NIfTI", "ct.nii", nifti(hu()))),
    "nifti-gz": (5, lambda: _one("nifti-gz", "NIfTI", "ct.nii.gz", packed(nifti(hu())))),
    "nifti-float": (3, lambda: _one("nifti-float", "NIfTI", "ct.nii", nifti(hu(), code="<f4"))),
    "nifti-scaled": (
        3,
        lambda: _one("nifti-scaled", "NIfTI", "ct.nii.gz", packed(nifti(hu() + 1024, code="<u2", scale=(1, -1024)))),
    ),
    "nifti-big-endian": (2, lambda: _one("nifti-big-endian", "NIfTI", "ct.nii", nifti(hu(), code=">i2"))),
    "nifti-sform": (2, lambda: _one("nifti-sform", "NIfTI", "ct.nii", nifti(hu(), qform=False))),
    "nrrd-raw": (5, lambda: _one("nrrd-raw", "NRRD", "ct.nrrd", b"".join(nrrd(hu())))),
    "nrrd-gzip": (5, lambda: _one("nrrd-gzip", "NRRD", "ct.nrrd", b"".join(nrrd(hu(), "gzip")))),
    "nrrd-float": (2, lambda: _one("nrrd-float", "NRRD", "ct.nrrd", b"".join(nrrd(hu(), code="<f4")))),
    "nrrd-big-endian": (1, lambda: _one("nrrd-big-endian", "NRRD", "ct.nrrd", b"".join(nrrd(hu(), code=">i2")))),
    "nrrd-ascii": (2, lambda: _one("nrrd-ascii", "NRRD", "ct.nrrd", b"".join(nrrd(hu(), "ascii")))),
    "nrrd-detached": (
        3,
        lambda: _detached("nrrd-detached", "NRRD", "ct.nhdr", "ct.raw", nrrd(hu(), data_file="ct.raw")),
    ),
    "nrrd-detached-gzip": (
        2,
        lambda: _detached(
            "nrrd-detached-gzip", "NRRD", "ct.nhdr", "ct.raw.gz", nrrd(hu(), "gzip", data_file="ct.raw.gz")
        ),
    ),
    "nhdr-list": (1, _nrrd_list),
    "mha-raw": (5, lambda: _one("mha-raw", "MetaImage", "ct.mha", b"".join(meta(hu())))),
    "mha-zlib": (5, lambda: _one("mha-zlib", "MetaImage", "ct.mha", b"".join(meta(hu(), compressed=True)))),
    "mha-float": (2, lambda: _one("mha-float", "MetaImage", "ct.mha", b"".join(meta(hu(), code="<f4")))),
    "mha-big-endian": (1, lambda: _one("mha-big-endian", "MetaImage", "ct.mha", b"".join(meta(hu(), code=">i2")))),
    "mhd": (3, lambda: _detached("mhd", "MetaImage", "ct.mhd", "ct.raw", meta(hu(), "ct.raw"))),
    "mhd-zlib": (
        2,
        lambda: _detached("mhd-zlib", "MetaImage", "ct.mhd", "ct.zraw", meta(hu(), "ct.zraw", compressed=True)),
    ),
    "mhd-list": (2, _meta_list),
    "png": (3, lambda: _one("png", "PNG", "slice.png", png(grey()[2]))),
    "png-filtered": (2, lambda: _one("png-filtered", "PNG", "slice.png", _pillow_png())),
    "png-rgb": (1, lambda: _one("png-rgb", "PNG", "slice.png", png(grey()[2], rgb=True))),
    "png-neighbours": (2, _png_with_neighbours),
    "roi-nifti": (3, lambda: _one("roi-nifti", "NIfTI ROI", "roi.nii.gz",
                                  packed(nifti(tumour(), code="|u1")), kind="roi")),
    "roi-nifti-float": (2, lambda: _one("roi-nifti-float", "NIfTI ROI", "roi.nii",
                                        nifti(tumour(), code="<f4"), kind="roi")),
    "roi-nrrd": (2, lambda: _one("roi-nrrd", "NRRD ROI", "roi.nrrd",
                                 b"".join(nrrd(tumour(), "gzip", code="|u1")), kind="roi")),
    "roi-slicer": (2, lambda: _one("roi-slicer", "NRRD ROI", "roi.seg.nrrd",
                                   b"".join(nrrd(labels(), "gzip", code="|u1", more=SLICER)),
                                   kind="roi", segment="tumour")),
    "roi-mha": (1, lambda: _one("roi-mha", "MetaImage ROI", "roi.mha",
                                b"".join(meta(tumour(), code="|u1", compressed=True)), kind="roi")),
    "seg-binary": (4, lambda: _one("seg-binary", "DICOM SEG", "seg.dcm", segmentation(), kind="roi")),
    "seg-sparse": (3, lambda: _one("seg-sparse", "DICOM SEG", "seg.dcm", segmentation(sparse=True), kind="roi")),
    "seg-two": (1, lambda: _one("seg-two", "DICOM SEG", "seg.dcm",
                                segmentation(labels=("stomach", "tumour")), kind="roi", segment="tumour")),
    "seg-fractional": (2, lambda: _one("seg-fractional", "DICOM SEG", "seg.dcm",
                                       segmentation("FRACTIONAL"), kind="roi")),
    "rtstruct": (3, lambda: _one("rtstruct", "RTSTRUCT", "rt.dcm", encoded(structure_set()),
                                 kind="roi", segment="tumour")),
    "seg-labelmap": (1, lambda: _one("seg-labelmap", "DICOM SEG", "seg.dcm", segmentation("LABELMAP"), kind="roi")),
}  # fmt: skip


@cache
def base(name: str) -> Base:
    """Return a base by its name."""
    return BASES[name][1]()
