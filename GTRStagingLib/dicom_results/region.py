"""Make the region of the attention map above the threshold as a DICOM segmentation."""

from typing import Any

import numpy as np

import GTRStagingLib
from GTRStagingLib.dicom_results.codes import SEGMENTATION, SPATIAL, VISUAL_EXPLANATION, concept
from GTRStagingLib.dicom_results.evidence import Evidence
from GTRStagingLib.dicom_results.identity import Codes, Identity, equipment_of
from GTRStagingLib.dicom_results.study import description_of, refer, sources_of
from GTRStagingLib.imaging.dicom_references import OWN_MODEL

ORANGE = [51074, 37304, 53698]
"""Colour of the segment as scaled CIELab, sRGB (255, 178, 0)."""


def make_region(evidence: Evidence, identity: Identity, threshold: float, codes: Codes) -> Any:
    """Return the region of the key slice whose attention is at least `threshold` of the slice's maximum.

    The key slice alone: the threshold is a share of its maximum, and the agreement with an ROI is computed there.
    One frame, on the key slice's image; no empty frames on other slices, which would say that nothing is there.

    Returns
    -------
    highdicom `Segmentation` of one segment; None if the key slice has no attention.
    """
    import highdicom as hd
    from pydicom.sr.codedict import codes as known

    result, key = evidence.result, evidence.result.slices.key
    heat = evidence.pixels(result.heat)[key]
    if not heat.any():
        return None
    segment = hd.seg.SegmentDescription(
        segment_number=1,
        segment_label=label_of(threshold),
        segmented_property_category=concept(SPATIAL),
        segmented_property_type=concept(VISUAL_EXPLANATION),
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name=OWN_MODEL,
            version=GTRStagingLib.__version__,
            family=known.DCM.ArtificialIntelligence,
        ),
        tracking_uid=identity.uid("region of attention"),
        tracking_id="Attention region",
    )
    segment.RecommendedDisplayCIELabValue = ORANGE
    segment.SegmentDescription = description_of(result)
    made = hd.seg.Segmentation(
        source_images=sources_of(evidence, [key]),
        pixel_array=(heat >= threshold * heat.max())[np.newaxis],
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[segment],
        **identity.of("region"),
        **equipment_of(result),
        content_description="Region of the attention map, not a tumour. RESEARCH USE ONLY",
        content_label="ATTENTION_REGION",
        series_description=f"Attention region, {result.attention.target} (RESEARCH, not a tumour)",
    )
    refer(made, evidence, [key], concept(SEGMENTATION))
    return made


def label_of(threshold: float) -> str:
    """Return the label of the segment.

    Examples
    --------
    >>> from GTRStagingLib.dicom_results.region import label_of
    >>> label_of(0.5)
    'Attention above 50 % of maximum (research, not a tumour)'
    """
    return f"Attention above {100 * threshold:g} % of maximum (research, not a tumour)"


__all__ = ["label_of", "make_region"]
