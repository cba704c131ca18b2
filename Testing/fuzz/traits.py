"""Inputs with one trait that public bug reports of this field name; the harmless ones must be read.

Each function takes random numbers, which choose the details, and returns a draft. The soak test takes its broken cases
from here.
"""

import io
import random
import struct
import zlib
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pydicom
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, JPEG2000Lossless, RLELossless

from fuzz import bases
from fuzz.alterations import Draft, Special
from fuzz.bases import Base, hu

Trait = Callable[[random.Random], Draft]

TRAITS: dict[str, Trait] = {}
"""Functions by name."""


def trait(make: Trait) -> Trait:
    TRAITS[make.__name__.replace("_", "-")] = make
    return make


def harmless(make: Trait) -> Trait:
    """Register a trait that must be read."""

    def read(rng: random.Random) -> Draft:
        draft = make(rng)
        draft.must_read = True
        return draft

    TRAITS[make.__name__.replace("_", "-")] = read
    return read


def one(format_: str, name: str, content: bytes, *, kind: str = "scan", segment: str | int | None = None) -> Draft:
    return _draft(Base("trait", format_, {name: content}, name, kind, segment))


def _draft(base: Base) -> Draft:
    made = Draft.of(base)
    made.harmless = False
    return made


def _altered(name: str, file: str, old: bytes, new: bytes) -> Draft:
    """Return a base with a part of a file replaced."""
    draft = _draft(bases.base(name))
    content = draft.files[file]
    assert old in content, f"{name} has no {old!r}"
    draft.files[file] = content.replace(old, new, 1)
    return draft


# -- Volumes ---------------------------------------------------------------------------------------------------------


@trait
def nifti_nan(rng: random.Random) -> Draft:
    values = hu().astype(np.float32)
    outside = hu() == -1000
    values[outside if rng.random() < 0.5 else np.unravel_index(rng.randrange(values.size), values.shape)] = rng.choice(
        [np.nan, np.inf, -np.inf]
    )
    content = bases.nifti(values, code="<f4")
    return one("NIfTI", "ct.nii.gz", bases.packed(content)) if rng.random() < 0.5 else one("NIfTI", "ct.nii", content)


@trait
def nrrd_or_meta_nan(rng: random.Random) -> Draft:
    values = hu().astype(np.float32)
    values[np.unravel_index(rng.randrange(values.size), values.shape)] = rng.choice([np.nan, np.inf])
    if rng.random() < 0.5:
        return one("NRRD", "ct.nrrd", b"".join(bases.nrrd(values, "gzip", code="<f4")))
    return one("MetaImage", "ct.mha", b"".join(bases.meta(values, code="<f4", compressed=True)))


@harmless
def nifti_slope_0(rng: random.Random) -> Draft:
    return one("NIfTI", "ct.nii", bases.nifti(hu(), scale=(0.0, rng.choice([-1024.0, 0.0, 5.0]))))


@harmless
def nifti_slope_nan(rng: random.Random) -> Draft:
    return one("NIfTI", "ct.nii", bases.nifti(hu(), scale=(float("nan"), rng.choice([0.0, float("nan")]))))


@harmless
def nifti_small_shear(rng: random.Random) -> Draft:
    content = bytearray(bases.nifti(hu(), qform=False))
    struct.pack_into("<f", content, 284, rng.choice([1e-4, -1e-4]) * bases.SPACING[0])
    return one("NIfTI", "ct.nii", bytes(content))


@trait
def meta_flipped(rng: random.Random) -> Draft:
    """Flip a bit of the compressed data."""
    header, data = bases.meta(hu(), compressed=True)
    changed = bytearray(data)
    changed[rng.randrange(2, len(changed))] ^= 1 << rng.randrange(8)
    return one("MetaImage", "ct.mha", header + bytes(changed))


@trait
def nrrd_flipped(rng: random.Random) -> Draft:
    header, data = bases.nrrd(hu(), "gzip")
    changed = bytearray(data)
    changed[rng.randrange(10, len(changed))] ^= 1 << rng.randrange(8)
    return one("NRRD", "ct.nrrd", header + bytes(changed))


@trait
def nrrd_checksum(rng: random.Random) -> Draft:
    """Change the checksum or the length at the end of the gzip data."""
    header, data = bases.nrrd(hu(), "gzip")
    changed = bytearray(data)
    changed[-rng.randint(1, 8)] ^= 1 << rng.randrange(8)
    return one("NRRD", "ct.nrrd", header + bytes(changed))


@trait
def meta_list_with_missing_files(rng: random.Random) -> Draft:
    draft = _draft(bases.base("mhd-list"))
    missing = rng.sample([f"s{k}.raw" for k in range(bases.SIZE[0])], rng.randint(1, 4))
    for name in missing:
        del draft.files[name]
    if rng.random() < 0.5:
        lines = draft.files["ct.mhd"].decode().splitlines()
        draft.files["ct.mhd"] = "\n".join(line for line in lines if line not in missing).encode() + b"\n"
    return draft


@trait
def meta_without_a_field(rng: random.Random) -> Draft:
    name = rng.choice(["mha-zlib", "mha-raw"])
    draft = _draft(bases.base(name))
    fields = ["ElementSpacing", "Offset", "CompressedDataSize", "DimSize", "ElementType", "NDims"]
    gone = rng.choice(fields).encode()
    header, mark, data = draft.files["ct.mha"].partition(b"LOCAL\n")
    header = b"\n".join(line for line in header.split(b"\n") if not line.startswith(gone))
    draft.files["ct.mha"] = header + mark + data
    return draft


@trait
def nrrd_without_an_origin(rng: random.Random) -> Draft:
    origin = f"space origin: ({','.join(map(str, bases.ORIGIN))})".encode()
    new = rng.choice([b"none", b"(nan,nan,nan)", b"(none,none,none)", b"", b"(0,0)"])
    return _altered("nrrd-raw", "ct.nrrd", origin, b"space origin: " + new)


@trait
def decimal_comma(rng: random.Random) -> Draft:
    if rng.random() < 0.5:
        return _altered("nrrd-raw", "ct.nrrd", b"(7.5,0,0)", b"(7,5,0,0)")
    return _altered("mha-raw", "ct.mha", b"7.5 8.0 5.0", b"7,5 8,0 5,0")


@trait
def png_with_too_few_rows(rng: random.Random) -> Draft:
    return one("PNG", "slice.png", bases.png(bases.grey()[2], rows=rng.randint(0, bases.SIZE[1] - 1)))


@trait
def png_checksum(rng: random.Random) -> Draft:
    content = bytearray(bases.png(bases.grey()[2]))
    at = content.index(rng.choice([b"IDAT", b"IHDR"]))
    length = struct.unpack_from(">I", content, at - 4)[0]
    content[at + 4 + length + rng.randrange(4)] ^= 1 << rng.randrange(8)
    return one("PNG", "slice.png", bytes(content))


@trait
def png_far_too_large(rng: random.Random) -> Draft:
    side = rng.choice([20_000, 60_000, 2**31 - 1])
    size = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    content = (b"\x89PNG\r\n\x1a\n" + bases.chunk(b"IHDR", size) + bases.chunk(b"IDAT", zlib.compress(bytes(10**6)))
               + bases.chunk(b"IEND", b""))  # fmt: skip
    return one("PNG", "slice.png", content)


@trait
def data_file_that_is_no_file(rng: random.Random) -> Draft:
    name = rng.choice(["mhd", "nrrd-detached"])
    draft = _draft(bases.base(name))
    draft.files["ct.raw"] = Special(rng.choice(["", "/dev/zero", "/dev/urandom", "."]))
    return draft


@trait
def data_file_outside_the_folder(rng: random.Random) -> Draft:
    name, path = rng.choice([("mhd", "ct.mhd"), ("nrrd-detached", "ct.nhdr")])
    draft = _draft(bases.base(name))
    there = rng.choice(["../ct.raw", "/dev/zero", "/etc/passwd", "sub/../../ct.raw"])
    draft.files[path] = draft.files[path].replace(b"ct.raw", there.encode())
    return draft


@trait
def attached_header_with_a_data_file(rng: random.Random) -> Draft:
    """`.nrrd` and `.mha` that name another file: the header decides, not the suffix."""
    if rng.random() < 0.5:
        header, data = bases.nrrd(hu(), data_file="other.raw")
        return _draft(Base("trait", "NRRD", {"ct.nrrd": header, "other.raw": data}, "ct.nrrd"))
    header, data = bases.meta(hu(), "other.raw")
    return _draft(Base("trait", "MetaImage", {"ct.mha": header, "other.raw": data}, "ct.mha"))


@trait
def headers_that_crash(rng: random.Random) -> Draft:
    if rng.random() < 0.4:
        values = np.clip(hu(), 0, 255).astype(np.uint8)
        return one("NRRD", "ct.nrrd", b"".join(bases.nrrd(values, "ascii", code="|u1")))
    number = rng.choice([b"0", b"99", b"-1", b"2147483647", b"11"])
    return _altered("mha-raw", "ct.mha", b"NDims = 3", b"NDims = " + number)


@trait
def sizes_of_gigabytes(rng: random.Random) -> Draft:
    sizes = rng.choice(
        [b"4096 4096 4096", b"100000 100000 2", b"2147483647 2147483647 2147483647", b"65535 65535 65535"]
    )
    kind = rng.randrange(4)
    if kind == 0:
        return _altered("mha-zlib", "ct.mha", b"DimSize = 48 40 5", b"DimSize = " + sizes)
    if kind == 1:
        return _altered("nrrd-gzip", "ct.nrrd", b"sizes: 48 40 5", b"sizes: " + sizes)
    if kind == 2:
        return _altered("mha-raw", "ct.mha", b"DimSize = 48 40 5", b"DimSize = " + sizes)
    content = bytearray(bases.nifti(hu()))
    struct.pack_into("<3h", content, 42, 32767, 32767, rng.choice([4, 32767]))
    return one("NIfTI", "ct.nii", bytes(content)) if rng.random() < 0.5 else one(
        "NIfTI", "ct.nii.gz", bases.packed(bytes(content)))  # fmt: skip


@cache
def _bomb(kind: str) -> bytes:
    """Return a valid zlib, gzip or deflate stream of 600 MB of zeros."""
    piece, count = bytes(1 << 20), 600
    stream = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    block = stream.compress(piece) + stream.flush(zlib.Z_FULL_FLUSH)
    data, length = block * count + b"\x03\x00", count << 20
    if kind == "zlib":
        return b"\x78\x9c" + data + struct.pack(">HH", length % 65521, 1)  # Adler-32 of zeros
    if kind == "gzip":
        checksum = 0
        for _ in range(count):
            checksum = zlib.crc32(piece, checksum)
        return b"\x1f\x8b\x08" + bytes(7) + data + struct.pack("<II", checksum, length)
    return data


@trait
def more_data_than_the_header_states(rng: random.Random) -> Draft:
    """A small compressed file that unpacks to 600 MB."""
    kind = rng.randrange(3)
    if kind == 0:
        header, _ = bases.meta(hu(), compressed=True)
        lines = [line for line in header.split(b"\n") if not line.startswith(b"CompressedDataSize")]
        return one("MetaImage", "ct.mha", b"\n".join(lines) + _bomb("zlib"))
    if kind == 1:
        return one("NRRD", "ct.nrrd", bases.nrrd(hu(), "gzip")[0] + _bomb("gzip"))
    content = bases.series(DeflatedExplicitVRLittleEndian)["000.dcm"]
    start = 132 + 12 + struct.unpack_from("<I", content, 140)[0]
    return one("DICOM series", "ct.dcm", content[:start] + _bomb("deflate"))


# -- DICOM -----------------------------------------------------------------------------------------------------------


def _slices(rng: random.Random, change: Callable[[Any, int], None], *, some: bool = False, signed: bool = False,
            syntax: str = ExplicitVRLittleEndian, name: str = "{:03d}.dcm") -> Draft:  # fmt: skip
    """Return a series of changed slices, all or some."""
    files = {}
    chosen = {rng.randrange(bases.SIZE[0])} if some and rng.random() < 0.5 else set(range(bases.SIZE[0]))
    for k in range(bases.SIZE[0]):
        d = bases.slice_of(hu()[k], k, signed=signed)
        if k in chosen:
            change(d, k)
        files[name.format(k)] = bases.encoded(d, syntax)
    return _draft(Base("trait", "DICOM series", files))


@trait
def pixels_too_short_or_long(rng: random.Random) -> Draft:
    kind, amount = rng.choice(["cut", "more", "columns", "rows", "fewer columns"]), rng.choice([2, 96, 1920])

    def change(d: Any, k: int) -> None:
        if kind == "cut":
            d.PixelData = d.PixelData[:-amount]
        elif kind == "more":
            d.PixelData += bytes(amount)
        elif kind == "rows":
            d.Rows += rng.choice([-1, 1])
        else:
            d.Columns += 1 if kind == "columns" else -1

    return _slices(rng, change, some=kind in ("cut", "more"))


@trait
def enhanced_pixels_too_short_or_long(rng: random.Random) -> Draft:
    d = bases.enhanced(shared=rng.random() < 0.5)
    kind = rng.choice(["cut", "more", "rows", "frames"])
    if kind == "cut":
        d.PixelData = d.PixelData[: -rng.choice([2, 96, 3840])]
    elif kind == "more":
        d.PixelData += bytes(rng.choice([2, 96, 3840]))
    elif kind == "rows":
        d.Rows += rng.choice([-1, 1])
    else:
        d.NumberOfFrames = rng.choice([1, 3, 6, 7])
    return one("DICOM multi-frame", "ct.dcm", bases.encoded(d))


@trait
def bits_above_those_stored(rng: random.Random) -> Draft:
    """Bits above BitsStored are not part of the value."""
    bits = rng.choice([0x1000, 0xF000, 0x8000])
    if rng.random() < 0.5:
        d = bases.enhanced()
        stored = np.frombuffer(d.PixelData, "<i2").view("<u2") & 0x0FFF
        d.PixelData = (stored | np.uint16(bits)).astype("<u2").tobytes()
        d.BitsStored, d.HighBit = 12, 11
        return one("DICOM multi-frame", "ct.dcm", bases.encoded(d))

    def change(d: Any, k: int) -> None:
        d.PixelData = (np.frombuffer(d.PixelData, "<u2") | np.uint16(bits)).tobytes()

    draft = _slices(rng, change, some=True, syntax=rng.choice([ExplicitVRLittleEndian, JPEG2000Lossless, RLELossless]))
    for name, content in draft.files.items():
        d = pydicom.dcmread(io.BytesIO(content))
        d.BitsStored, d.HighBit = 12, 11
        stream = io.BytesIO()
        d.save_as(stream)
        draft.files[name] = stream.getvalue()
    return draft


@trait
def padding(rng: random.Random) -> Draft:
    """Voxels outside the body hold the PixelPaddingValue, or values of its range."""
    signed = rng.random() < 0.4
    kind, value = ("<i2", -2000) if signed else ("<u2", rng.choice([63536, 4095, 3000]))
    last = value + rng.choice([0, 0, 5]) if value != 63536 else value

    def change(d: Any, k: int) -> None:
        stored = np.frombuffer(d.PixelData, kind).copy()
        outside = hu()[k].ravel() == -1000
        stored[outside] = np.where(np.arange(outside.sum()) % 2, value, last)
        d.PixelData = stored.tobytes()
        d.BitsStored, d.HighBit = 16, 15
        d.add_new("PixelPaddingValue", "SS" if signed else "US", value)
        if last != value:
            d.add_new("PixelPaddingRangeLimit", "SS" if signed else "US", last)

    draft = _slices(rng, change, signed=signed)
    draft.must_read = True
    return draft


@trait
def rescale_at_the_top_level(rng: random.Random) -> Draft:
    d = bases.enhanced(shared=rng.random() < 0.5)
    d.RescaleIntercept, d.RescaleSlope = rng.choice([(-1024, 1), (0, 2), (-1000, 1)])
    return one("DICOM multi-frame", "ct.dcm", bases.encoded(d))


@trait
def two_acquisitions(rng: random.Random) -> Draft:
    """Two acquisitions in one series: interleaved, joined end to end, or at the same positions."""
    kind = rng.choice(["interleaved", "joined", "same"])
    what = rng.choice(["number", "time", "both", "kernel"])
    shift = {"interleaved": bases.SPACING[2] / 2, "joined": bases.SPACING[2] * bases.SIZE[0], "same": 0.0}[kind]
    files = {}
    for phase in range(2):
        for k in range(bases.SIZE[0]):
            d = bases.slice_of(np.where(hu()[k] > 0, hu()[k] + 40 * phase, hu()[k]), k)
            d.SOPInstanceUID = f"{bases.ROOT}.4.{100 * phase + k}"
            d.InstanceNumber = 100 * phase + k
            d.ImagePositionPatient = [*bases.ORIGIN[:2], bases.ORIGIN[2] + k * bases.SPACING[2] + shift * phase]
            if phase and what in ("number", "both"):
                d.AcquisitionNumber = 2
            if phase and what in ("time", "both"):
                d.AcquisitionTime = d.ContentTime = "120035"
            if phase and what == "kernel":
                d.ConvolutionKernel = "B70f"
            files[f"{phase}_{k}.dcm"] = bases.encoded(d)
    return _draft(Base("trait", "DICOM series", files))


@harmless
def without_a_preamble(rng: random.Random) -> Draft:
    """Some slices begin with their first element."""
    draft = _slices(rng, lambda d, k: None, name=rng.choice(["IM{:03d}", "{:03d}.dcm"]))
    for name in list(draft.files)[-rng.randint(1, 4) :]:
        content = draft.files[name]
        draft.files[name] = content[132 + 12 + struct.unpack_from("<I", content, 140)[0] :]
    return draft


@harmless
def with_a_localizer(rng: random.Random) -> Draft:
    draft = _slices(rng, lambda d, k: None)
    d = bases.slice_of(hu()[0], 0)
    d.ImageType, d.SOPInstanceUID = ["ORIGINAL", "PRIMARY", "LOCALIZER"], f"{bases.ROOT}.4.99"
    d.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
    draft.files["scout.dcm"] = bases.encoded(d)
    return draft


@harmless
def spacing_between_slices(rng: random.Random) -> Draft:
    """SpacingBetweenSlices of 0, or negative: positions decide."""
    value = rng.choice([0, -5, 0.0, -2.5])

    def change(d: Any, k: int) -> None:
        d.SpacingBetweenSlices = value

    return _slices(rng, change)


@harmless
def reversed_names(rng: random.Random) -> Draft:
    """Names and instance numbers against the order of the positions."""
    draft = _slices(rng, lambda d, k: setattr(d, "InstanceNumber", 9 - k))
    draft.files = dict(zip(draft.files, reversed(list(draft.files.values())), strict=True))
    return draft


@harmless
def chinese_names(rng: random.Random) -> Draft:
    charset, text = rng.choice([("GB18030", "王小东"), ("ISO_IR 192", "王小东"), ("ISO_IR 100", "Müller^Jörg")])

    def change(d: Any, k: int) -> None:
        d.SpecificCharacterSet, d.PatientName, d.SeriesDescription = charset, text, text[:2]

    return _slices(rng, change)


@trait
def a_gap(rng: random.Random) -> Draft:
    """A slice of the middle is missing, or stands twice."""
    draft = _slices(rng, lambda d, k: None)
    name = f"{rng.randint(1, bases.SIZE[0] - 2):03d}.dcm"
    if rng.random() < 0.5:
        del draft.files[name]
    else:
        draft.files["copy.dcm"] = draft.files[name]
    return draft


# -- ROIs ------------------------------------------------------------------------------------------------------------


@harmless
def almost_whole_labels(rng: random.Random) -> Draft:
    off = rng.choice([0.99999999, 1.00001, 0.9995])
    content = bases.nifti(bases.tumour() * off, code=rng.choice(["<f4", "<f8"]))
    return one("NIfTI ROI", "roi.nii", content, kind="roi")


@trait
def a_probability_map(rng: random.Random) -> Draft:
    content = bases.nifti(bases.tumour() * rng.choice([0.5, 0.9, 0.99, 1.01]), code="<f4")
    return one("NIfTI ROI", "roi.nii", content, kind="roi")


@harmless
def label_255(rng: random.Random) -> Draft:
    values = bases.tumour() * np.uint8(255)
    if rng.random() < 0.5:
        return one("NIfTI ROI", "roi.nii.gz", bases.packed(bases.nifti(values, code="|u1")), kind="roi")
    return one("NRRD ROI", "roi.nrrd", b"".join(bases.nrrd(values, "gzip", code="|u1")), kind="roi")


@harmless
def sparse_seg(rng: random.Random) -> Draft:
    """A SEG with planes apart, with or without SpacingBetweenSlices."""
    d = pydicom.dcmread(io.BytesIO(bases.base("seg-sparse").files["seg.dcm"]))
    measures = d.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    kind = rng.choice(["absent", "zero", "kept"])
    if "SpacingBetweenSlices" in measures and kind == "absent":
        del measures.SpacingBetweenSlices
    elif kind == "zero":
        measures.SpacingBetweenSlices = 0
    return one("DICOM SEG", "seg.dcm", bases.encoded(d), kind="roi")


@trait
def seg_with_fewer_frames(rng: random.Random) -> Draft:
    d = pydicom.dcmread(io.BytesIO(bases.base(rng.choice(["seg-binary", "seg-fractional"])).files["seg.dcm"]))
    kind = rng.choice(["pixels", "groups", "count", "both"])
    if kind in ("pixels", "both"):
        d.PixelData = d.PixelData[: len(d.PixelData) // 4 * 2]
    if kind in ("groups", "both"):
        del d.PerFrameFunctionalGroupsSequence[-1]
    if kind == "count":
        d.NumberOfFrames = rng.choice([1, 2, 3, 5, 9])
    return one("DICOM SEG", "seg.dcm", bases.encoded(d), kind="roi")


# -- For the soak test -----------------------------------------------------------------------------------------------


def lost_intercept(rng: random.Random) -> Draft:
    """HU + 1024 with a padding of -2000: read as stored, and refused when it is staged, since this is not in HU."""
    values = np.where(hu() == -1000, -2000, hu() + 1024)
    return one("NIfTI", "ct.nii.gz", bases.packed(bases.nifti(values)))


def with_a_sparse_seg(rng: random.Random) -> Draft:
    """A series, and a SEG of every second slice."""
    draft = _draft(Base("trait", "DICOM series", {f"ct/{name}": one for name, one in bases.series().items()}, "ct"))
    draft.files["seg.dcm"] = TRAITS["sparse-seg"](rng).files["seg.dcm"]
    return draft


BROKEN: dict[str, Trait] = {
    **{
        name: TRAITS[name]
        for name in (
            "nifti-nan",
            "meta-flipped",
            "meta-list-with-missing-files",
            "pixels-too-short-or-long",
            "two-acquisitions",
            "headers-that-crash",
            "nrrd-checksum",
            "sizes-of-gigabytes",
            "data-file-that-is-no-file",
            "rescale-at-the-top-level",
        )
    },
    "lost-intercept": lost_intercept,
}
"""Traits with which a case of a batch fails."""

WHOLE: dict[str, Trait] = {
    "sparse-seg": with_a_sparse_seg,
    **{
        name: TRAITS[name]
        for name in ("nifti-slope-0", "without-a-preamble", "spacing-between-slices", "chinese-names")
    },
}
"""Traits with which a case is staged."""
