"""Describe DICOM files in an archive by their metadata, and fetch a file when it is opened first.

The network is not part of this room: whoever makes a `RemoteFile` gives the function that fetches it.
"""

import io
import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, BinaryIO, Literal

from GTRStagingLib.errors import InputError
from GTRStagingLib.imaging.dicom_files import begins_as_dicom, import_dicom_package

COMPARED = (
    "SOPClassUID SOPInstanceUID Rows Columns ImagePositionPatient ImageOrientationPatient PixelSpacing RescaleSlope "
    "RescaleIntercept"
)
"""Values that the metadata of a single-frame image and its file must both have: those that its voxels depend on."""

LONGEST_DECIMAL = 16
"""Most characters of a decimal number in DICOM (DS)."""

ROUNDING = 1e-6
"""Relative difference of two readings of a decimal number."""


@dataclass(frozen=True, eq=False)
class RemoteFile:
    """DICOM file in an archive.

    Attributes
    ----------
    name
        Name for messages, without identifiers.
    metadata
        DICOM JSON model of the header: elements by tag, as eight hexadecimal digits.
    fetch
        Function that returns the bytes of the file.
    """

    name: str
    metadata: Mapping[str, Any] = field(repr=False)
    fetch: Callable[[], bytes] = field(repr=False)

    @cached_property
    def header(self) -> Any:
        """Metadata as a pydicom dataset; decimal numbers as texts of files, where 5 is not 5.0."""
        dataset = import_dicom_package("pydicom").Dataset.from_json(dict(self.metadata))
        for element in dataset:
            if element.VR == "DS" and not element.is_empty:
                texts = text_of(element.value)
                if max(map(len, texts.split("\\"))) <= LONGEST_DECIMAL:
                    element.value = texts
        return dataset

    @property
    def is_fetched(self) -> bool:
        """Whether the file is in memory."""
        return "content" in self.__dict__

    @cached_property
    def content(self) -> bytes:
        """Bytes of the file, fetched on first use, and kept.

        Raises
        ------
        InputError
            If the file is not the one that the metadata describe.
        """
        content = self.fetch()
        dcmread = import_dicom_package("pydicom").dcmread
        if not begins_as_dicom(content[:132], self):
            raise InputError(
                f"{self.name}: the archive sent {len(content)} bytes that are not DICOM; expected the file of a slice. "
                "Ask the archive's operator."
            )
        sent = dcmread(io.BytesIO(content), stop_before_pixels=True, specific_tags=COMPARED.split(), force=True)
        for keyword in COMPARED.split():
            if not _same(sent.get(keyword), self.header.get(keyword)):
                raise InputError(
                    f"{self.name}: {keyword} of the file that the archive sent differs from the archive's metadata; "
                    "expected the same image. Export the series from the archive, and give its folder.",
                    details=f"{sent.get(keyword)} instead of {self.header.get(keyword)}",
                )
        return content

    def open(self, mode: Literal["rb"]) -> BinaryIO:
        """Return the file's bytes, which are fetched on first use."""
        return io.BytesIO(self.content)


def plain_metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return metadata with values only: without addresses, and without what changes where the image does not.

    Elements of other than eight hexadecimal digits are left out.
    """
    return {
        tag: element
        for tag, element in metadata.items()
        if isinstance(element, Mapping)
        and not {"BulkDataURI", "InlineBinary"} & element.keys()
        and re.fullmatch("[0-9A-Fa-f]{8}", tag)
        and tag.upper() not in _OF_THE_ARCHIVE
    }


_OF_THE_ARCHIVE = {"00080054", "00080056", "00081190", "00880130", "00880140"}
"""Retrieve AE Title, Instance Availability, Retrieve URL, storage media."""


def values_of(dataset: Any, keywords: Iterable[str], texts: Collection[str]) -> dict[str, Any]:
    """Return the values of keywords, in the types of `dicom_headers.Header`; those of `texts` as text."""
    values = dict[str, Any]()
    for keyword in keywords:
        if keyword not in dataset:
            continue
        value = dataset.get(keyword)
        if keyword in texts:
            values[keyword] = "" if value is None else text_of(value)
        elif keyword == "ImagePositionPatient" and value is not None:
            values[keyword] = tuple(map(float, value))
        elif value is not None:
            values[keyword] = value
    return values


def text_of(value: Any) -> str:
    """Return a value as DICOM text, with several parts separated by backslashes."""
    several = isinstance(value, Sequence) and not isinstance(value, str)
    return "\\".join(map(text_of, value)) if several else _number_text(value)


def _number_text(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _same(one: Any, other: Any) -> bool:
    """Return whether two values are equal; numbers within `ROUNDING`."""
    several = [list(x) if isinstance(x, Sequence) and not isinstance(x, str) else [x] for x in (one, other)]
    if len(several[0]) != len(several[1]):
        return False
    return all(
        math.isclose(a, b, rel_tol=ROUNDING, abs_tol=ROUNDING)
        if isinstance(a, int | float) and isinstance(b, int | float)
        else str(a or "") == str(b or "")
        for a, b in zip(*several, strict=True)
    )


__all__ = ["RemoteFile", "plain_metadata", "values_of"]
