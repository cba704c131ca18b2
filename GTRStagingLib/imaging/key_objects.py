"""Read key object selections: the slices that a reader has marked in an archive, and those that were rejected there.

Their title tells what they mark. One with a rejection title names images that must not be used; the manifests of an
archive list images without marking any; every other title marks key images.

Source: DICOM PS3.3 A.35.4 and C.17.6 (Key Object Selection), PS3.16 TID 2010 and CID 7010 (titles); the rejections are
those of IHE RAD TF-1, Imaging Object Change Management.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from GTRStagingLib.errors import InputError, printable
from GTRStagingLib.imaging.dicom_files import DicomFile, damage_refused
from GTRStagingLib.imaging.dicom_headers import files_below, is_dicom, read_header, whole_header
from GTRStagingLib.imaging.dicom_references import References, is_own, items_of, uid_of, value_of
from GTRStagingLib.imaging.dicom_source import DicomSource
from GTRStagingLib.support.counts import counted

KEY_OBJECT = "1.2.840.10008.5.1.4.1.1.88.59"
"""Key Object Selection Document Storage."""

WHAT = "the key object selection"

REJECTIONS: Mapping[str, str] = {
    "113001": "Rejected for Quality Reasons",
    "113037": "Rejected for Patient Safety Reasons",
    "113038": "Incorrect Modality Worklist Entry",
    "113039": "Data Retention Policy Expired",
}
"""Titles (codes of DCM) of images that must not be used."""

NO_MARKS = frozenset({"113010", "113022", "113030", "113031", "113032", "113033", "113034", "113035"})
"""Titles (codes of DCM) that mark no key image: Quality Issue, Collection of Presentation States, and lists of all
content, such as a manifest."""

LONGEST = 64
"""Largest length of a title, and of the meaning of a code in DICOM."""

MOST_BESIDE = 2000
"""Largest number of files beside the folder of the CT that are searched."""


class MarkedImage(NamedTuple):
    """Image that a key object selection refers to; without `frames`, all frames of it."""

    uid: str
    frames: frozenset[int] = frozenset()


@dataclass(frozen=True)
class KeyObject:
    """Key object selection.

    Attributes
    ----------
    title
        Meaning of the code of its title.
    code
        Value of that code, if it is of the scheme DCM; else empty.
    uid, study, patient
        SOP Instance UID, Study Instance UID and Patient ID; empty if they are missing.
    series
        UIDs of the series of its images.
    images
        Images that it refers to.
    """

    file: DicomFile = field(repr=False)
    title: str
    code: str
    uid: str = field(repr=False)
    study: str = field(repr=False)
    patient: str = field(repr=False)
    series: frozenset[str] = field(repr=False)
    images: tuple[MarkedImage, ...] = field(repr=False)

    @property
    def rejects(self) -> bool:
        """Whether its images must not be used."""
        return self.code in REJECTIONS

    @property
    def marks(self) -> bool:
        """Whether its images are key images."""
        return not self.rejects and self.code not in NO_MARKS

    def slices_of(self, source: DicomSource, instances: Sequence[str]) -> list[int]:
        """Return the indices of the acquired slices that are referred to; `instances` are those of the source."""
        at: dict[str, list[int]] = {}
        for k, uid in enumerate(instances):
            at.setdefault(uid, []).append(k)
        frames = source.frames
        found = {
            k
            for image in self.images
            for k in at.get(image.uid, ())
            if frames is None or not image.frames or frames[k] in image.frames
        }
        return sorted(found)


@dataclass(frozen=True)
class KeyObjects:
    """Key object selections of a CT: those in its folder, and those beside it, which are read on demand.

    Attributes
    ----------
    path
        The DICOM folder or file of the CT; None if it is in an archive, where nothing lies beside it.
    files
        Files of key object selections in the folder, or of the study in the archive.
    patient, study, series
        Patient ID, Study Instance UID and Series Instance UID of the CT; empty if they are missing.
    """

    path: Path | None = field(repr=False)
    files: tuple[DicomFile, ...] = field(repr=False)
    patient: str = field(default="", repr=False)
    study: str = field(default="", repr=False)
    series: str = field(default="", repr=False)

    @cached_property
    def inside(self) -> "ReadObjects":
        """Selections in the folder."""
        return read_key_objects(self.files)

    @cached_property
    def every(self) -> tuple[KeyObject, ...]:
        """Selections in the folder; if none of these marks key images, also those of the study beside it.

        Raises
        ------
        InputError
            If a file of the folder cannot be read as a key object selection.
        """
        if self.inside.errors:
            raise self.inside.errors[0]
        if self.path is None or any(one.marks for one in self.inside.found):
            return self.inside.found
        beside = [one for one in files_beside(self.path)[:MOST_BESIDE] if _is_key_object(one)]
        same = [one for one in read_key_objects(beside).found if self._of_study(one)]
        return in_force([*self.inside.found, *same])

    def _of_study(self, one: KeyObject) -> bool:
        return not self.study or not one.study or one.study == self.study

    def marking(self) -> tuple[KeyObject, ...]:
        """Return the selections that mark key images, in the folder of the CT or beside it.

        Raises
        ------
        InputError
            If there are none, or a file of the folder cannot be read as a key object selection.
        """
        if found := tuple(one for one in self.every if one.marks):
            return found
        remedy = "Give the folder of the study, or the index of the `key_slice`."
        if self.every:
            raise InputError(
                f"{counted(len(self.every), 'key object selection')} ({titles_of(self.every)}) marked no key image; "
                f"expected one that marks the key slice. {remedy}"
            )
        if self.path is None:
            raise InputError(
                "The study in the archive has no key object selection; expected one that marks the key slice. Mark it "
                "there, or give the index of the `key_slice`."
            )
        files = len(files_beside(self.path))
        beside = "beside it" if files <= MOST_BESIDE else f"among {MOST_BESIDE:,} of {files:,} files beside it"
        raise InputError(
            f"No key object selection was found in the folder of the CT or {beside}; expected one that marks the key "
            f"slice. {remedy}"
        )

    def references(self) -> References:
        """Return the series and images that are marked as key images; errors are those of `marking`."""
        key = self.marking()
        return References(
            WHAT,
            tuple(one.file for one in key),
            frozenset(uid for one in key for uid in one.series),
            frozenset(image.uid for one in key for image in one.images),
        )

    def require_patient(self, one: KeyObject) -> None:
        """Raise `InputError` if a selection names another patient than the CT."""
        if self.patient and one.patient and one.patient != self.patient:
            raise InputError(
                f"The key object selection '{one.title}' refers to the CT, but names another patient; expected that of "
                "the CT. Check whose it is, and give the index of the `key_slice`.",
                details=f"Patient ID {one.patient}; of the CT: {self.patient}",
            )

    def elsewhere_error(self) -> InputError:
        """Return the error for selections that mark no slice of the CT."""
        key = self.marking()
        places = ", ".join(dict.fromkeys(map(self._place, key)))
        return InputError(
            f"{counted(len(key), 'key object selection')} ({titles_of(key)}) marked no slice of this CT, but {places}; "
            "expected one slice of it. Give the `series` that was marked, or the index of the `key_slice`.",
            details="".join(f"\n  '{one.title}': series {', '.join(sorted(one.series)) or 'not named'}" for one in key),
        )

    def _place(self, one: KeyObject) -> str:
        """Return where the images of a selection are that marks no slice of the CT."""
        if self.study and one.study and one.study != self.study:
            return "images of another study"
        if self.series and one.series and self.series not in one.series:
            return "images of another series"
        return "images that are not here"


class ReadObjects(NamedTuple):
    """Key object selections that were read and are in force, and the errors of those that could not be read."""

    found: tuple[KeyObject, ...]
    errors: tuple[InputError, ...]


def read_key_objects(files: Iterable[DicomFile]) -> ReadObjects:
    """Read key object selections, copies once, without those that this software wrote: these are results."""
    read, errors = dict[str, KeyObject](), list[InputError]()
    for path in files:
        try:
            if (one := read_key_object(path)) is not None:
                read[one.uid or str(path)] = one
        except InputError as error:
            errors.append(error)
    return ReadObjects(in_force(list(read.values())), tuple(errors))


def in_force(found: Sequence[KeyObject]) -> tuple[KeyObject, ...]:
    """Return the selections that no other one rejects."""
    withdrawn = {image.uid for one in found if one.rejects for image in one.images}
    return tuple(one for one in found if one.uid not in withdrawn)


def titles_of(found: Iterable[KeyObject]) -> str:
    """Return the different titles of selections, as in "'Of Interest', 'For Surgery'"."""
    return ", ".join(dict.fromkeys(f"'{one.title}'" for one in found))


def read_key_object(path: DicomFile) -> KeyObject | None:
    """Read a key object selection; return None for one that this software wrote, which is a result.

    Raises
    ------
    InputError
        If it has no title or refers to no images.
    """
    header = whole_header(path)
    if is_own(header):
        return None
    with damage_refused(
        lambda error: (
            f"{path.name}: a value of the key object selection has an unexpected form ({type(error).__name__}); "
            "expected a valid one. Export it again, or move it elsewhere."
        )
    ):
        return _key_object(path, header)


def _key_object(path: DicomFile, header: Any) -> KeyObject:
    titles = items_of(header, "ConceptNameCodeSequence")
    code = str(value_of(titles[0], "CodeValue") or "").strip() if titles else ""
    if not code:
        raise InputError(
            f"{path.name}: the key object selection has no title; expected one, which tells key images from rejected "
            "ones. Export it again, or move it elsewhere."
        )
    of_dicom = value_of(titles[0], "CodingSchemeDesignator") == "DCM"
    meaning = " ".join(str(value_of(titles[0], "CodeMeaning") or "").split())[:LONGEST]
    images = [
        MarkedImage(uid, _frames(one, path.name))
        for item in items_of(header, "ContentSequence")
        for one in items_of(item, "ReferencedSOPSequence")
        if (uid := uid_of(one, "ReferencedSOPInstanceUID"))
    ]
    if not images:
        raise InputError(
            f"{path.name}: the key object selection refers to no image; expected at least one. Export it again, or "
            "move it elsewhere."
        )
    evidence = [
        uid
        for study in items_of(header, "CurrentRequestedProcedureEvidenceSequence")
        for series in items_of(study, "ReferencedSeriesSequence")
        if (uid := uid_of(series, "SeriesInstanceUID"))
    ]
    return KeyObject(
        file=path,
        title=printable(meaning or (REJECTIONS.get(code) if of_dicom else None) or code[:LONGEST]),
        code=code if of_dicom else "",
        uid=uid_of(header, "SOPInstanceUID"),
        study=uid_of(header, "StudyInstanceUID"),
        patient=str(value_of(header, "PatientID") or "").strip(),
        series=frozenset(evidence),
        images=tuple(images),
    )


def _frames(item: Any, name: str) -> frozenset[int]:
    """Return the numbers of the frames of a reference; empty for all."""
    stated = value_of(item, "ReferencedFrameNumber")
    several = [stated] if isinstance(stated, str | int) else list(stated or ())
    frames = frozenset(int(one) for one in several if one not in (None, ""))
    if any(one < 1 for one in frames):
        raise InputError(f"{name}: it refers to frame {min(frames)}; expected frames from 1. Export it again.")
    return frames


def files_beside(path: Path) -> list[Path]:
    """Return the files beside a CT: in the folder above it, and in the folders next to it, but not in their folders."""
    above, own = path.absolute().parent, path.resolve()
    folders = [above, *(one for one in _entries(above, Path.is_dir) if one.resolve() != own)]  # a link may lead to it
    return [one for folder in folders for one in _entries(folder, Path.is_file) if one.resolve() != own]


def marks_beside(path: Path) -> list[Path]:
    """Return the files beside a CT that `KeyObjects` may take key images from: selections of a study of the CT.

    Those that this software wrote are results, and are left out.
    """
    found = [(one, study) for one in files_beside(path)[:MOST_BESIDE] if (study := _study_marked_in(one)) is not None]
    asked, of_ct = {study for _, study in found} - {""}, set[str | None]()
    if asked:
        for file in files_below(path) if path.is_dir() else [path]:
            of_ct.add(_study_in(file))
            if asked <= of_ct:
                break
    return [one for one, study in found if not study or study in of_ct or "" in of_ct]


def _study_marked_in(path: Path) -> str | None:
    """Return the Study Instance UID of a key object selection; None for any other file, and for a result."""
    if not _is_key_object(path):
        return None
    try:
        return None if is_own(whole_header(path, ["ManufacturerModelName"])) else _study_in(path)
    except InputError:
        return None


def _study_in(path: Path) -> str | None:
    """Return the Study Instance UID of a file, empty if its header has none; None if it is not DICOM or damaged."""
    try:
        return uid_of(whole_header(path, ["StudyInstanceUID"]), "StudyInstanceUID") if is_dicom(path) else None
    except InputError:
        return None


def _entries(folder: Path, kind: Callable[[Path], bool]) -> list[Path]:
    """Return the entries of a kind in a folder; none where they cannot be listed."""
    try:
        return sorted(one for one in folder.iterdir() if kind(one))
    except OSError:
        return []


def _is_key_object(path: Path) -> bool:
    """Return whether a file is a key object selection; a file that cannot be read does not count."""
    try:
        return is_dicom(path) and str(read_header(path).get("SOPClassUID")) == KEY_OBJECT
    except InputError:
        return False


def rejected_slices(found: Collection[KeyObject], source: DicomSource) -> dict[int, str]:
    """Return the acquired slices that are rejected, by their index, with the title of the rejection."""
    rejecting = [one for one in found if one.rejects]
    if not rejecting:
        return {}
    instances = source.instances()
    return {k: one.title for one in rejecting for k in one.slices_of(source, instances)}


def rejection_warnings(rejected: Mapping[int, str], unread: int) -> Iterator[str]:
    """Yield warnings about the rejected slices of a scan, by title, and about selections that could not be read."""
    for title in sorted(set(rejected.values())):
        number = counted(list(rejected.values()).count(title), "slice of the CT is", "slices of the CT are")
        yield f"{number} marked '{title}' by a key object selection: images that must not be used."
    if unread:
        yield (
            f"{counted(unread, 'key object selection')} could not be read: whether slices of the CT are rejected by it "
            "is not known."
        )


__all__ = [
    "KEY_OBJECT",
    "MOST_BESIDE",
    "NO_MARKS",
    "REJECTIONS",
    "KeyObject",
    "KeyObjects",
    "MarkedImage",
    "ReadObjects",
    "files_beside",
    "marks_beside",
    "read_key_object",
    "read_key_objects",
    "rejected_slices",
    "rejection_warnings",
    "titles_of",
]
