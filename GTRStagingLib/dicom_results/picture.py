"""Make the picture of a result as a DICOM secondary capture, which every viewer shows."""

from dataclasses import replace
from typing import Any

import numpy as np

from GTRStagingLib.dicom_results.evidence import Evidence
from GTRStagingLib.dicom_results.identity import Codes, Identity, equipment_of
from GTRStagingLib.dicom_results.study import description_of, plain, reference
from GTRStagingLib.results import report


def make_picture(evidence: Evidence, identity: Identity, threshold: float, codes: Codes) -> Any:
    """Return the overlay as a secondary capture: RGB, uncompressed.

    It contains the stage, the scale, the model's warning and the research sentence in its pixels. 'Burned In
    Annotation' is NO nevertheless, by its definition: what is in the pixels does not identify the patient.

    Returns
    -------
    highdicom `SCImage`.
    """
    import highdicom as hd
    from pydicom.uid import ExplicitVRLittleEndian

    result = evidence.result
    # Names of ROIs are free text, which may name a patient.
    page = report.overlay_module().render(replace(result, segment=None, segment_number=None))
    made = hd.sc.SCImage.from_ref_dataset(
        plain(evidence.key),
        pixel_array=np.asarray(page.image),
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=("L", "P"),
        transfer_syntax_uid=ExplicitVRLittleEndian,
        **identity.of("picture"),
        **equipment_of(result),
        series_description=f"Staging picture, {result.prediction.stage} (RESEARCH USE ONLY)",
    )
    made.ConversionType = "WSD"
    made.DateOfSecondaryCapture, made.TimeOfSecondaryCapture = f"{identity.made:%Y%m%d}", f"{identity.made:%H%M%S}"
    made.RecognizableVisualFeatures = "NO"
    made.DerivationDescription = description_of(result)
    made.SourceImageSequence = [reference(evidence, [result.slices.key])]
    return made


__all__ = ["make_picture"]
