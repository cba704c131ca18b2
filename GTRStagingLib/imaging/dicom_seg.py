"""Read a segment of a DICOM SEG plane by plane, each plane at its own position.

A SEG contains only the planes that were drawn, and many writers omit the distance between them. The planes are
therefore placed on the slices of the CT, and a slice without a plane stays empty.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import SimpleITK as sitk

from GTRStagingLib.errors import GeometryError, InputError
from GTRStagingLib.imaging.dicom import frame_plane, functional_group
from GTRStagingLib.imaging.dicom_files import (
    PIXEL_DATA,
    damage_refused,
    import_dicom_package,
    inflated_whole,
    is_deflated,
)
from GTRStagingLib.imaging.dicom_references import References, of_seg
from GTRStagingLib.imaging.geometry import (
    Grid,
    ImageOrGrid,
    describe,
    direction_matrix,
    without_rounding_noise,
)
from GTRStagingLib.imaging.segments import Segment, choose_segment, empty_segment_error, in_mm
from GTRStagingLib.imaging.stack import (
    DUPLICATE_MM,
    TOLERANCE_MM,
    TOLERANCE_OF_SPACING,
    Plane,
    common_axes,
    off_slice_tolerance,
)

SEG_CLASSES = frozenset({"1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7"})
"""Segmentation Storage, Label Map Segmentation Storage."""

FRACTION = 0.5
"""Smallest probability or occupancy with which a voxel of a fractional segment belongs to the ROI."""

AFTER_PIXELS = frozenset({0xFFFAFFFA, 0xFFFCFFFC})
"""Elements that may follow the pixels: Digital Signatures Sequence, Data Set Trailing Padding."""

BIT_SYNTAXES = frozenset({"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99"})
"""Transfer syntaxes of frames of single bits: implicit and explicit little endian, deflated."""

MOST_PLANES = 4096
"""Largest number of planes, drawn or empty, of a segment on a grid of its own."""


@dataclass(frozen=True)
class DrawnPlanes:
    """Planes of a segment that have at least one voxel, in the order of their positions along their normal.

    Attributes
    ----------
    name
        Name of the file.
    planes
        Geometry of each plane; all have one orientation and pixel size.
    masks
        (P, y, x) uint8, 0 and 1.
    """

    name: str
    planes: tuple[Plane, ...]
    masks: np.ndarray

    def placed(self, ct: ImageOrGrid, *, resample: bool = False) -> sitk.Image:
        """Return a 0/1 image of the planes on the slices of the CT; pixels are those of the file.

        Parameters
        ----------
        resample
            Accept planes between the slices: then the image has the slices of the file.

        Raises
        ------
        GeometryError
            If a plane lies on no slice, and `resample` is False or the file states no even distance of its planes.
        """
        axes = common_axes(self.planes)
        axis = int(np.abs(direction_matrix(ct).T @ axes[:, 2]).argmax())
        sign = 1 if direction_matrix(ct)[:, axis] @ axes[:, 2] > 0 else -1
        step = ct.GetSpacing()[axis]
        indices = np.array([ct.TransformPhysicalPointToContinuousIndex(c)[axis] for c in self._centres(axes)])
        nearest = np.rint(indices)
        off = np.abs(indices - nearest)
        outside = (nearest < 0) | (nearest >= ct.GetSize()[axis])
        far = outside | ~(off <= off_slice_tolerance(step))  # also if a position is too large to compute
        if far.any():
            if resample:
                return self._own_image(axes)
            raise self._elsewhere(axes, ct, step, far, outside)
        rows = (sign * nearest).astype(int)
        rows -= rows.min()
        if (np.diff(rows) == 0).any():
            k = int(np.flatnonzero(np.diff(rows) == 0)[0])
            raise GeometryError(
                f"{self.name}: {self.planes[k].name} and {self.planes[k + 1].name} lie on the same slice of the CT; "
                "expected one plane per slice. Give the CT on which the ROI was drawn."
            )
        shift = (nearest[0] - indices[0]) * sign * step
        return self._image(axes, rows, step, self.planes[0].position + shift * axes[:, 2])

    def _centres(self, axes: np.ndarray) -> list[list[float]]:
        """Return the LPS mm of the middle of each plane's drawn pixels."""
        y_mm, x_mm = self.planes[0].pixel_mm
        centres = []
        for plane, mask in zip(self.planes, self.masks, strict=True):
            y, x = (np.flatnonzero(mask.any(axis=axis))[[0, -1]].mean() for axis in (1, 0))
            centres.append((plane.position + axes @ [x * x_mm, y * y_mm, 0.0]).tolist())
        return centres

    def _elsewhere(
        self, axes: np.ndarray, ct: ImageOrGrid, step: float, far: np.ndarray, outside: np.ndarray
    ) -> GeometryError:
        """Return the error for planes that are `far` from the slices; some may lie `outside` the CT."""
        number = int((outside if outside.any() else far).argmax())
        where = f"{self.planes[number].name}, centred at {in_mm(self._centres(axes)[number])}"
        if outside.all():
            return GeometryError(
                f"The ROI ({where}) has no voxel inside the CT ({describe(ct)}); expected an overlap. Check that it is "
                "the segmentation of this scan."
            )
        if outside.any():
            return GeometryError(
                f"A plane of the ROI ({where}) is outside the CT ({describe(ct)}); expected none. Give the complete "
                "scan on which the ROI was drawn."
            )
        return GeometryError(
            f"A plane of the ROI ({where}) lies on no slice of the CT ({describe(ct)}), whose slices are {step:.4g} mm "
            "apart; expected each plane on a slice. Give the scan on which the ROI was drawn, or allow "
            "nearest-neighbour resampling where that can be chosen (`resample_roi=True`)."
        )

    def _own_image(self, axes: np.ndarray) -> sitk.Image:
        """Return the planes on the even grid that the file states; planes that were not drawn are empty."""
        positions = np.array([p.position for p in self.planes]) @ axes[:, 2]
        along = positions - positions[0]
        step = self.planes[0].thickness_mm
        if not step:
            raise GeometryError(
                f"{self.name} states neither SpacingBetweenSlices nor SliceThickness; expected one, to resample its "
                "planes to other slices. Export the segmentation again with the CT as reference."
            )
        rows = np.rint(along / step)
        even = (np.abs(along - rows * step) <= max(TOLERANCE_MM, TOLERANCE_OF_SPACING * step)).all()
        if not even or (np.diff(rows) == 0).any() or rows[-1] >= MOST_PLANES:
            raise GeometryError(
                f"{self.name}: the planes are not {step:.4g} mm or a multiple apart, as the file states, but "
                f"{np.diff(along).min():.4g} to {np.diff(along).max():.4g} mm, so they cannot be resampled; "
                "expected an even distance. Export the segmentation again with the CT as reference."
            )
        return self._image(axes, rows.astype(int), step, self.planes[0].position)

    def _image(self, axes: np.ndarray, rows: np.ndarray, step: float, origin: np.ndarray) -> sitk.Image:
        """Return the image whose plane `rows[i]` is plane i, from `origin` in steps (mm) along the normal."""
        y_mm, x_mm = self.planes[0].pixel_mm.tolist()
        apart = np.array([p.position for p in self.planes]) - origin
        sideways = np.abs(apart @ axes[:, :2]).max(axis=1)
        # Positions may be rounded; beyond half a pixel, a plane would be read at another place than its own.
        if (sideways > max(TOLERANCE_MM, 0.5 * min(y_mm, x_mm))).any():
            odd = int(sideways.argmax())
            raise GeometryError(
                f"{self.name}: {self.planes[odd].name} is shifted sideways by {sideways[odd]:.2f} mm from "
                f"{self.planes[0].name}; expected planes above one another. Export the segmentation again with the CT "
                "as reference."
            )
        y, x = (np.flatnonzero(self.masks.any(axis=(0, axis))) for axis in (2, 1))
        voxels = np.zeros((int(rows[-1]) + 1, int(y[-1] - y[0]) + 1, int(x[-1] - x[0]) + 1), np.uint8)
        voxels[rows] = self.masks[:, y[0] : y[-1] + 1, x[0] : x[-1] + 1]
        corner = origin + axes @ [x[0] * x_mm, y[0] * y_mm, 0.0]
        size = (voxels.shape[2], voxels.shape[1], voxels.shape[0])
        direction = without_rounding_noise(axes.ravel())
        return Grid(size, (x_mm, y_mm, float(step)), tuple(corner.tolist()), direction).image(voxels)


def read_seg(path: Path, wanted: str | int | None) -> tuple[DrawnPlanes, Segment, References]:
    """Read the planes of the segment `wanted` of a DICOM SEG: BINARY, FRACTIONAL (from `FRACTION` on) or LABELMAP.

    Raises
    ------
    InputError
        If the file is damaged or incomplete, or the segment is missing, ambiguous or empty.
    GeometryError
        If the geometry of a plane is missing or invalid.
    """
    name = path.name
    pydicom = import_dicom_package("pydicom")
    with damage_refused(
        lambda _: f"{name} cannot be read as a DICOM SEG; expected a complete, valid file. Export or copy it again."
    ):
        with path.open("rb") as file:
            stream = inflated_whole(file, name) if is_deflated(file.read(1024)) else file
            length = stream.seek(0, os.SEEK_END)
            stream.seek(0)
            # A value longer than the file is not read: a damaged length would need memory for what is not there.
            seg = pydicom.dcmread(stream, force=True, defer_size=length)
            pixels = seg.get_item(PIXEL_DATA, keep_deferred=True)
            if pixels is not None and pixels.value is None and getattr(pixels, "length", 0) > length:
                raise EOFError("The pixel data are longer than the file.")
            # A label map may describe its background as segment 0.
            offered = [_segment(item) for item in seg.SegmentSequence if int(item.SegmentNumber) != 0]
            chosen = choose_segment(offered, wanted, name)
            _require_complete(seg, stream, name)
        planes, masks = _decoded(seg, chosen.number, name)
        if not planes:
            raise empty_segment_error(chosen, name)
        return _ordered(name, planes, np.stack(masks)), chosen, of_seg(seg, chosen.number, "the ROI", path)


def _segment(described: Any) -> Segment:
    number = int(described.SegmentNumber)
    return Segment(number, str(described.get("SegmentLabel") or number))


def _require_complete(seg: Any, file: BinaryIO, name: str) -> None:
    """Raise `InputError` unless the file has the stated number of frames, each with its position and pixels."""
    frames, described = int(seg.NumberOfFrames), len(seg.PerFrameFunctionalGroupsSequence)
    if frames != described:
        raise InputError(
            f"{name}: NumberOfFrames is {frames}, but {described} frames have a position; expected equal numbers. The "
            "file is damaged: export or copy it again."
        )
    if (samples := int(seg.SamplesPerPixel)) != 1:
        raise InputError(f"{name}: {samples} values per pixel; expected 1. Export the segmentation again.")
    pixels = seg.PixelData
    if int(seg.BitsAllocated) == 1 and seg.file_meta.TransferSyntaxUID not in BIT_SYNTAXES:
        raise InputError(
            f"{name}: single bits are stored as {seg.file_meta.TransferSyntaxUID.name}; expected no compression, and "
            "little endian. Export the segmentation uncompressed."
        )
    if seg.file_meta.TransferSyntaxUID.is_encapsulated:
        encaps = import_dicom_package("pydicom.encaps")
        stored = sum(1 for _ in encaps.generate_frames(pixels, number_of_frames=frames))
        if stored != frames:
            raise InputError(
                f"{name}: NumberOfFrames is {frames}, but the pixel data have {stored} frames; expected equal "
                "numbers. The file is damaged: export or copy it again."
            )
        return
    length = -(-frames * int(seg.Rows) * int(seg.Columns) * int(seg.BitsAllocated) // 8)
    if len(pixels) not in (length, length + length % 2):
        raise InputError(
            f"{name}: the pixel data have {len(pixels)} bytes; expected {length} for {frames} frames of "
            f"{seg.Columns}×{seg.Rows} pixels. The file is damaged: export or copy it again."
        )
    # Bytes that were inserted into the pixels push the last ones out of the element.
    behind = [tag for tag in seg.keys() if tag > PIXEL_DATA]  # noqa: SIM118 (iteration would read the values)
    if not set(behind) <= AFTER_PIXELS or not (behind or _ends_with(file, pixels)):
        raise InputError(
            f"{name}: there are bytes behind the pixel data; expected none. The file is damaged: export or copy it "
            "again."
        )


def _ends_with(file: BinaryIO, pixels: bytes) -> bool:
    file.seek(max(file.seek(0, 2) - len(pixels), 0))
    return file.read() == pixels


def _decoded(seg: Any, number: int, name: str) -> tuple[list[Plane], list[np.ndarray]]:
    """Return the planes of a segment that have voxels, and their (y, x) uint8 masks."""
    kind = str(seg.get("SegmentationType"))
    if kind not in ("BINARY", "FRACTIONAL", "LABELMAP"):
        raise InputError(
            f"{name}: SegmentationType is {kind}; expected BINARY, FRACTIONAL or LABELMAP. Export it again."
        )
    described = {int(s.SegmentNumber) for s in seg.SegmentSequence}
    if kind == "FRACTIONAL" and int(seg.MaximumFractionalValue) < 1:
        raise InputError(
            f"{name}: MaximumFractionalValue is {seg.MaximumFractionalValue}; expected 1 or more. Export it again."
        )
    frames = []
    for frame in range(int(seg.NumberOfFrames)):
        if kind != "LABELMAP":
            shown = functional_group(seg, frame, "SegmentIdentificationSequence").get("ReferencedSegmentNumber")
            if shown not in described:
                raise InputError(
                    f"{name}: frame {frame + 1} shows segment {shown}, which the file does not describe; expected "
                    f"one of {', '.join(map(str, sorted(described)))}. The file is damaged: export it again."
                )
            if shown != number:
                continue
        frames.append((frame, frame_plane(seg, frame)))  # checks the size, before a frame is decoded
    planes, masks = [], []
    for (_, plane), stored in zip(frames, _stored(seg, [frame for frame, _ in frames]), strict=True):
        if kind == "LABELMAP":
            mask = stored == number
        elif kind == "FRACTIONAL":
            if (most := int(stored.max())) > int(seg.MaximumFractionalValue):
                raise InputError(
                    f"{name}: {plane.name} has the value {most}, but MaximumFractionalValue is "
                    f"{seg.MaximumFractionalValue}; expected no value above it. Export the segmentation again."
                )
            mask = stored >= FRACTION * int(seg.MaximumFractionalValue)
        elif (most := int(stored.max())) > 1:
            raise InputError(
                f"{name}: SegmentationType is BINARY, but {plane.name} has the value {most}; expected 0 and 1. Export "
                "the segmentation again as BINARY or FRACTIONAL."
            )
        else:
            mask = stored != 0
        if mask.any():
            planes.append(plane)
            masks.append(mask.astype(np.uint8))
    return planes, masks


def _stored(seg: Any, frames: Sequence[int]) -> Iterator[np.ndarray]:
    """Yield the (y, x) stored values of frames."""
    shape = (int(seg.Rows), int(seg.Columns))
    if int(seg.BitsAllocated) != 1:
        if frames:
            pixels = import_dicom_package("pydicom.pixels")
            yield from (np.reshape(one, shape) for one in pixels.iter_pixels(seg, indices=frames, raw=True))
        return
    # Frames of single bits follow one another without gaps; pydicom decodes them only if they begin with a byte.
    count = shape[0] * shape[1]
    for first in (frame * count for frame in frames):
        part = np.frombuffer(seg.PixelData[first // 8 : -(-(first + count) // 8)], np.uint8)
        yield np.unpackbits(part, bitorder="little")[first % 8 :][:count].reshape(shape)


def _ordered(name: str, planes: Sequence[Plane], masks: np.ndarray) -> DrawnPlanes:
    """Return the planes in the order of their positions; raise `GeometryError` if two have one position."""
    along = np.array([p.position for p in planes]) @ common_axes(planes)[:, 2]
    order = np.argsort(along, kind="stable")
    same = np.flatnonzero(np.diff(along[order]) < DUPLICATE_MM)
    if same.size:
        first, second = (planes[order[int(same[0]) + i]] for i in (0, 1))
        raise GeometryError(
            f"{name}: {first.name} and {second.name} show the segment at the same position "
            f"{in_mm(first.position)}; expected one frame per plane. Export the segmentation again."
        )
    return DrawnPlanes(name, tuple(planes[i] for i in order), masks[order])


__all__ = ["FRACTION", "SEG_CLASSES", "DrawnPlanes", "read_seg"]
