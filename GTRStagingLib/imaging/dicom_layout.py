"""Read DICOM headers fast, by the byte positions that pydicom found in an earlier file of the same layout.

A header is a chain of elements, each with its length. If two files have the same bytes at all positions outside the
first one's values, their elements are the same and at the same positions, so that the values can be read without
parsing. The slices of a series differ only in the lengths of some values: of hundreds of files, a few are parsed.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, BinaryIO

import numpy as np

from GTRStagingLib.imaging.dicom_files import PIXELS, UNDEFINED

LAYOUTS = 16
"""Number of layouts kept: UIDs and numbers vary in length from slice to slice."""

LONGEST = 1 << 20
"""Longest header, in bytes, that is read at once."""

_CHARACTER_SET, _SOP_INSTANCE = 0x00080005, 0x00020003


@dataclass(frozen=True)
class Element:
    """Element of a layout: the position of its value, pydicom's raw element, and the decoded values by their bytes."""

    place: slice
    raw: Any
    encoding: Any
    convert: Callable[[bytes], Any] | None = None
    known: dict[bytes, Any] = field(default_factory=dict)

    def value(self, start: bytes) -> Any:
        """Return the value in a file that begins with `start`."""
        found = start[self.place]
        if found not in self.known:  # most values are the same in all slices
            self.known[found] = self._converted(found)
        return self.known[found]

    def _converted(self, found: bytes) -> Any:
        from pydicom.dataelem import convert_raw_data_element

        if self.convert is not None:
            return self.convert(found)
        return convert_raw_data_element(self.raw._replace(value=found), encoding=self.encoding).value


@dataclass(frozen=True, eq=False)
class Layout:
    """Layout of a header: its elements with their positions.

    Attributes
    ----------
    length
        Bytes of the header, up to the pixels.
    between, same
        Positions of all bytes outside values, with the tag of the pixels; and the bytes there.
    elements
        The requested elements, by keyword.
    """

    length: int
    between: np.ndarray
    same: bytes
    elements: dict[str, Element]

    def fits(self, begins: np.ndarray) -> bool:
        """Return whether a file with these first bytes has this layout."""
        return len(begins) > self.between[-1] and begins[self.between].tobytes() == self.same


class HeaderReader:
    """Reader of some keywords from headers, which keeps the layouts that it has found.

    Other keywords have a function of their own in `converted`, which is given the bytes: faster than pydicom, for
    values that differ from slice to slice.
    """

    def __init__(
        self, keywords: Iterable[str], converted: Mapping[str, Callable[[bytes], Any]] = MappingProxyType({})
    ) -> None:
        self._keywords, self._converted = tuple(keywords), dict(converted)
        self._layouts: list[Layout] = []
        self.reach = 1 << 14
        """Bytes from the beginning of a file that contained all headers so far."""

    def read(self, file: BinaryIO, start: bytes) -> tuple[dict[str, Any], int]:
        """Return the existing values by keyword, and the number of bytes before the pixels.

        Parameters
        ----------
        file
            A file that begins like a DICOM file; read from its beginning if necessary.
        start
            The first `reach` bytes of the file.

        Raises
        ------
        Exception
            Any exception that pydicom raises for a damaged file.
        """
        begins = np.frombuffer(start, np.uint8)
        layout = next((one for one in self._layouts if one.fits(begins)), None)
        if layout is None:
            return self._parsed(file, start)
        if layout is not self._layouts[0]:  # neighbouring slices often have the same layout
            self._layouts.remove(layout)
            self._layouts.insert(0, layout)
        values = {}
        for keyword, element in layout.elements.items():  # the same as `element.value`, without a call
            found = start[element.place]
            values[keyword] = element.known[found] if found in element.known else element.value(start)
        return values, layout.length

    def _parsed(self, file: BinaryIO, start: bytes) -> tuple[dict[str, Any], int]:
        from pydicom.datadict import tag_for_keyword
        from pydicom.dataelem import RawDataElement
        from pydicom.filereader import read_partial

        file.seek(0)
        dataset = read_partial(file, lambda tag, vr, length: int(tag) >= PIXELS, force=True)
        length = file.tell()
        raws = [dataset.file_meta.get_item(_SOP_INSTANCE), *map(dataset.get_item, dataset.keys())]
        values = {keyword: dataset[keyword].value for keyword in self._keywords if keyword in dataset}
        values |= {
            keyword: convert(raw.value or b"")
            for keyword, convert in self._converted.items()
            if isinstance(raw := dataset.get_item(tag_for_keyword(keyword)), RawDataElement)
        }
        self.reach = max(self.reach, min(length + 4, LONGEST))
        if (
            layout := _layout(raws, values, dataset.original_character_set, start, length, self._converted)
        ) is not None:
            self._layouts = [layout, *self._layouts[: LAYOUTS - 1]]
        return values, length


def text_of(value: bytes) -> str:
    """Return the bytes of a value as text, without spaces at the ends."""
    return value.decode("latin-1").strip(" \0")


def numbers_of(value: bytes) -> tuple[float, ...] | str:
    """Return the bytes of a value as numbers; as text, if they are not."""
    text = text_of(value)
    try:
        return tuple(map(float, text.split("\\")))
    except ValueError:
        return text


def _layout(
    raws: Iterable[Any],
    values: dict[str, Any],
    encoding: Any,
    start: bytes,
    length: int,
    converted: Mapping[str, Callable[[bytes], Any]],
) -> Layout | None:
    """Return the layout of a file; None without pixels, if the header exceeds `start`, or if a position is wrong."""
    from pydicom.datadict import tag_for_keyword
    from pydicom.dataelem import RawDataElement

    places = {}
    for raw in raws:
        if isinstance(raw, RawDataElement) and raw.length != UNDEFINED and raw.tag != _CHARACTER_SET:
            place = slice(raw.value_tell, raw.value_tell + raw.length)
            if start[place] != (raw.value or b""):
                return None
            places[raw.tag] = Element(place, raw, encoding)
    tags = {keyword: tag_for_keyword(keyword) for keyword in values}
    if len(start) < length + 4 or not set(tags.values()) <= places.keys():
        return None
    elements = {keyword: replace(places[tag], convert=converted.get(keyword)) for keyword, tag in tags.items()}
    between = np.ones(length + 4, dtype=bool)
    for element in places.values():
        between[element.place] = False
    for keyword, element in elements.items():
        element.known[start[element.place]] = values[keyword]
    positions = np.flatnonzero(between)
    same = np.frombuffer(start, np.uint8)[positions].tobytes()
    return Layout(length, positions, same, elements)
