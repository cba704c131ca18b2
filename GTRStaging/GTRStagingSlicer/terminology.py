"""Codes of the segments that the module makes, in the text form of Slicer's Terminologies module.

The text is context~category~type~modifier~anatomic context~region~modifier; a code is scheme^value^meaning, and empty
parts are ^^. The codes of the attention's region are those of its DICOM segmentation (`dicom_results.codes`),
repeated here, since its package is not always installed.
"""

CONTEXT = "Segmentation category and type - DICOM master list"
ANATOMY = "Anatomic codes - DICOM master list"

TUMOUR = (
    f"{CONTEXT}~SCT^49755003^Morphologically Abnormal Structure~SCT^108369006^Neoplasm~^^~{ANATOMY}~"
    "SCT^69695003^Stomach~^^"
)
"""ROI of the tumour."""

STOMACH = f"{CONTEXT}~SCT^123037004^Anatomical Structure~SCT^69695003^Stomach~^^~{ANATOMY}~^^~^^"
"""Mask of the stomach."""

ATTENTION = f"{CONTEXT}~SCT^309825002^Spatial and Relational Concept~DCM^130401^Visual explanation~^^~{ANATOMY}~^^~^^"
"""Region of the attention above a threshold: no anatomy, and no neoplasm."""


__all__ = ["ATTENTION", "STOMACH", "TUMOUR"]
