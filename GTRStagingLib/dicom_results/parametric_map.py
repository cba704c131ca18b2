"""Make the attention map of a result as a DICOM parametric map: raw values on the CT's own pixels."""

from typing import Any

import numpy as np

from GTRStagingLib.dicom_results.codes import ABDOMEN, GRAD_CAM, QUANTITY, VISUAL_EXPLANATION, Code, concept
from GTRStagingLib.dicom_results.evidence import Evidence
from GTRStagingLib.dicom_results.identity import Codes, Identity, equipment_of
from GTRStagingLib.dicom_results.study import refer, sources_of
from GTRStagingLib.results.words import map_name, scale_in_words

LABEL = "ATTENTION"


def quantity_of(method: str) -> Code:
    """Return the code (value, scheme, meaning) of what the maps of a method show.

    DICOM's code for Grad-CAM is given to Grad-CAM alone. 'fine' multiplies it with two other maps, and is near 0 where
    Grad-CAM is not; 'gated' decomposes the decision and uses no gradient, and so does 'eigencam', which uses no stage;
    'gradcam++' and 'layercam' weight each cell on its own. For these no code is exact, so that they get the concept to
    which the exact ones belong; the label of the map's values names the method.

    Examples
    --------
    >>> from GTRStagingLib.dicom_results.parametric_map import quantity_of
    >>> [quantity_of(method)[0] for method in ("gradcam", "fine", "gated")]
    ['130403', '130401', '130401']
    """
    return GRAD_CAM if method == "gradcam" else VISUAL_EXPLANATION


def make_map(evidence: Evidence, identity: Identity, threshold: float, codes: Codes) -> Any:
    """Return the raw attention of the voting slices as a parametric map of float32.

    A slice without a map has no frame: a map that was not computed is not 0.

    Returns
    -------
    highdicom `ParametricMap`; its frames have the rows, columns and positions of the CT's images.
    """
    import highdicom as hd
    from pydicom.dataset import Dataset
    from pydicom.sr.codedict import codes as known

    result = evidence.result
    mapped = [k for k, there in enumerate(result.attention.mapped) if there]
    values = np.ascontiguousarray(evidence.pixels(result.heat)[mapped])
    peak = float(values.max())
    mapping = hd.pm.RealWorldValueMapping(
        lut_label=result.attention.method.upper()[:16],
        lut_explanation=f"{map_name(result.attention)}, {scale_in_words(result)}"[:64],
        unit=known.UCUM.NoUnits,
        value_range=(0.0, peak),
        slope=1,
        intercept=0,
        quantity_definition=concept(quantity_of(result.attention.method)),
    )
    mapping.QuantityDefinitionSequence[0].ConceptNameCodeSequence = [concept(QUANTITY)]
    made = hd.pm.ParametricMap(
        source_images=sources_of(evidence, mapped),
        pixel_array=values,
        **identity.of("map"),
        **equipment_of(result),
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[mapping],
        window_center=peak / 2 or 0.5,  # highdicom 0.27, which 3D Slicer contains, has no newer argument for these
        window_width=peak or 1.0,
        content_description="Attention map. RESEARCH USE ONLY",
        content_label=LABEL,
        content_qualification=hd.ContentQualificationValues.RESEARCH,
        series_description=f"Attention map, {result.attention.target} (RESEARCH)",
    )
    (window,) = made.SharedFunctionalGroupsSequence[0].FrameVOILUTSequence
    window.VOILUTFunction = "LINEAR_EXACT"  # 'LINEAR' allows no width below 1
    _order_frames(made, values)
    refer(made, evidence, mapped, concept(VISUAL_EXPLANATION))
    anatomy = Dataset()  # readers that build on dcmqi, such as 3D Slicer, crash without it
    anatomy.FrameLaterality, anatomy.AnatomicRegionSequence = "U", [concept(ABDOMEN)]
    made.SharedFunctionalGroupsSequence[0].FrameAnatomySequence = [anatomy]
    return made


def _order_frames(made: Any, values: np.ndarray) -> None:
    """Order the frames of a map along the normal of its images (row times column direction).

    highdicom orders them against it. Readers that build on dcmqi, such as 3D Slicer, take the frames in their order as
    slices from the first position, whatever position each states: they would exchange the first and the last slice.
    """
    frames = list(made.PerFrameFunctionalGroupsSequence)
    orientation = np.array(made.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0].ImageOrientationPatient)
    normal = np.cross(orientation[:3], orientation[3:])
    along = [float(normal @ np.array(one.PlanePositionSequence[0].ImagePositionPatient)) for one in frames]
    order = np.argsort(along)
    stored = np.frombuffer(made.FloatPixelData, "<f4").reshape(values.shape)
    made.FloatPixelData = stored[order].tobytes()
    made.PerFrameFunctionalGroupsSequence = [frames[k] for k in order]
    for number, frame in enumerate(made.PerFrameFunctionalGroupsSequence, start=1):
        frame.FrameContentSequence[0].DimensionIndexValues = [number]


__all__ = ["LABEL", "make_map", "quantity_of"]
