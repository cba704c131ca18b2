"""Make key object selections with highdicom."""

from collections.abc import Sequence

import highdicom
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import generate_uid


def a_key_object(images: Sequence[Dataset], title: str = "OfInterest") -> Dataset:
    """Return a key object selection of images, with a title of CID 7010 by its keyword in pydicom."""
    return highdicom.ko.KeyObjectSelectionDocument(
        evidence=images,
        content=highdicom.ko.KeyObjectSelection(getattr(codes.DCM, title), images),
        series_instance_uid=generate_uid(),
        series_number=50,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="Archive",
    )


def say_frames(key_object: Dataset, frames: int | list[int]) -> Dataset:
    """Limit the references of a key object selection to frames of a multi-frame image."""
    for item in key_object.ContentSequence:
        item.ReferencedSOPSequence[0].ReferencedFrameNumber = frames
    return key_object
