"""Read which CT series and images a DICOM object refers to, and find them among the series of a folder.

A reference is a help, not a measurement: a damaged or missing one is as none. Where a choice depends on it, the choice
is refused.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from GTRStagingLib.imaging.dicom_files import DicomFile
from GTRStagingLib.imaging.dicom_headers import DicomSeries, SeveralSeriesError, choose_series, whole_header
from GTRStagingLib.support.counts import counted

OWN_MODEL = "GTR Staging"
"""Manufacturer's Model Name of the objects that this software writes: they are results, and no input."""


@dataclass(frozen=True)
class References:
    """Series and images that a DICOM object refers to.

    Attributes
    ----------
    what
        Name of the object in messages, as in "the ROI".
    files
        Files of the object; no other file of their folder.
    series
        UIDs of the series; empty if none is named.
    images
        SOP Instance UIDs of the images of these series; empty if none is named.
    drawn
        SOP Instance UIDs of the images on which the chosen segment itself was drawn; empty if none is named.
    """

    what: str
    files: tuple[DicomFile, ...] = field(repr=False)
    series: frozenset[str] = field(default=frozenset(), repr=False)
    images: frozenset[str] = field(default=frozenset(), repr=False)
    drawn: frozenset[str] = field(default=frozenset(), repr=False)

    def __bool__(self) -> bool:
        return bool(self.series or self.images or self.drawn)

    def among(self, offered: Iterable[DicomSeries]) -> list[DicomSeries]:
        """Return the series, or parts of a series, that are referred to.

        The images decide, if any is named: a series may be divided into parts, and the object may name series on which
        it was not drawn. Their files are read for it.
        """
        near = [one for one in offered if not self.series or one.uid in self.series]
        if not (self.drawn or self.images):
            return near if self.series else []
        for images in (self.drawn, self.images):
            if images and (found := [one for one in near if not images.isdisjoint(images_of(one))]):
                return found
        return []

    def include(self, one: DicomSeries) -> bool:
        """Return whether a series is referred to; its files are read only if its UID does not tell."""
        if len(self.series) == 1 and one.part is None:
            return one.uid in self.series
        return bool(self.among([one]))

    def in_words(self, offered: Sequence[DicomSeries]) -> str:
        """Return what is referred to, as a clause for an error about the CT series that a folder offers."""
        if not self:
            return f"{self.what} names no CT series"
        if found := self.among(offered):
            return f"{self.what} refers to {len(found)} of them ({', '.join(one.label for one in found)})"
        images = counted(len(self.images or self.drawn), "image") if self.images or self.drawn else ""
        series = counted(len(self.series), "series", "series") if self.series else ""
        return f"{self.what} refers to none of them, but to {' of '.join(filter(None, (images, series)))} elsewhere"

    @property
    def details(self) -> str:
        """UIDs that are referred to, for the person at this machine."""
        listed = sorted(self.series) or sorted(self.images or self.drawn)
        shown = ", ".join(listed[:5]) + (", ..." if len(listed) > 5 else "")
        return f"\n  {self.what} refers to {'series' if self.series else 'images'} {shown}" if listed else ""


def choose_referred(
    found: Sequence[DicomSeries],
    wanted: str | None,
    referring: Sequence[References],
    marked: Callable[[], References] | None = None,
) -> tuple[DicomSeries, tuple[str, ...]]:
    """Choose a CT series as `choose_series` does, and among several without `wanted` by what refers to one of them.

    Parameters
    ----------
    referring
        References of objects that were drawn on the CT; the first that has any decides.
    marked
        Function that returns further references, if those have none.

    Returns
    -------
    The series, and warnings: that it was chosen so, or that an object was drawn on another one.

    Raises
    ------
    InputError
        As `choose_series`; if there are several, with what is referred to.
    """
    notes: tuple[str, ...] = ()
    try:
        chosen = choose_series(found, wanted)
    except SeveralSeriesError as several:
        by = next((one for one in referring if one), None) or (marked() if marked else None)
        if by is None and not referring:
            raise
        by = by or referring[0]
        fitting = by.among(several.scans)
        if len(fitting) != 1:
            raise SeveralSeriesError(several.scans, by.in_words(several.scans), by.details) from several
        chosen = fitting[0]
        name = f"({chosen.n_slices} slices, without a number)" if chosen.number is None else chosen.label
        notes = (f"CT series {name} chosen: {by.what} refers to it.",)
    return chosen, (*notes, *elsewhere_warnings(chosen, referring))


def elsewhere_warnings(chosen: DicomSeries, referring: Iterable[References]) -> Iterator[str]:
    """Yield a warning for each object that was drawn on another series than the chosen one."""
    for one in referring:
        if one and not one.include(chosen):
            yield (
                f"{one.what[0].upper()}{one.what[1:]} refers to another CT series than the one that was read; it was "
                "placed by its coordinates."
            )


def images_of(series: DicomSeries) -> frozenset[str]:
    """Return the SOP Instance UIDs of a series, as far as its files have one."""
    headers = (whole_header(path, ["SOPInstanceUID"]) for path in series.files)
    return frozenset(uid for one in headers if (uid := uid_of(one, "SOPInstanceUID")))


def of_seg(seg: Any, number: int, what: str, file: Path) -> References:
    """Return the references of a segment of a DICOM SEG, from its whole dataset.

    Source: DICOM PS3.3 C.8.20.2 (Common Instance Reference) and C.7.6.16.2.6 (Derivation Image).
    """
    series, images = _listed(items_of(seg, "ReferencedSeriesSequence"), "ReferencedInstanceSequence")
    groups = items_of(seg, "PerFrameFunctionalGroupsSequence")
    shown = [one for one in groups if _shows(one, number)]
    drawn = frozenset(
        uid
        for group in (*shown, *items_of(seg, "SharedFunctionalGroupsSequence"))
        for derivation in items_of(group, "DerivationImageSequence")
        for uid in _uids(items_of(derivation, "SourceImageSequence"), "ReferencedSOPInstanceUID")
    )
    return References(what, (file,), series, images, drawn)


def of_rtstruct(header: Any, number: int, what: str, file: Path) -> References:
    """Return the references of an ROI of an RTSTRUCT, from its whole header.

    Source: DICOM PS3.3 C.8.8.5 (Structure Set) and C.8.8.6 (ROI Contour).
    """
    listed = [
        one
        for frame in items_of(header, "ReferencedFrameOfReferenceSequence")
        for study in items_of(frame, "RTReferencedStudySequence")
        for one in items_of(study, "RTReferencedSeriesSequence")
    ]
    series, images = _listed(listed, "ContourImageSequence")
    drawn = frozenset(
        uid
        for roi in items_of(header, "ROIContourSequence")
        if str(value_of(roi, "ReferencedROINumber")) == str(number)
        for contour in items_of(roi, "ContourSequence")
        for uid in _uids(items_of(contour, "ContourImageSequence"), "ReferencedSOPInstanceUID")
    )
    return References(what, (file,), series, images, drawn)


def is_own(header: Any) -> bool:
    """Return whether this software wrote a DICOM object."""
    return str(value_of(header, "ManufacturerModelName") or "").strip() == OWN_MODEL


def _listed(items: Iterable[Any], instances: str) -> tuple[frozenset[str], frozenset[str]]:
    """Return the UIDs of series, and of their images, which each item lists in the sequence `instances`."""
    every = list(items)
    images = (uid for one in every for uid in _uids(items_of(one, instances), "ReferencedSOPInstanceUID"))
    return frozenset(_uids(every, "SeriesInstanceUID")), frozenset(images)


def _shows(group: Any, number: int) -> bool:
    """Return whether a frame shows a segment, or may show it: frames of a label map do not tell."""
    shown = [value_of(one, "ReferencedSegmentNumber") for one in items_of(group, "SegmentIdentificationSequence")]
    return shown in ([], [number])


def _uids(items: Iterable[Any], keyword: str) -> Iterator[str]:
    return (uid for one in items if (uid := uid_of(one, keyword)))


def value_of(dataset: Any, keyword: str) -> Any:
    """Return a value of a pydicom dataset; None if it is missing or has a form that pydicom does not read."""
    try:
        return dataset.get(keyword)
    except Exception:  # a damaged value can raise any kind
        return None


def items_of(dataset: Any, keyword: str) -> list[Any]:
    """Return the items of a sequence of a pydicom dataset; empty if it is missing, empty or no sequence."""
    value = value_of(dataset, keyword)
    if value is None or isinstance(value, str | bytes | int | float):
        return []
    try:
        return [one for one in value if hasattr(one, "get")]
    except Exception:  # a damaged item can raise any kind
        return []


def uid_of(dataset: Any, keyword: str) -> str:
    """Return a UID of a pydicom dataset; empty if it is missing or not one text."""
    value = value_of(dataset, keyword)
    return value.strip("\0 ") if isinstance(value, str) else ""


__all__ = [
    "OWN_MODEL",
    "References",
    "choose_referred",
    "elsewhere_warnings",
    "images_of",
    "is_own",
    "items_of",
    "of_rtstruct",
    "of_seg",
    "uid_of",
    "value_of",
]
