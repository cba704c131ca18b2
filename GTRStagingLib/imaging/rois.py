"""Read an ROI: one segment of a DICOM SEG, a Slicer segmentation or a label map, in the geometry of the file."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import SimpleITK as sitk

from GTRStagingLib.errors import GeometryError, InputError
from GTRStagingLib.imaging.dicom import frame_of_reference, functional_group
from GTRStagingLib.imaging.dicom_files import import_dicom_package
from GTRStagingLib.imaging.dicom_headers import files_below, is_dicom, read_header
from GTRStagingLib.imaging.geometry import set_direction
from GTRStagingLib.imaging.volumes import format_of, read_volume

SEG_CLASSES = frozenset({"1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7"})
"""Segmentation Storage, Label Map Segmentation Storage."""

LABELS = range(1, 2**31)
"""Valid labels of a segment in a label map; 0 is the background."""

FRACTION = 0.5
"""Smallest probability or occupancy with which a voxel of a fractional segment belongs to the ROI."""


@dataclass(frozen=True)
class Roi:
    """ROI of one segment; `mask` is uint8 0 and 1, 3-D, in the file's geometry, `segment` its name or number.

    `frame_of_reference` is the UID of a DICOM SEG's frame of reference; None if it is missing.
    """

    mask: sitk.Image
    segment: str
    frame_of_reference: str | None = field(default=None, repr=False)


class Segment(NamedTuple):
    """Segment of a file; `voxels` is None if they were not counted."""

    number: int
    label: str
    layer: int = 0
    voxels: int | None = None

    def __str__(self) -> str:
        label = "" if self.label == str(self.number) else f": {self.label}"
        return f"{self.number}{label}" + ("" if self.voxels is None else f" ({self.voxels} voxels)")


def read_roi(path: Path, *, segment: str | int | None = None) -> Roi:
    """Read an ROI.

    Parameters
    ----------
    path
        A DICOM SEG file (or a folder with exactly one), `.seg.nrrd`, or a NIfTI, NRRD or MetaImage label map.
    segment
        Number or label (ignoring case) of the segment; required only if there are several.

    Raises
    ------
    InputError
        If the file is not a mask, or the segment is missing, ambiguous or empty.
    GeometryError
        If the geometry of the file is missing or invalid.
    """
    kind = format_of(path)
    if kind == "PNG":
        raise InputError(f"{path.name} is a picture; expected a mask with a geometry. Give a DICOM SEG, NRRD or NIfTI.")
    if path.is_dir():
        path = _only_segmentation(path)
    return _read_seg(path, segment) if kind == "DICOM" else _read_label_map(path, segment)


def choose_segment(offered: Sequence[Segment], wanted: str | int | None, name: str) -> Segment:
    """Return the segment with a number or label; without one, the only segment that is not empty."""
    listing = "; ".join(map(str, offered[:20])) + ("; ..." if len(offered) > 20 else "")
    if wanted is None:
        filled = [s for s in offered if s.voxels != 0]
        if not filled:
            raise _empty(name)
        if len(filled) == 1:
            return filled[0]
        raise InputError(
            f"{name} has {len(filled)} segments; expected one. Choose the tumour's with `segment`: {listing}."
        )
    text = str(wanted).strip().casefold()
    for matches in (
        [s for s in offered if str(s.number) == text],
        [s for s in offered if s.label.strip().casefold() == text],
    ):
        if len(matches) == 1:
            return matches[0]
        if matches:
            raise InputError(
                f"Segment '{wanted}' fits {len(matches)} segments of {name}; expected one. Choose it by a unique "
                f"number or label: {listing}."
            )
    raise InputError(f"Segment '{wanted}' is not in {name}; expected one of: {listing or 'none, the file is empty'}.")


def _empty(name: str) -> InputError:
    return InputError(f"The ROI ({name}) is empty; expected at least one voxel. Draw the tumour, or omit the ROI.")


def _roi(mask: np.ndarray, label: str, name: str) -> tuple[sitk.Image, str]:
    if not mask.any():
        raise _empty(f"segment '{label}' in {name}")
    return sitk.GetImageFromArray(np.ascontiguousarray(mask, dtype=np.uint8)), label


def _only_segmentation(folder: Path) -> Path:
    found = [f for f in files_below(folder) if is_dicom(f) and read_header(f).get("SOPClassUID") in SEG_CLASSES]
    if len(found) != 1:
        names = f" ({', '.join(f.name for f in found[:5])})" if found else ""
        raise InputError(f"The folder has {len(found)} DICOM SEG files{names}; expected one. Give the file of the SEG.")
    return found[0]


def _read_seg(path: Path, wanted: str | int | None) -> Roi:
    header = read_header(path)
    kind = header.get("SOPClassUID")
    if kind not in SEG_CLASSES:
        raise InputError(
            f"{path.name} is {kind.name} ({header.get('Modality')}); expected a DICOM SEG. Export the ROI as DICOM "
            "SEG, NRRD or NIfTI (contours of an RTSTRUCT must be converted first)."
        )
    highdicom = import_dicom_package("highdicom")
    try:
        seg = highdicom.seg.segread(path)
        # A label map may describe its background as segment 0.
        offered = [Segment(int(s.SegmentNumber), str(s.SegmentLabel)) for s in seg.SegmentSequence]
        offered = [s for s in offered if s.number != 0]
    except Exception as error:  # a damaged file can raise any kind
        raise InputError(
            f"{path.name} cannot be read as a DICOM SEG; expected a complete, valid file. Export or copy it again."
        ) from error
    chosen = choose_segment(offered, wanted, path.name)
    # Planes without a frame are empty. Positions rounded by the writer may differ by 2 % of a step.
    if seg.get_volume_geometry(rtol=0.02) is None:
        raise GeometryError(
            f"{path.name}: the frames do not form an even, upright stack; expected the planes of one CT series. "
            "Export the segmentation again with the CT as reference."
        )
    try:
        volume = seg.get_volume(segment_numbers=[chosen.number], rtol=0.02)
    except Exception as error:  # each decoder raises its own kinds
        raise InputError(
            f"{path.name}: the frames cannot be decoded; expected a complete, valid file. Export or copy it again."
        ) from error
    mask = volume.array[..., 0] >= FRACTION if volume.array.dtype.kind == "f" else volume.array[..., 0] > 0
    axes, origin, spacing = volume.direction[:, ::-1], np.array(volume.position), list(volume.spacing[::-1])
    if len(mask) == 1:
        measures = functional_group(seg, 0, "PixelMeasuresSequence")
        spacing[2] = float(measures.get("SpacingBetweenSlices") or measures.get("SliceThickness") or spacing[2])
    if np.linalg.det(axes) < 0:  # make the axes right-handed, as in all other images
        mask, origin = mask[::-1], origin + axes[:, 2] * spacing[2] * (len(mask) - 1)
        axes = axes * [1, 1, -1]
    image, label = _roi(mask, chosen.label, path.name)
    image.SetSpacing([float(s) for s in spacing])
    image.SetOrigin(origin.tolist())
    set_direction(image, axes.ravel())
    return Roi(image, label, frame_of_reference(header))


def _read_label_map(path: Path, wanted: str | int | None) -> Roi:
    image, _ = read_volume(path)
    stored = sitk.GetArrayViewFromImage(image)
    described = _slicer_segments(image, path.name)
    if image.GetNumberOfComponentsPerPixel() == 1:
        layers = stored[np.newaxis]
    elif described:
        layers = np.moveaxis(stored, -1, 0)
    else:
        raise InputError(
            f"{path.name} has {image.GetNumberOfComponentsPerPixel()} values per voxel; expected one label. Save the "
            "ROI as a label map."
        )
    found = {
        (layer, number): count for layer, labels in enumerate(layers) for number, count in _count(labels, path.name)
    }
    offered = [s._replace(voxels=found.pop((s.layer, s.number), 0)) for s in described]
    offered += [Segment(number, str(number), layer, count) for (layer, number), count in found.items()]
    chosen = choose_segment(offered, wanted, path.name)
    mask, label = _roi(layers[chosen.layer] == chosen.number, chosen.label, path.name)
    mask.CopyInformation(image)
    return Roi(mask, label)


def _count(labels: np.ndarray, name: str) -> list[tuple[int, int]]:
    """Return the non-zero labels of a (z, y, x) map, each with its number of voxels."""
    if labels.min() < 0:
        raise InputError(
            f"{name} has negative values (lowest {labels.min():g}); expected labels from 0. It seems to be the CT: "
            "give the mask."
        )
    values, counts = np.unique(labels[labels != 0], return_counts=True)
    whole = np.isfinite(values) & (values == np.rint(values))
    if not whole.all():
        raise InputError(
            f"{name} has values that are not labels ({values[~whole][0]:g}); expected whole numbers. Give a mask; "
            "apply a threshold to a probability map first."
        )
    return [(int(v), int(n)) for v, n in zip(values, counts, strict=True)]


def _slicer_segments(image: sitk.Image, name: str) -> list[Segment]:
    """Return the segments of a `.seg.nrrd`; before Slicer 4.11 each had its own layer, with label 1."""
    keys = set(image.GetMetaDataKeys())
    layers = image.GetNumberOfComponentsPerPixel()

    def text_of(number: int, what: str, default: int | str) -> str:
        key = f"Segment{number}_{what}"
        return str(image.GetMetaData(key)) if key in keys else str(default)

    def number_of(number: int, what: str, default: int, allowed: range) -> int:
        text = text_of(number, what, default)
        if not text.strip().isdecimal() or int(text) not in allowed:
            raise InputError(
                f"{name}: Segment{number}_{what} is '{text}'; expected a whole number from {allowed[0]} to "
                f"{allowed[-1]}. Save the segmentation again in Slicer, or give a label map."
            )
        return int(text)

    names = (re.fullmatch(r"Segment(\d+)_Name", key) for key in keys)
    numbers = sorted(int(match[1]) for match in names if match)
    return [
        Segment(
            number=number_of(i, "LabelValue", 1, LABELS),
            label=text_of(i, "Name", i),
            layer=number_of(i, "Layer", i if layers > 1 else 0, range(layers)),
        )
        for i in numbers
    ]
