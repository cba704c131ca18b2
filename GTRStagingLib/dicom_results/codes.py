"""Coded concepts of the objects, and the private scheme for what no other scheme codes.

Sources, looked up one by one:

- DCM, UCUM, LN and the anatomy of SCT: DICOM PS3.16, Annex D and the context groups that are named here, as in
  `pydicom.sr.codedict`.
- The stages, their question and their method, SCT: HL7's mCODE, STU 4, profile "TNM Primary Tumor Category" and its
  value set. DICOM has no T categories (CID 6068 lists stage groups only). SNOMED CT has terms of use of its own, and
  its T categories come from the AJCC: `Codes` 'private' leaves all of SNOMED CT out.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from GTRStagingLib.dicom_results.identity import MANUFACTURER, Codes
from GTRStagingLib.stages import TStage

SCHEME = "99GTRSTAGING"
"""Designator of the private coding scheme."""

SCHEME_UID = "2.25.291657146913324761144874668833678359378"
"""UID of the private coding scheme, of a UUID by its name."""

SCHEME_NAME = "GTR Staging, T staging of gastric cancer on CT (research)"

Code = tuple[str, str, str]
"""Value (at most 16 characters), scheme and meaning (at most 64 characters)."""


def _own(value: str, meaning: str) -> Code:
    return value, SCHEME, meaning


# -- of DICOM ------------------------------------------------------------------------------------------------------

REPORT_TITLE: Code = ("126000", "DCM", "Imaging Measurement Report")  # CID 7021
PROCEDURE: Code = ("25045-6", "LN", "CT unspecified body region")  # CID 100
CT_IMAGE: Code = ("CT", "DCM", "Computed Tomography")  # CID 29
OTHER_IMAGE: Code = ("OT", "DCM", "Other")  # CID 29
MODALITY: Code = ("121139", "DCM", "Modality")  # TID 1602
IMAGE_LIBRARY: Code = ("111028", "DCM", "Image Library")  # TID 1600
LIBRARY_GROUP: Code = ("126200", "DCM", "Image Library Group")  # TID 1600
SOURCE_IMAGE: Code = ("121112", "DCM", "Source of Measurement")  # CID 7551
VISUAL_EXPLANATION: Code = ("130401", "DCM", "Visual explanation")  # CID 217 lists its kinds
GRAD_CAM: Code = ("130403", "DCM", "Gradient-weighted class activation")  # CID 217
SEGMENTATION: Code = ("113076", "DCM", "Segmentation")  # CID 7203
PROCESSED_IMAGE: Code = ("121322", "DCM", "Source image for image processing operation")  # CID 7202 and 7222
ILLUSTRATION: Code = ("121080", "DCM", "Best illustration of finding")
THRESHOLD: Code = ("122411", "DCM", "Threshold Value")
ALGORITHM_FAMILY: Code = ("111000", "DCM", "Algorithm Family")  # TID 4019
ARTIFICIAL_INTELLIGENCE: Code = ("123110", "DCM", "Artificial Intelligence")  # CID 7162
ALGORITHM_NAME: Code = ("111001", "DCM", "Algorithm Name")  # TID 4019
ALGORITHM_PARAMETERS: Code = ("111002", "DCM", "Algorithm Parameters")  # TID 4019
ALGORITHM_VERSION: Code = ("111003", "DCM", "Algorithm Version")  # TID 4019
TRACKING_ID: Code = ("112039", "DCM", "Tracking Identifier")  # TID 1501
TRACKING_UID: Code = ("112040", "DCM", "Tracking Unique Identifier")  # TID 1501
LANGUAGE: Code = ("121049", "DCM", "Language of Content Item and Descendants")  # TID 1204
ENGLISH: Code = ("en-US", "RFC5646", "English (United States)")  # CID 5000
PROCEDURE_REPORTED: Code = ("121058", "DCM", "Procedure reported")  # TID 1500
FINDING: Code = ("121071", "DCM", "Finding")  # TID 1501
SEGMENTATION_FRAME: Code = ("121214", "DCM", "Referenced Segmentation Frame")  # TID 1410
SEGMENTED_IMAGE: Code = ("121233", "DCM", "Source Image for Segmentation")  # TID 1410
DERIVATION: Code = ("121401", "DCM", "Derivation")  # TID 300
MEASUREMENT_GROUP: Code = ("125007", "DCM", "Measurement Group")  # TID 1501
IMAGING_MEASUREMENTS: Code = ("126010", "DCM", "Imaging Measurements")  # TID 1500
QUALITATIVE_EVALUATIONS: Code = ("C0034375", "UMLS", "Qualitative Evaluations")  # TID 1500
KEY_OBJECTS_TITLE: Code = ("113000", "DCM", "Of Interest")  # CID 7010

# -- of SNOMED CT, and what stands for it with private codes -------------------------------------------------------

QUESTION: Code = ("399504009", "SCT", "cT category")  # mCODE, code of the clinical T category
METHOD: Code = ("897275008", "SCT", "AJCC Cancer Staging Manual, 8th edition")  # mCODE, staging system; name shortened
STAGES: Mapping[TStage, Code] = {  # mCODE, value set of the T categories
    TStage.T1: ("1228889001", "SCT", "American Joint Committee on Cancer cT1"),
    TStage.T2: ("1228929004", "SCT", "American Joint Committee on Cancer cT2"),
    TStage.T3: ("1228938002", "SCT", "American Joint Committee on Cancer cT3"),
    TStage.T4: ("1228944003", "SCT", "American Joint Committee on Cancer cT4"),
}
NEOPLASM: Code = ("108369006", "SCT", "Neoplasm")  # CID 7159
STOMACH: Code = ("69695003", "SCT", "Stomach")  # CID 4031
ABDOMEN: Code = ("818981001", "SCT", "Abdomen")  # CID 4031
SPATIAL: Code = ("309825002", "SCT", "Spatial and Relational Concept")  # CID 7150: no anatomy, tissue or abnormality
QUANTITY: Code = ("246205007", "SCT", "Quantity")  # PS3.3 C.7.6.16.2.11, real world value mapping
FINDING_SITE: Code = ("363698007", "SCT", "Finding Site")  # TID 1501
MEASUREMENT_METHOD: Code = ("370129005", "SCT", "Measurement Method")  # TID 1501
MEAN: Code = ("373098007", "SCT", "Mean")  # CID 7464

_PRIVATE: Mapping[str, Code] = {
    QUESTION[0]: _own("CLINICAL_T", "Clinical T category"),
    METHOD[0]: _own("TNM_8", "TNM classification, 8th edition"),
    **{code[0]: _own(f"C{stage}", f"Clinical category {stage}") for stage, code in STAGES.items()},
    NEOPLASM[0]: _own("TUMOUR", "Tumour"),
}
"""Value in SCT -> private code with own words; other codes keep their meaning, which is a common word."""

# -- of the private scheme -----------------------------------------------------------------------------------------

INTENDED_USE = _own("INTENDED_USE", "Intended use")
RESEARCH_ONLY = _own("RESEARCH_ONLY", "RESEARCH USE ONLY. Not for clinical use.")
MODEL_STATUS = _own("MODEL_STATUS", "Status of the model")
MODEL_WARNED = _own("MODEL_WARNED", "WARNING: see the warning of the model")
MODEL_NOT_WARNED = _own("MODEL_NOT_WARNED", "Research model without a warning")
MODEL_WARNING = _own("MODEL_WARNING", "Warning of the model")
WARNING = _own("WARNING", "Warning")
DIGEST = _own("CONTENT_SHA256", "sha256 of the content of this report")
PROBABILITIES: Mapping[TStage, Code] = {
    stage: _own(f"PROBABILITY_{stage}", f"Probability of {stage}") for stage in TStage
}
SLICE_OFFSET = _own("SLICE_OFFSET", "Acquired slices from the key slice, towards the head")
KEY_INDEX = _own("KEY_SLICE_INDEX", "Index of the key slice, 0 nearest the feet")
KEY_CHOSEN_BY = _own("KEY_SLICE_BY", "Origin of the key slice")
KEY_POSITION = _own("KEY_POSITION", "Position of the key slice, towards the head")
SLICE_DISTANCE = _own("SLICE_DISTANCE", "Distance of the acquired slices")
FAMILIARITY = _own("FAMILIARITY", "Likeness to the training of the model")
VERDICTS: Mapping[str, Code] = {
    "usual": _own("USUAL", "Usual for the training"),
    "unusual": _own("UNUSUAL", "Unusual for the training"),
    "unlike": _own("UNLIKE", "UNLIKE THE TRAINING: the stage means nothing"),
    "not known": _own("NOT_KNOWN", "Likeness to the training not known"),
}
FAMILIARITY_RANK = _own("FAMILIARITY_RANK", "Held-out patients that are nearer to the training")
FAMILIARITY_REASON = _own("FAMILIARITY_WHY", "Reason for the likeness")
SET_STAGE = _own("STAGE_IN_SET", "Stage in the stage set")
SET_LEVEL = _own("STAGE_SET_LEVEL", "Promised share of patients with their stage in the set")
SET_WITHHELD = _own("SET_WITHHELD", "Reason why the stage set is withheld")
LOOKS = _own("LOOKS", "Number of looks")
SPREAD = _own("SPREAD", "Spread of the looks")
AGREEMENT: Mapping[str, Code] = {
    "dice": _own("DICE", "Dice of attention region and ROI"),
    "chance_dice": _own("CHANCE_DICE", "Dice of an equal area at random"),
    "blob_dice": _own("BLOB_DICE", "Dice of an equal area as a centred blob"),
    "mean_mask_dice": _own("MEAN_MASK_DICE", "Dice of an equal area at the place of most tumours"),
    "iou": _own("IOU", "Intersection over union of attention region and ROI"),
    "area_mm2": _own("REGION_AREA", "Area of the attention region"),
    "roi_area_mm2": _own("ROI_AREA", "Area of the ROI"),
    "hd95_mm": _own("HD95", "95 % Hausdorff distance of attention region and ROI"),
    "centroid_distance_mm": _own("CENTROIDS", "Distance of the centroids of region and ROI"),
    "energy_inside": _own("ENERGY_INSIDE", "Share of the attention inside the ROI"),
}
"""Measure, as in `staging.agreement` -> its code. DICOM codes none of them for a map and an ROI."""
POINTING = _own("POINTING", "Place of the peak of the map")
POINTING_HIT = _own("IN_ROI", "In the ROI")
POINTING_MISS = _own("OUTSIDE_ROI", "Outside the ROI")

# -- units ---------------------------------------------------------------------------------------------------------

NO_UNIT: Code = ("1", "UCUM", "no units")
PERCENT: Code = ("%", "UCUM", "percent")
MM: Code = ("mm", "UCUM", "mm")
MM2: Code = ("mm2", "UCUM", "mm2")
BIT: Code = ("bit", "UCUM", "bit")
SLICES: Code = ("{slices}", "UCUM", "slices")


def concept(code: Code) -> Any:
    """Return a code as highdicom's `CodedConcept`."""
    import highdicom as hd

    return hd.sr.CodedConcept(*code)


def in_private(code: Code) -> Code:
    """Return the private code for one of SNOMED CT; others are returned as they are."""
    value, scheme, meaning = code
    if scheme != "SCT":
        return code
    return _PRIVATE.get(value) or (meaning.upper().replace(" ", "_")[:16], SCHEME, meaning)


def finish_codes(ds: Any, codes: Codes) -> Any:
    """Replace codes of SNOMED CT if they are not to be used, and declare the private scheme if it is used.

    highdicom writes SNOMED CT for some names of its own, such as that of the finding's site.

    Parameters
    ----------
    ds
        pydicom dataset of a finished object; changed in place.

    Returns
    -------
    The same dataset.
    """
    from pydicom.dataset import Dataset

    private = False
    for item in _coded_items(ds):
        if codes == "private":
            old = (str(item.CodeValue), str(item.CodingSchemeDesignator), str(item.CodeMeaning))
            item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = in_private(old)
        private |= item.CodingSchemeDesignator == SCHEME
    if private:
        declared = Dataset()
        declared.CodingSchemeDesignator = SCHEME
        declared.CodingSchemeUID = SCHEME_UID
        declared.CodingSchemeName = SCHEME_NAME
        declared.CodingSchemeResponsibleOrganization = MANUFACTURER
        ds.CodingSchemeIdentificationSequence = [declared]
    return ds


def _coded_items(ds: Any) -> Iterator[Any]:
    """Yield the items of all code sequences of a dataset, at any depth."""
    for element in map(ds.__getitem__, ds.keys()):  # unsorted
        if element.VR == "SQ":
            for item in element.value:
                if "CodeValue" in item and "CodingSchemeDesignator" in item:
                    yield item
                yield from _coded_items(item)


__all__ = [
    "ABDOMEN",
    "AGREEMENT",
    "ALGORITHM_FAMILY",
    "ALGORITHM_NAME",
    "ALGORITHM_PARAMETERS",
    "ALGORITHM_VERSION",
    "ARTIFICIAL_INTELLIGENCE",
    "BIT",
    "CT_IMAGE",
    "DERIVATION",
    "DIGEST",
    "ENGLISH",
    "FAMILIARITY",
    "FAMILIARITY_RANK",
    "FAMILIARITY_REASON",
    "FINDING",
    "FINDING_SITE",
    "GRAD_CAM",
    "ILLUSTRATION",
    "IMAGE_LIBRARY",
    "IMAGING_MEASUREMENTS",
    "INTENDED_USE",
    "KEY_CHOSEN_BY",
    "KEY_INDEX",
    "KEY_OBJECTS_TITLE",
    "KEY_POSITION",
    "LANGUAGE",
    "LIBRARY_GROUP",
    "LOOKS",
    "MEAN",
    "MEASUREMENT_GROUP",
    "MEASUREMENT_METHOD",
    "METHOD",
    "MM",
    "MM2",
    "MODALITY",
    "MODEL_NOT_WARNED",
    "MODEL_STATUS",
    "MODEL_WARNED",
    "MODEL_WARNING",
    "NEOPLASM",
    "NO_UNIT",
    "OTHER_IMAGE",
    "PERCENT",
    "POINTING",
    "POINTING_HIT",
    "POINTING_MISS",
    "PROBABILITIES",
    "PROCEDURE",
    "PROCEDURE_REPORTED",
    "PROCESSED_IMAGE",
    "QUALITATIVE_EVALUATIONS",
    "QUANTITY",
    "QUESTION",
    "REPORT_TITLE",
    "RESEARCH_ONLY",
    "SCHEME",
    "SCHEME_NAME",
    "SCHEME_UID",
    "SEGMENTATION",
    "SEGMENTATION_FRAME",
    "SEGMENTED_IMAGE",
    "SET_LEVEL",
    "SET_STAGE",
    "SET_WITHHELD",
    "SLICES",
    "SLICE_DISTANCE",
    "SLICE_OFFSET",
    "SOURCE_IMAGE",
    "SPATIAL",
    "SPREAD",
    "STAGES",
    "STOMACH",
    "THRESHOLD",
    "TRACKING_ID",
    "TRACKING_UID",
    "VERDICTS",
    "VISUAL_EXPLANATION",
    "WARNING",
    "Code",
    "concept",
    "finish_codes",
    "in_private",
]
