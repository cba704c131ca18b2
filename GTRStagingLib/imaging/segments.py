"""Choose a segment of a segmentation by its number or name."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from GTRStagingLib.errors import InputError


class Segment(NamedTuple):
    """Segment of a file; `voxels` is None if they were not counted."""

    number: int
    label: str
    layer: int = 0
    voxels: int | None = None

    def __str__(self) -> str:
        label = "" if self.label == str(self.number) else f": {self.label}"
        return f"{self.number}{label}" + ("" if self.voxels is None else f" ({self.voxels} voxels)")


class SeveralSegmentsError(InputError):
    """Error of a file with several segments, of which none was named.

    Attributes
    ----------
    found, listing
        What was met, and the segments, for a message.
    """

    def __init__(self, found: str, listing: str) -> None:
        super().__init__(f"{found} Choose the tumour's with `segment`: {listing}.")
        self.found, self.listing = found, listing


class EmptyRoiError(InputError):
    """Error of an ROI or a segment without voxels."""


def choose_segment(offered: Sequence[Segment], wanted: str | int | None, name: str) -> Segment:
    """Return the segment with a number or label; without one, the only segment that is not empty.

    Raises
    ------
    InputError
        If the segment is missing or ambiguous, or no segment has a voxel; `name` is the file's.
    """
    listing = "; ".join(map(str, offered[:20])) + ("; ..." if len(offered) > 20 else "")
    if wanted is None:
        filled = [s for s in offered if s.voxels != 0]
        if not filled:
            raise empty_error(name)
        if len(filled) == 1:
            return filled[0]
        raise SeveralSegmentsError(f"{name} has {len(filled)} segments; expected one.", listing)
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


def empty_error(name: str) -> EmptyRoiError:
    """Return the error for an ROI without voxels; `name` is the file, or the segment in the file."""
    return EmptyRoiError(f"The ROI ({name}) is empty; expected at least one voxel. Draw it, or leave it out.")


def empty_segment_error(segment: Segment, name: str) -> EmptyRoiError:
    """Return the error for a chosen segment without voxels; `name` is the file's."""
    return empty_error(f"segment '{segment.label}' in {name}")


def in_mm(point: Iterable[float]) -> str:
    """Return a point in LPS mm as a text, as in '(-8.50, 30.25, 111.00) mm'."""
    return f"({', '.join(f'{v:.2f}' for v in point)}) mm"


__all__ = [
    "EmptyRoiError",
    "Segment",
    "SeveralSegmentsError",
    "choose_segment",
    "empty_error",
    "empty_segment_error",
    "in_mm",
]
