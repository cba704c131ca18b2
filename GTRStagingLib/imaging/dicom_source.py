"""Find the images that the slices of a DICOM scan were read from, so that results can refer to them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from GTRStagingLib.errors import InputError

HeaderReading = Callable[[Sequence[int], Sequence[str] | None], Sequence[Any]]
"""Function from the indices of acquired slices, and keywords (None for all), to a pydicom header for each slice."""


@dataclass(frozen=True)
class DicomSource:
    """Images of the acquired slices of a scan.

    Slices are counted along the scan's third axis, as stored; `imaging.geometry.axial_window` converts axial indices.

    Attributes
    ----------
    count
        Number of slices.
    read
        Function that reads headers without pixels; of a multi-frame file, the same header for each of its slices.
    frames
        For each slice its number in the multi-frame file, from 1; None for single-frame images.
    """

    count: int
    read: HeaderReading = field(repr=False)
    frames: tuple[int, ...] | None = None

    def headers(self, indices: Iterable[int]) -> list[Any]:
        """Return the whole headers of slices, as pydicom datasets without pixels.

        Raises
        ------
        InputError
            If a file cannot be read, or is another image than when the scan was read.
        """
        return list(self.read(list(indices), None))

    def instances(self) -> tuple[str, ...]:
        """Return the SOP Instance UID of each slice; of a multi-frame file, the same for all.

        Raises
        ------
        InputError
            If an image has none.
        """
        found = [str(one.get("SOPInstanceUID") or "") for one in self.read(range(self.count), ["SOPInstanceUID"])]
        if "" in found:
            raise InputError(
                f"Slice {found.index('')} of the CT has no SOP Instance UID; expected one in every image. Export the "
                "series again from the archive."
            )
        return tuple(found)


__all__ = ["DicomSource", "HeaderReading"]
