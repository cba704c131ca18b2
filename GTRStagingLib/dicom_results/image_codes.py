"""Codes of the map and of its region, and what stands for those of SNOMED CT where these are not to be used.

Sources: DICOM PS3.16 Annex D for DCM; its context groups, as named here, for SCT.
"""

from GTRStagingLib.dicom_results.codes import SCHEME, VISUAL_EXPLANATION, Code, coded

GRAD_CAM: Code = ("130403", "DCM", "Gradient-weighted class activation")
"""CID 217 lists the kinds of a visual explanation, among them Grad-CAM."""

QUANTITY: Code = ("246205007", "SCT", "Quantity")
"""Name of the quantity in a real world value mapping (PS3.3 C.7.6.16.2.11)."""

SPATIAL: Code = ("309825002", "SCT", "Spatial and Relational Concept")
"""CID 7150; the category that is no anatomy, no tissue and no abnormality."""

ABDOMEN: Code = ("818981001", "SCT", "Abdomen")
"""CID 4031."""

__all__ = ["ABDOMEN", "GRAD_CAM", "QUANTITY", "SCHEME", "SPATIAL", "VISUAL_EXPLANATION", "Code", "coded"]
