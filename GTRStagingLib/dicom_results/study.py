"""Give DICOM objects the patient and the study of their CT, as the CT's headers state them.

highdicom reads both from the images that it is given, and refuses values that are common in real headers, such as the
sex 'Female', a date with dots, or no study ID. It is therefore given headers without them (`plain`), and the finished
object gets them as they are (`in_study`). What a header leaves out stays empty; nothing is invented.
"""

import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from copy import copy, deepcopy
from datetime import datetime
from typing import Any

import numpy as np

from GTRStagingLib.dicom_results.codes import PROCESSED_IMAGE, concept
from GTRStagingLib.dicom_results.evidence import CLASSES, Evidence
from GTRStagingLib.dicom_results.identity import Identity
from GTRStagingLib.errors import InputError
from GTRStagingLib.imaging.dicom import functional_group
from GTRStagingLib.results.words import result_map_in_words
from GTRStagingLib.stages import RESEARCH_USE_ONLY
from GTRStagingLib.staging.result import StagingResult

_EMPTY_IF_MISSING = (
    "PatientName PatientID PatientBirthDate PatientSex StudyDate StudyTime StudyID AccessionNumber "
    "ReferringPhysicianName"
)
"""Attributes of patient and study that every object must contain, if need be without a value (type 2)."""

_SHARED = (
    "PatientIdentityRemoved DeidentificationMethod DeidentificationMethodCodeSequence "
    "LongitudinalTemporalInformationModified TimezoneOffsetFromUTC"
)
"""Further attributes that objects share with the CT: what was removed from its headers, and the zone of its times."""

_PLACES = {
    "ImagePositionPatient": "PlanePositionSequence",
    "ImageOrientationPatient": "PlaneOrientationSequence",
    "PixelSpacing": "PixelMeasuresSequence",
    "SliceThickness": "PixelMeasuresSequence",
}
"""Attributes of an image's place, with the functional groups that contain them in multi-frame images."""

_OF_FRAMES = ("NumberOfFrames", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")

_KEPT = (
    "SOPClassUID SOPInstanceUID StudyInstanceUID SeriesInstanceUID FrameOfReferenceUID PositionReferenceIndicator "
    "Modality Rows Columns NumberOfFrames ImagePositionPatient ImageOrientationPatient PixelSpacing SliceThickness "
    "SpacingBetweenSlices SharedFunctionalGroupsSequence PerFrameFunctionalGroupsSequence LossyImageCompression "
    "LossyImageCompressionRatio LossyImageCompressionMethod Manufacturer ManufacturerModelName SoftwareVersions "
    "DeviceSerialNumber InstitutionName InstitutionalDepartmentName StationName"
)
"""Attributes of an image that highdicom needs, and those of its scanner, which objects name as contributing."""

_DATES = ("Content", "Series", "InstanceCreation")
"""Dates and times of the object itself; highdicom writes the time at which the file is made."""


def plain(header: Any) -> Any:
    """Return the header of an image as highdicom needs it: a pydicom dataset with an empty patient and study."""
    from pydicom.dataelem import DataElement
    from pydicom.dataset import Dataset

    made = Dataset()
    for keyword in _KEPT.split():
        if keyword in header:
            # Copies of elements alone, since values are replaced later, not changed; those of sequences are changed.
            one = header[keyword]
            made.add(
                deepcopy(one) if one.VR == "SQ" else DataElement(one.tag, one.VR, one.value, already_converted=True)
            )
    for keyword in _EMPTY_IF_MISSING.split():
        setattr(made, keyword, "")
    made.file_meta = copy(header.file_meta)
    return made


def sources_of(evidence: Evidence, positions: Sequence[int]) -> list[Any]:
    """Return headers from which highdicom takes the place of frames: single-frame images, one for each frame.

    The slices of a multi-frame CT get stand-ins, since highdicom's handling of multi-frame sources differs between its
    versions; `refer` then names the true images.

    Parameters
    ----------
    positions
        Of the slices among the voting slices; each gets one frame.
    """
    first = _place_of(evidence, evidence.result.slices.key)
    sources = []
    for k in positions:
        header, place = plain(evidence.headers[k]), _place_of(evidence, k)
        if evidence.frames is not None:
            for keyword in _OF_FRAMES:
                header.pop(keyword, None)
            header.SOPClassUID, header.SOPInstanceUID = CLASSES[0], f"{header.SOPInstanceUID}"[:56] + f".{k + 1}"
        header.ImagePositionPatient = place["ImagePositionPatient"]
        # highdicom compares these digit by digit; the CT's reader has compared them with a tolerance.
        header.ImageOrientationPatient, header.PixelSpacing = first["ImageOrientationPatient"], first["PixelSpacing"]
        # The distance of the object's frames is that of the voting slices.
        header.SpacingBetweenSlices = str(abs(float(evidence.result.slices.native.GetSpacing()[2])))[:16]
        header.SliceThickness = first["SliceThickness"] or header.SpacingBetweenSlices
        sources.append(header)
    return sources


def _place_of(evidence: Evidence, k: int) -> dict[str, Any]:
    """Return the place of a voting slice's image, as its header states it."""
    header, groups = evidence.headers[k], dict.fromkeys(_PLACES, evidence.headers[k])
    if evidence.frames is not None:
        groups = {
            keyword: functional_group(header, evidence.frames[k] - 1, group) for keyword, group in _PLACES.items()
        }
    return {keyword: groups[keyword].get(keyword) for keyword in _PLACES}


def refer(ds: Any, evidence: Evidence, positions: Sequence[int], derivation: Any) -> None:
    """State for each frame of a map or segmentation which image of the CT it lies on, and for the object which images.

    Parameters
    ----------
    positions
        As for `sources_of`.
    derivation
        Code of how frames were derived, as highdicom's `CodedConcept`.
    """
    from pydicom.dataset import Dataset

    places = np.array([_place_of(evidence, k)["ImagePositionPatient"] for k in positions], dtype=float)
    for frame in ds.PerFrameFunctionalGroupsSequence:
        here = np.array(frame.PlanePositionSequence[0].ImagePositionPatient, dtype=float)
        k = positions[int(np.argmin(np.linalg.norm(places - here, axis=1)))]
        item = Dataset()
        item.DerivationCodeSequence, item.DerivationDescription = [derivation], description_of(evidence.result)
        item.SourceImageSequence = [reference(evidence, [k])]
        item.SourceImageSequence[0].SpatialLocationsPreserved = "YES"
        frame.DerivationImageSequence = [item]
    single = [[k] for k in positions]
    references = [reference(evidence, one) for one in (single if evidence.frames is None else [list(positions)])]
    ds.SourceImageSequence = references
    series = Dataset()
    series.SeriesInstanceUID, series.ReferencedInstanceSequence = evidence.key.SeriesInstanceUID, deepcopy(references)
    for one in series.ReferencedInstanceSequence:
        del one.PurposeOfReferenceCodeSequence
    ds.ReferencedSeriesSequence = [series]


def reference(evidence: Evidence, positions: Sequence[int]) -> Any:
    """Return a reference to the image of voting slices, with its frames if it has several; all are of one image."""
    from pydicom.dataset import Dataset

    made, header = Dataset(), evidence.headers[positions[0]]
    made.ReferencedSOPClassUID, made.ReferencedSOPInstanceUID = header.SOPClassUID, header.SOPInstanceUID
    if evidence.frames is not None:
        frames = [evidence.frames[k] for k in positions]
        made.ReferencedFrameNumber = frames[0] if len(frames) == 1 else frames
    made.PurposeOfReferenceCodeSequence = [concept(PROCESSED_IMAGE)]
    return made


def description_of(result: StagingResult) -> str:
    """Describe a result's map for a header, in ASCII, so that it can be written in any character set."""
    sentences = (RESEARCH_USE_ONLY, result.model.warning, result_map_in_words(result), result.map_check)
    text = " ".join(filter(None, sentences)).replace("\N{MULTIPLICATION SIGN}", "x")
    return text.encode("ascii", "replace").decode()[:1024]


def document(made_by: Callable[..., Any], content: Sequence[Any], items: Sequence[Any], **given: Any) -> Any:
    """Return a document of highdicom with its content items.

    The constructors copy the content, parse the copy and search it for references, which takes longer than to make it.
    They are therefore given its root alone; the evidence that they are given is listed whole, as it would be anyway.

    Parameters
    ----------
    made_by
        Class of the document.
    content
        Its root container alone, such as a highdicom `KeyObjectSelection`; what it contains is left out.
    items
        Content items of the root, of highdicom or of `content_items`.
    given
        Other arguments of the class.

    Returns
    -------
    Object of `made_by`, to be written. Its property `content` is that of highdicom's reader only once it was read.
    """
    (root,) = content
    root.ContentSequence = []
    made = made_by(content=content, **given)
    made.ContentSequence = items
    return made


def in_study(ds: Any, evidence: Evidence, identity: Identity) -> Any:
    """Give an object the patient, the study, the character set and the times of its result; return it.

    Parameters
    ----------
    ds
        pydicom dataset of a finished object; changed in place.

    Returns
    -------
    The same dataset. Its texts are written in the CT's character set, or in UTF-8 if that lacks one of their letters.

    Raises
    ------
    InputError
        If a text of the CT's headers cannot be decoded: it would be written with other letters.
    """
    header = evidence.key
    for keyword in _EMPTY_IF_MISSING.split():
        if keyword in ds:
            delattr(ds, keyword)
    ds.copy_patient_and_study_information(header)
    for keyword in _EMPTY_IF_MISSING.split():
        if keyword not in ds:
            setattr(ds, keyword, None)
    for keyword in _SHARED.split():
        if keyword in header:
            ds.add(deepcopy(header[keyword]))
    if "ContentLabel" in ds and "ContentCreatorName" not in ds:
        ds.ContentCreatorName = None
    if "Rows" in ds:
        _set_compression(ds, evidence)
        part = str(header.get("BodyPartExamined") or "")
        ds.BurnedInAnnotation = "NO"  # nothing in the pixels identifies the patient
        # Without a part of the body, a side (left or right) would have to be stated.
        ds.BodyPartExamined = part if re.fullmatch("[A-Z0-9_ ]{1,16}", part) else "ABDOMEN"
    for item in (*(ds.get("DimensionOrganizationSequence") or ()), *(ds.get("DimensionIndexSequence") or ())):
        item.DimensionOrganizationUID = identity.uid(f"dimensions of {ds.SOPInstanceUID}")  # highdicom draws one
    _set_times(ds, identity.made)
    _set_character_set(ds, header)
    return ds


def _set_compression(ds: Any, evidence: Evidence) -> None:
    """State that an image was made from lossily compressed ones, if any of them was."""
    lossy = [one for one in evidence.headers if one.get("LossyImageCompression") == "01"]
    ds.LossyImageCompression = "01" if lossy else "00"
    for keyword in ("LossyImageCompressionRatio", "LossyImageCompressionMethod"):
        if lossy and keyword in lossy[0]:
            ds.add(deepcopy(lossy[0][keyword]))


def _set_times(ds: Any, made: datetime) -> None:
    """Set all dates and times of an object to those of its result."""
    date, time = made.strftime("%Y%m%d"), made.strftime("%H%M%S")
    for name in _DATES:
        if name == "Series" or f"{name}Date" in ds:
            setattr(ds, f"{name}Date", date)
            setattr(ds, f"{name}Time", time)
    for item in ds.get("ContributingEquipmentSequence") or ():
        if item.get("ManufacturerModelName") == "highdicom":
            item.ContributionDateTime = f"{date}{time}"


def _set_character_set(ds: Any, header: Any) -> None:
    """Set the CT's character set, or UTF-8 if one of the object's texts has a letter that it lacks."""
    stated = header.get("SpecificCharacterSet")
    name = stated or "none stated"
    texts = [text for text in _texts(ds) if not text.isascii()]  # ASCII can be written in all of them
    if any("\N{REPLACEMENT CHARACTER}" in text for text in texts):
        raise InputError(
            f"A text on patient or study in the CT's headers is not in their character set ({name}); "
            "expected one that can be read, since results carry it over. Correct the headers in the archive, or leave "
            "out `dicom`."
        )
    for value in (stated, "ISO_IR 192"):
        if value:
            ds.SpecificCharacterSet = value
        elif "SpecificCharacterSet" in ds:
            del ds.SpecificCharacterSet
        if all(_is_written_in(text, value) for text in texts):
            return


def _texts(ds: Any) -> Iterable[str]:
    from pydicom.valuerep import CUSTOMIZABLE_CHARSET_VR, PersonName

    for element in map(ds.__getitem__, ds.keys()):  # unsorted
        if element.VR == "SQ":
            for item in element.value:
                yield from _texts(item)
        elif element.VR in CUSTOMIZABLE_CHARSET_VR and element.value is not None:
            several = [element.value] if isinstance(element.value, (str, bytes, PersonName)) else element.value
            yield from (str(one) for one in several)


def _is_written_in(text: str, character_set: Any) -> bool:
    """Return whether a text beyond ASCII can be written in a DICOM character set, and is the same when it is read."""
    from pydicom.charset import convert_encodings, decode_bytes, encode_string
    from pydicom.valuerep import TEXT_VR_DELIMS

    if not character_set or character_set in ("ISO_IR 6", "ISO 2022 IR 6"):  # pydicom would write Latin-1
        return False
    encodings = convert_encodings(character_set)
    with warnings.catch_warnings(action="ignore"):
        try:
            return decode_bytes(encode_string(text, encodings), encodings, TEXT_VR_DELIMS) == text
        except UnicodeError:
            return False


__all__ = ["description_of", "document", "in_study", "plain", "refer", "reference", "sources_of"]
