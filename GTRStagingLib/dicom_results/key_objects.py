"""Make the key object selection of a result: the images of the voting slices."""

from typing import Any

from GTRStagingLib.dicom_results import codes as c
from GTRStagingLib.dicom_results.evidence import Evidence
from GTRStagingLib.dicom_results.identity import Codes, Identity, equipment_of
from GTRStagingLib.dicom_results.structured_report import observer
from GTRStagingLib.dicom_results.study import description_of, document, plain


def make_key_objects(evidence: Evidence, identity: Identity, threshold: float, codes: Codes) -> Any:
    """Return the key object selection of the voting slices.

    Its title is 'Of Interest', by which viewers flag images; 'For Research' of the same list (CID 7010) names images
    that research is to collect, which nobody has decided. The description says that the result is for research.

    Returns
    -------
    highdicom `KeyObjectSelectionDocument`.
    """
    import highdicom as hd

    result, images = evidence.result, [plain(one) for one in evidence.images]
    selection = hd.ko.KeyObjectSelection(
        document_title=c.concept(c.KEY_OBJECTS_TITLE),
        referenced_objects=images,
        observer_device_context=observer(result, identity),
        description=f"Voting slices of stage {result.prediction.stage}. {description_of(result)}",
    )
    if evidence.frames is not None:
        for item in selection[0].ContentSequence:
            if item.ValueType == "IMAGE":
                item.ReferencedSOPSequence[0].ReferencedFrameNumber = list(evidence.frames)
    return document(
        hd.ko.KeyObjectSelectionDocument,
        selection,
        selection[0].ContentSequence,
        evidence=images,
        **identity.of("key objects"),
        **equipment_of(result),
        series_description=f"Voting slices, {result.prediction.stage} (RESEARCH USE ONLY)",
    )


__all__ = ["make_key_objects"]
