"""Make the content items of a structured report as plain pydicom datasets.

The classes of highdicom read each item back and compare it with the others while they are built, which takes three
times as long as building them. The tests let `dciodvfy` and highdicom's reader do that with the finished report.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any, Literal

from GTRStagingLib.dicom_results.codes import DERIVATION, Code

Relation = Literal["CONTAINS", "HAS ACQ CONTEXT", "HAS CONCEPT MOD", "HAS OBS CONTEXT"]
"""Relationship of an item to the one that contains it."""


def container(name: Code, items: Sequence[Any], *, template: str | None = None) -> Any:
    """Return a container of items; `template` is its number in PS3.16, such as '1501'."""
    made = _item("CONTAINER", name, "CONTAINS")
    made.ContinuityOfContent = "CONTINUOUS"
    made.ContentSequence = list(items)
    if template is not None:
        made.ContentTemplateSequence = [_dataset(MappingResource="DCMR", TemplateIdentifier=template)]
    return made


def coded(name: Code, value: Code, relation: Relation = "CONTAINS") -> Any:
    """Return a code."""
    return _item("CODE", name, relation, ConceptCodeSequence=[_code(value)])


def text(name: Code, value: str, relation: Relation = "CONTAINS") -> Any:
    """Return a text."""
    return _item("TEXT", name, relation, TextValue=value)


def uid(name: Code, value: str, relation: Relation = "CONTAINS") -> Any:
    """Return a UID."""
    return _item("UIDREF", name, relation, UID=value)


def number(name: Code, value: float, unit: Code, *, derivation: Code | None = None) -> Any:
    """Return a measurement; a float also has its exact value, since decimal strings have 16 characters."""
    from pydicom.valuerep import DS

    measured = _dataset(MeasurementUnitsCodeSequence=[_code(unit)], NumericValue=DS(value, auto_format=True))
    if isinstance(value, float):
        measured.FloatingPointValue = value
    made = _item("NUM", name, "CONTAINS", MeasuredValueSequence=[measured])
    if derivation is not None:
        made.ContentSequence = [coded(DERIVATION, derivation, "HAS CONCEPT MOD")]
    return made


def image(
    name: Code, sop_class: str, instance: str, frames: Sequence[int] | None = None, *, segment: int | None = None
) -> Any:
    """Return a reference to an image, to some of its frames (from 1), or to a segment of a segmentation."""
    referred = _dataset(ReferencedSOPClassUID=sop_class, ReferencedSOPInstanceUID=instance)
    if frames is not None:
        referred.ReferencedFrameNumber = list(frames)
    if segment is not None:
        referred.ReferencedSegmentNumber = segment
    return _item("IMAGE", name, "CONTAINS", ReferencedSOPSequence=[referred])


def _item(kind: str, name: Code, relation: Relation, **values: Any) -> Any:
    return _dataset(RelationshipType=relation, ValueType=kind, ConceptNameCodeSequence=[_code(name)], **values)


def _code(code: Code) -> Any:
    value, scheme, meaning = code
    return _dataset(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)


def _dataset(**values: Any) -> Any:
    """Return a dataset of values by keyword, as pydicom's attributes set them, with each keyword looked up once."""
    from pydicom.dataelem import DataElement
    from pydicom.dataset import Dataset

    made = Dataset()
    for keyword, value in values.items():
        made.add(DataElement(*_known(keyword), value))
    return made


@cache
def _known(keyword: str) -> tuple[Any, str]:
    """Return the tag and the VR of a keyword."""
    from pydicom.datadict import dictionary_VR
    from pydicom.tag import Tag

    return Tag(keyword), dictionary_VR(keyword)


__all__ = ["Relation", "coded", "container", "image", "number", "text", "uid"]
