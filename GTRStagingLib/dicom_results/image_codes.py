"""Codes of the map and of its region, and what stands for those of SNOMED CT where these are not to be used.

Sources: DICOM PS3.16 Annex D for DCM; its context groups, as named here, for SCT.
"""

from typing import Any

from GTRStagingLib.dicom_results.identity import Codes

SCHEME = "99GTRSTAGING"
"""Designator of the private coding scheme."""

Code = tuple[str, str, str]
"""Value, scheme and meaning."""

GRAD_CAM: Code = ("130403", "DCM", "Gradient-weighted class activation")
VISUAL_EXPLANATION: Code = ("130401", "DCM", "Visual explanation")
"""CID 217 lists the kinds of a visual explanation, among them Grad-CAM."""

SEGMENTATION: Code = ("113076", "DCM", "Segmentation")
"""CID 7203."""

SOURCE_IMAGE: Code = ("121322", "DCM", "Source image for image processing operation")
"""CID 7202 and CID 7222."""

QUANTITY: Code = ("246205007", "SCT", "Quantity")
"""Name of the quantity in a real world value mapping (PS3.3 C.7.6.16.2.11)."""

SPATIAL: Code = ("309825002", "SCT", "Spatial and Relational Concept")
"""CID 7150; the category that is no anatomy, no tissue and no abnormality."""

ABDOMEN: Code = ("818981001", "SCT", "Abdomen")
"""CID 4031."""


def coded(code: Code, codes: Codes) -> Any:
    """Return a code as highdicom's `CodedConcept`; with private codes, one of SNOMED CT in the private scheme."""
    import highdicom as hd

    value, scheme, meaning = code
    if scheme == "SCT" and codes == "private":
        value, scheme = meaning.upper().replace(" ", "_")[:16], SCHEME
    return hd.sr.CodedConcept(value, scheme, meaning)


__all__ = [
    "ABDOMEN",
    "GRAD_CAM",
    "QUANTITY",
    "SCHEME",
    "SEGMENTATION",
    "SOURCE_IMAGE",
    "SPATIAL",
    "VISUAL_EXPLANATION",
    "Code",
    "coded",
]
