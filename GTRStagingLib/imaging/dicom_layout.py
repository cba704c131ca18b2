"""Where the values of DICOM headers lie: what pydicom found in one file holds for all files that were written alike.

A header is a chain of elements, each of which says how long it is. If two files have the same bytes wherever the first
has no value, their elements are the same ones at the same places, and the values can be taken without parsing again.
The slices of a series are alike but for the lengths of some of their values: of hundreds of files, a few are parsed.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np

PIXELS = 0x7FE00000
"""The tag from which on a file's pixels come."""

LAYOUTS = 16
"""Kept at a time: UIDs and numbers vary in length from slice to slice, each by itself."""

LONGEST = 1 << 20
"""Bytes of a header up to which it is read at once."""

_CHARACTER_SET, _SOP_INSTANCE = 0x00080005, 0x00020003
_UNDEFINED = 0xFFFFFFFF


@dataclass(frozen=True)
class Element:
    """An element of a layout: where its value's bytes lie, pydicom's raw element, and what bytes were found to say."""

    place: slice
    raw: Any
    encoding: Any
    known: dict[bytes, Any] = field(default_factory=dict)

    def value(self, start: bytes) -> Any:
        """The value in a file that begins so."""
        found = start[self.place]
        if found not in self.known:  # most are the same in all slices
            from pydicom.dataelem import convert_raw_data_element

            self.known[found] = convert_raw_data_element(self.raw._replace(value=found), encoding=self.encoding).value
        return self.known[found]


@dataclass(frozen=True, eq=False)
class Layout:
    """One way in which headers are written.

    Attributes
    ----------
    length
        Of the header, up to the pixels.
    between, same
        The positions of all bytes that belong to no value, the pixels' tag included; and what stands there.
    elements
        Those that were asked for, by keyword.
    """

    length: int
    between: np.ndarray
    same: bytes
    elements: dict[str, Element]

    def fits(self, begins: np.ndarray) -> bool:
        """Whether a file with these first bytes is written in this way."""
        return len(begins) > self.between[-1] and begins[self.between].tobytes() == self.same


class HeaderReader:
    """Reads the values of some keywords from headers, and remembers how those were written."""

    def __init__(self, keywords: Iterable[str]) -> None:
        self._keywords = tuple(keywords)
        self._layouts: list[Layout] = []
        self.reach = 1 << 14
        """Bytes from the beginning of a file in which its header lies, as far as is known."""

    def read(self, file: BinaryIO, start: bytes) -> tuple[dict[str, Any], int]:
        """Values by keyword, those that are there; and how many bytes come before the pixels.

        Parameters
        ----------
        file
            A file that begins as DICOM files do; read from its beginning where that is needed.
        start
            Its first `reach` bytes.

        Raises
        ------
        Exception
            Whatever a damaged file makes pydicom raise.
        """
        begins = np.frombuffer(start, np.uint8)
        layout = next((one for one in self._layouts if one.fits(begins)), None)
        if layout is None:
            return self._parsed(file, start)
        if layout is not self._layouts[0]:  # neighbours are often alike
            self._layouts.remove(layout)
            self._layouts.insert(0, layout)
        return {keyword: element.value(start) for keyword, element in layout.elements.items()}, layout.length

    def _parsed(self, file: BinaryIO, start: bytes) -> tuple[dict[str, Any], int]:
        from pydicom.filereader import read_partial

        file.seek(0)
        dataset = read_partial(file, lambda tag, vr, length: int(tag) >= PIXELS)
        length = file.tell()
        raws = [dataset.file_meta.get_item(_SOP_INSTANCE), *map(dataset.get_item, dataset.keys())]
        values = {keyword: dataset[keyword].value for keyword in self._keywords if keyword in dataset}
        self.reach = max(self.reach, min(length + 4, LONGEST))
        if (layout := _layout(raws, values, dataset.original_character_set, start, length)) is not None:
            self._layouts = [layout, *self._layouts[: LAYOUTS - 1]]
        return values, length


def _layout(raws: Iterable[Any], values: dict[str, Any], encoding: Any, start: bytes, length: int) -> Layout | None:
    """How a file was written, if it has pixels, its header whole in `start`, and each value where pydicom says."""
    from pydicom.datadict import tag_for_keyword
    from pydicom.dataelem import RawDataElement

    places = {}
    for raw in raws:
        if isinstance(raw, RawDataElement) and raw.length != _UNDEFINED and raw.tag != _CHARACTER_SET:
            place = slice(raw.value_tell, raw.value_tell + raw.length)
            if start[place] != (raw.value or b""):
                return None
            places[raw.tag] = Element(place, raw, encoding)
    asked = {keyword: tag_for_keyword(keyword) for keyword in values}
    if len(start) < length + 4 or not set(asked.values()) <= places.keys():
        return None
    elements = {keyword: places[tag] for keyword, tag in asked.items()}
    between = np.ones(length + 4, dtype=bool)
    for element in places.values():
        between[element.place] = False
    for keyword, element in elements.items():
        element.known[start[element.place]] = values[keyword]
    positions = np.flatnonzero(between)
    same = np.frombuffer(start, np.uint8)[positions].tobytes()
    return Layout(length, positions, same, elements)


__all__ = ["LAYOUTS", "PIXELS", "HeaderReader", "Layout"]
