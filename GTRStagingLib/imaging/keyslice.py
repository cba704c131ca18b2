"""Choose the key slice, the axial slice that shows the tumour best: by index, position, mark, or area of the ROI.

`find` is the only rule. Staging, the cache of slices, batches, the audit of images and 3D Slicer use it, so that all of
them look at the same slice of a case.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral
from typing import TYPE_CHECKING, Literal

import numpy as np
import SimpleITK as sitk

from GTRStagingLib.errors import InputError
from GTRStagingLib.imaging.geometry import (
    ImageOrGrid,
    axial_order,
    axial_size,
    slice_position_mm,
    slices_of_block,
)
from GTRStagingLib.imaging.key_objects import rejected_slices
from GTRStagingLib.support.counts import counted
from GTRStagingLib.support.given import require_type

if TYPE_CHECKING:
    from GTRStagingLib.imaging.scans import Scan

LISTED = 20
"""Largest number of slices that a message lists."""

ChosenBy = Literal["hand", "position", "key object", "tumour area", "only slice", "proposed", "confirmed"]

ByKeyObject = Literal["ko"]
"""Key slice that a key object selection marks."""

KO: ByKeyObject = "ko"

CHOICE_IN_WORDS: Mapping[ChosenBy, str] = {
    "hand": "chosen by hand",
    "position": "chosen by its position",
    "key object": "marked by a key object selection",
    "tumour area": "the slice with the largest area of the ROI",
    "only slice": "the only slice of the scan",
    "proposed": "proposed by the model: confirm it",
    "confirmed": "proposed by the model, confirmed by hand",
}


@dataclass(frozen=True)
class KeySlice:
    """Key slice of a case.

    Attributes
    ----------
    index
        Index in the axial LPS image: 0 is the slice nearest the feet.
    position_mm
        Position of the slice's centre along the body axis (S, positive towards the head).
    tumour_area_mm2
        Area of the ROI in this slice; None without an ROI.
    """

    index: int
    position_mm: float
    chosen_by: ChosenBy
    tumour_area_mm2: float | None = None


KeyChoice = KeySlice | int | ByKeyObject
"""Key slice, its index, or 'ko'."""


def find(scan: "Scan", *, mask: sitk.Image | None = None, key_slice: KeyChoice | None = None) -> KeySlice | None:
    """Return the key slice of a case, by the first of these that it has; None if it has none.

    1. the given `key_slice`;
    2. the slice with the largest area of the ROI;
    3. the slice that the name of the input tells apart from its neighbours (`Scan.key_index`);
    4. the only slice of the scan.

    Parameters
    ----------
    mask
        The ROI on the CT's voxels, whole or a block of them; the result contains its area in the slice.
    key_slice
        Slice chosen by hand or position, or its index, 0 nearest the feet, or 'ko' for the slice that a key object
        selection marks (`by_key_object`).

    Raises
    ------
    InputError
        If the scan has no such slice, or the ROI is empty.

    Examples
    --------
    The result contains the area of the ROI in each case; a pixel has 1 mm² here.

    >>> import numpy as np
    >>> from GTRStagingLib.imaging.geometry import Grid
    >>> from GTRStagingLib.imaging.keyslice import find
    >>> from GTRStagingLib.imaging.scans import scan_of
    >>> ct = Grid((2, 2, 3), (1.0, 1.0, 5.0), (0.0, 0.0, -100.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
    >>> scan = scan_of(ct.image(np.full((3, 2, 2), -1000, np.int16)), "air")
    >>> tumour = ct.image(np.array([[[0, 0], [0, 0]], [[0, 0], [0, 1]], [[1, 1], [0, 1]]], np.uint8))
    >>> find(scan, mask=tumour)
    KeySlice(index=2, position_mm=-90.0, chosen_by='tumour area', tumour_area_mm2=3.0)
    >>> find(scan, mask=tumour, key_slice=1)
    KeySlice(index=1, position_mm=-95.0, chosen_by='hand', tumour_area_mm2=1.0)
    >>> find(scan) is None
    True
    """
    ct = scan.grid
    if key_slice is None and mask is not None:
        return by_area(ct, mask)
    if key_slice is None:
        key_slice = scan.key_index
    if key_slice == KO:
        key_slice = by_key_object(scan)
    elif key_slice is not None and not isinstance(key_slice, KeySlice):
        key_slice = by_index(ct, key_slice)
    if key_slice is None and axial_size(ct)[2] == 1:
        key_slice = by_index(ct, 0, chosen_by="only slice")
    return key_slice if key_slice is None or mask is None else with_area(key_slice, ct, mask)


def choose(scan: "Scan", *, mask: sitk.Image | None = None, key_slice: KeyChoice | None = None) -> KeySlice:
    """Return the key slice of a case as `find` does, with the same parameters; a case must have one.

    Raises
    ------
    InputError
        As in `find`, and if the case has none.
    """
    found = find(scan, mask=mask, key_slice=key_slice)
    if found is None:
        raise InputError(
            f"No key slice is chosen among {axial_size(scan.grid)[2]} slices; expected the slice that shows the tumour "
            "best. Give the `key_slice`, or an ROI of the tumour (`segmentation`), or let the model propose one "
            "(`propose_key_slice`)."
        )
    return found


def by_index(ct: ImageOrGrid, index: int, *, chosen_by: ChosenBy = "hand") -> KeySlice:
    """Return the axial slice of an index; 0 is the slice nearest the feet.

    Raises
    ------
    InputError
        If the scan has no such slice, or the index is no whole number.

    Examples
    --------
    >>> from GTRStagingLib.imaging.geometry import Grid
    >>> from GTRStagingLib.imaging.keyslice import by_index
    >>> ct = Grid((2, 2, 3), (1.0, 1.0, 5.0), (0.0, 0.0, -100.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
    >>> by_index(ct, 1)
    KeySlice(index=1, position_mm=-95.0, chosen_by='hand', tumour_area_mm2=None)
    """
    slices = axial_size(ct)[2]
    require_type("key_slice", index, Integral, "the index of a slice, or a KeySlice", "Give a whole number.")
    index = int(index)  # SimpleITK takes no numbers of numpy
    if not 0 <= index < slices:
        raise InputError(
            f"Key slice {index} does not exist; expected an index from 0 (nearest the feet) to {slices - 1}. Choose a "
            "slice in that range."
        )
    return KeySlice(index, slice_position_mm(ct, index), chosen_by)


def by_position(ct: ImageOrGrid, position_mm: float) -> KeySlice:
    """Return the axial slice nearest a position along the body axis (S in mm, as in 3D Slicer's axial view).

    Raises
    ------
    InputError
        If the position is more than half a slice outside the scan.

    Examples
    --------
    The slices' centres are at -100, -95 and -90 mm: -94 mm is nearest to the second slice.

    >>> from GTRStagingLib.imaging.geometry import Grid
    >>> from GTRStagingLib.imaging.keyslice import by_position
    >>> ct = Grid((2, 2, 3), (1.0, 1.0, 5.0), (0.0, 0.0, -100.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
    >>> by_position(ct, -94.0)
    KeySlice(index=1, position_mm=-95.0, chosen_by='position', tumour_area_mm2=None)
    """
    slices = axial_size(ct)[2]
    first, last = slice_position_mm(ct, 0), slice_position_mm(ct, slices - 1)
    step = (last - first) / (slices - 1) if slices > 1 else 1.0
    index = round((position_mm - first) / step) if np.isfinite(position_mm) else -1
    if not 0 <= index < slices:
        raise InputError(
            f"Key position {position_mm:g} mm is outside the scan; expected {first:.1f} to {last:.1f} mm (towards the "
            "head), the range of the slices' centres. Give a position in that range."
        )
    return KeySlice(index, slice_position_mm(ct, index), "position")


def by_key_object(scan: "Scan") -> KeySlice:
    """Return the axial slice that a key object selection marks, in the folder of the CT or in its study beside it.

    Raises
    ------
    InputError
        Unless exactly one slice of the scan is marked, and is not rejected.
    """
    if scan.key_objects is None or scan.source is None:
        raise InputError(
            f"`key_slice` is '{KO}', a key object selection of DICOM, but the scan is {scan.format}; expected DICOM. "
            "Give the index of the `key_slice`, or the DICOM folder."
        )
    if scan.axial_index(0) is None:
        raise InputError(
            f"`key_slice` is '{KO}', but the slices of the scan are not axial, so that a marked image is no axial "
            "slice; expected axial slices. Give the index of the `key_slice`."
        )
    marking, instances = scan.key_objects.marking(), scan.source.instances()
    titles: dict[int, str] = {}
    for one in marking:
        for k in one.slices_of(scan.source, instances):
            titles.setdefault(k, one.title)
            scan.key_objects.require_patient(one)
    if not titles:
        raise scan.key_objects.elsewhere_error()
    marked = {scan.axial_index(k) or 0: title for k, title in titles.items()}
    if len(marked) > 1:
        listed = [f"{index} ('{marked[index]}')" for index in sorted(marked)]
        raise InputError(
            f"{counted(len(marking), 'key object selection')} mark{'s' if len(marking) == 1 else ''} {len(marked)} "
            f"slices of the CT: {', '.join(listed[:LISTED])}{', ...' if len(listed) > LISTED else ''}; expected one. "
            "Give one of them as `key_slice`."
        )
    (index,), (k,) = marked, titles
    if (title := rejected_slices(scan.key_objects.every, scan.source).get(k)) is not None:
        raise InputError(
            f"Slice {index} is marked as the key slice, and '{title}', by key object selections; expected a slice that "
            "may be used. Give another `key_slice`."
        )
    return by_index(scan.grid, index, chosen_by="key object")


def by_area(ct: ImageOrGrid, tumour: sitk.Image) -> KeySlice:
    """Return the axial slice with the largest area of the ROI (of equal slices, the one nearest the feet).

    Parameters
    ----------
    tumour
        On the CT's voxels, whole or a block of them.
    """
    areas = areas_mm2(ct, tumour)
    if not areas.any():
        raise InputError("The ROI is empty; expected voxels in at least one slice. Choose another segment.")
    index = int(np.argmax(areas))
    return KeySlice(index, slice_position_mm(ct, index), "tumour area", float(areas[index]))


def with_area(key: KeySlice, ct: ImageOrGrid, tumour: sitk.Image) -> KeySlice:
    """Return the key slice with the area of the ROI."""
    return KeySlice(key.index, key.position_mm, key.chosen_by, float(areas_mm2(ct, tumour)[key.index]))


def slice_distance_mm(ct: ImageOrGrid) -> float:
    """Return the distance of the acquired slices along their normal."""
    return float(ct.GetSpacing()[axial_order(ct).axes[2]])


def positions_mm(ct: ImageOrGrid) -> np.ndarray:
    """Return (slices,) mm: the positions of the axial slices' centres along the body axis, positive to the head."""
    return np.array([slice_position_mm(ct, index) for index in range(axial_size(ct)[2])])


def areas_mm2(ct: ImageOrGrid, tumour: sitk.Image) -> np.ndarray:
    """Return (slices,) mm²: the area of the ROI, on the CT's voxels or a block of them, in each axial slice."""
    covered = slices_of_block(tumour, ct, "ROI and CT")
    order, spacing = axial_order(ct), tumour.GetSpacing()
    x, y, _ = order.axes
    pixels = np.count_nonzero(sitk.GetArrayViewFromImage(tumour), axis=(2 - x, 2 - y))
    areas = np.zeros(axial_size(ct)[2])
    areas[covered.start : covered.stop] = (pixels[::-1] if order.flipped[2] else pixels) * (spacing[x] * spacing[y])
    return areas
