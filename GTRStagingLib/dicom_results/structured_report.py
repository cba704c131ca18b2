"""Make the structured report of a result: Comprehensive 3D SR by template TID 1500.

One group states the stage of the case, one each voting slice with its image, one the attention region with its
agreement with the ROI. Each of them states the intended use as a code.

The region's group is alone among the 'Imaging Measurements'; the other groups are below 'Qualitative Evaluations', as
additions to its rows, which TID 1500 allows. 3D Slicer takes the n-th group of the measurements for the n-th segment of
the last segmentation, and the first group's measurements for those of all groups: see `docs/dicom-results.md`.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

from GTRStagingLib.dicom_results import codes as c
from GTRStagingLib.dicom_results.content_items import coded, container, image, number, text, uid
from GTRStagingLib.dicom_results.evidence import Evidence
from GTRStagingLib.dicom_results.identity import MANUFACTURER, Identity, Kind, equipment_of
from GTRStagingLib.dicom_results.report_content import ReportContent, content_of
from GTRStagingLib.dicom_results.study import document, plain
from GTRStagingLib.imaging.dicom_references import OWN_MODEL
from GTRStagingLib.staging.result import StagingResult

CASE, SLICE, REGION = "Case", "Voting slice", "Attention region"
"""First words of the tracking identifiers of the groups; the case's id follows the first."""

_UNITS = {"area_mm2": c.MM2, "roi_area_mm2": c.MM2, "hd95_mm": c.MM, "centroid_distance_mm": c.MM}


def make_report(evidence: Evidence, identity: Identity, threshold: float, objects: Mapping[Kind, Any]) -> Any:
    """Return the structured report.

    Parameters
    ----------
    threshold
        Of the region, as a share of the key slice's maximum.
    objects
        The other objects of the result, which the report refers to.

    Returns
    -------
    highdicom `Comprehensive3DSR`, preliminary and unverified; with codes of SNOMED CT, see `codes.finish_codes`.
    """
    import highdicom as hd
    from pydicom.sequence import Sequence

    result, region = evidence.result, objects.get("region")
    content = content_of(result, None if region is None else threshold)
    measured = [] if region is None else [_region(content, evidence, identity, region)]
    root = hd.sr.ContainerContentItem(name=c.concept(c.REPORT_TITLE), template_id="1500")
    return document(
        hd.sr.Comprehensive3DSR,
        Sequence([root]),
        [
            coded(c.LANGUAGE, c.ENGLISH, "HAS CONCEPT MOD"),
            *observer(result, identity),
            coded(c.PROCEDURE_REPORTED, c.PROCEDURE, "HAS CONCEPT MOD"),
            _library(evidence, objects),
            *([container(c.IMAGING_MEASUREMENTS, measured)] if measured else []),
            container(c.QUALITATIVE_EVALUATIONS, _evaluations(content, evidence, identity)),
        ],
        evidence=[*map(plain, evidence.images), *objects.values()],
        is_complete=True,
        is_final=False,
        is_verified=False,
        **identity.of("report"),
        **equipment_of(result),
        series_description=f"Staging report, {result.prediction.stage} (RESEARCH USE ONLY)",
    )


def observer(result: StagingResult, identity: Identity) -> Any:
    """Return the observer of report and key objects: this software with the model's weights."""
    import highdicom as hd
    from pydicom.sr.codedict import codes

    return hd.sr.ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=hd.sr.DeviceObserverIdentifyingAttributes(
            uid=identity.device_uid,
            name=f"{OWN_MODEL} with model {result.model.name}",
            manufacturer_name=MANUFACTURER,
            model_name=OWN_MODEL,
            serial_number=result.provenance.weights_sha256,
        ),
    )


# -- groups --------------------------------------------------------------------------------------------------------


def _evaluations(content: ReportContent, evidence: Evidence, identity: Identity) -> list[Any]:
    """Return the evaluations of the case with what no reader of a stage may miss, then the groups with the numbers."""
    return [
        *_stage(content),
        *_texts((c.MODEL_WARNING, content.model_warning)),
        _case(content, evidence, identity),
        *_slices(content, evidence, identity),
    ]


def _stage(content: ReportContent) -> list[Any]:
    """Return the stage of the case, and the codes that say how far it is to be believed."""
    return [
        coded(c.QUESTION, c.STAGES[content.stage]),
        coded(c.INTENDED_USE, c.RESEARCH_ONLY),
        coded(c.MODEL_STATUS, c.MODEL_NOT_WARNED if content.model_warning is None else c.MODEL_WARNED),
        coded(c.FAMILIARITY, c.VERDICTS[content.familiarity]),
    ]


def _case(content: ReportContent, evidence: Evidence, identity: Identity) -> Any:
    """Return the group with the stage of the case."""
    return _group(
        f"{CASE} {content.case_id}",
        identity,
        _algorithm(content),
        _probabilities(content.prediction.probabilities, mean=True),
        _numbers(
            (c.KEY_INDEX, content.key_slice, c.NO_UNIT),
            (c.KEY_POSITION, content.key_position_mm, c.MM),
            (c.SLICE_DISTANCE, content.slice_mm, c.MM),
            (c.FAMILIARITY_RANK, content.percentile, c.PERCENT),
            (c.SET_LEVEL, content.set_level, c.NO_UNIT),
            (c.LOOKS, content.looks, c.NO_UNIT),
            (c.SPREAD, content.spread, c.BIT),
        ),
        [
            *_stage(content),
            *(coded(c.SET_STAGE, c.STAGES[stage]) for stage in content.set_stages),
        ],
        [image(c.SOURCE_IMAGE, *_place(evidence, k)) for k in range(len(evidence.headers))],
        _texts(
            (c.MODEL_WARNING, content.model_warning),
            (c.KEY_CHOSEN_BY, content.key_slice_by),
            (c.SET_WITHHELD, content.set_withheld),
            *((c.FAMILIARITY_REASON, reason) for reason in content.reasons),
            *((c.WARNING, warning) for warning in content.warnings),
            (c.DIGEST, content.digest),
        ),
    )


def _slices(content: ReportContent, evidence: Evidence, identity: Identity) -> Iterator[Any]:
    """Yield the group of each voting slice, with its image."""
    for k, one in enumerate(content.prediction.slices):
        yield _group(
            f"{SLICE} {one.offset:+d}" if one.offset else f"{SLICE} 0, key slice",
            identity,
            _probabilities(one.probabilities),
            _numbers((c.SLICE_OFFSET, one.offset, c.SLICES)),
            [coded(c.QUESTION, c.STAGES[one.stage]), coded(c.INTENDED_USE, c.RESEARCH_ONLY)],
            [image(c.SOURCE_IMAGE, *_place(evidence, k))],
        )


def _group(identifier: str, identity: Identity, *items: Iterable[Any]) -> Any:
    """Return a group about the tumour, by TID 1501."""
    return container(
        c.MEASUREMENT_GROUP,
        [
            *_tracking(identifier, identity.uid(f"tracking of {identifier}")),
            coded(c.FINDING, c.NEOPLASM),
            coded(c.MEASUREMENT_METHOD, c.METHOD),
            coded(c.FINDING_SITE, c.STOMACH, "HAS CONCEPT MOD"),
            *chain(*items),
        ],
        template="1501",
    )


def _region(content: ReportContent, evidence: Evidence, identity: Identity, region: Any) -> Any:
    """Return the group of the attention region, by TID 1410: its segment, and its agreement with the ROI."""
    segment = region.SegmentSequence[0]
    peak = {True: [c.POINTING_HIT], False: [c.POINTING_MISS], None: []}[content.pointing_hit]
    return container(
        c.MEASUREMENT_GROUP,
        [
            *_tracking(segment.TrackingID, segment.TrackingUID),
            coded(c.FINDING, c.VISUAL_EXPLANATION),
            *_numbers(
                (c.THRESHOLD, content.threshold, c.NO_UNIT),
                *((c.AGREEMENT[name], value, _UNITS.get(name, c.NO_UNIT)) for name, value in content.agreement.items()),
            ),
            coded(c.INTENDED_USE, c.RESEARCH_ONLY),
            *(coded(c.POINTING, place) for place in peak),
            # PS3.3 C.18.4: a reference names frames or segments; the segment has one frame.
            image(c.SEGMENTATION_FRAME, region.SOPClassUID, region.SOPInstanceUID, segment=1),
            image(c.SEGMENTED_IMAGE, *_place(evidence, evidence.result.slices.key)),
        ],
        template="1410",
    )


# -- items ---------------------------------------------------------------------------------------------------------


def _algorithm(content: ReportContent) -> Iterator[Any]:
    """Yield the identification of the algorithm; its parameters name the model, by hashes."""
    names = ("model", "weights_sha256", "card_sha256", "method")
    yield text(c.ALGORITHM_NAME, OWN_MODEL, "HAS CONCEPT MOD")
    yield text(c.ALGORITHM_VERSION, content.software, "HAS CONCEPT MOD")
    for name in names:
        yield text(c.ALGORITHM_PARAMETERS, f"{name}: {getattr(content, name)}", "HAS CONCEPT MOD")
    yield coded(c.ALGORITHM_FAMILY, c.ARTIFICIAL_INTELLIGENCE, "HAS CONCEPT MOD")


def _tracking(identifier: str, unique: str) -> Iterator[Any]:
    yield text(c.TRACKING_ID, identifier, "HAS OBS CONTEXT")
    yield uid(c.TRACKING_UID, unique, "HAS OBS CONTEXT")


def _probabilities(four: tuple[float, ...], *, mean: bool = False) -> Iterator[Any]:
    for code, value in zip(c.PROBABILITIES.values(), four, strict=True):
        yield number(code, float(value), c.NO_UNIT, derivation=c.MEAN if mean else None)


def _numbers(*given: tuple[c.Code, float | None, c.Code]) -> Iterator[Any]:
    for name, value, unit in given:
        if value is not None:
            yield number(name, value, unit)


def _texts(*given: tuple[c.Code, str | None]) -> Iterator[Any]:
    for name, value in given:
        if value:
            yield text(name, value)


def _place(evidence: Evidence, k: int) -> tuple[str, str, list[int] | None]:
    """Return class, UID and frame of a voting slice's image."""
    header = evidence.headers[k]
    frames = None if evidence.frames is None else [evidence.frames[k]]
    return header.SOPClassUID, header.SOPInstanceUID, frames


def _library(evidence: Evidence, objects: Mapping[Kind, Any]) -> Any:
    """Return the image library: the images of the voting slices, then map and picture."""
    pictures = [(c.VISUAL_EXPLANATION, objects.get("map")), (c.ILLUSTRATION, objects.get("picture"))]
    groups = (
        (c.CT_IMAGE, [image(c.SOURCE_IMAGE, *_place(evidence, k)) for k in range(len(evidence.headers))]),
        (c.OTHER_IMAGE, [image(name, ds.SOPClassUID, ds.SOPInstanceUID) for name, ds in pictures if ds is not None]),
    )
    return container(
        c.IMAGE_LIBRARY,
        [
            container(c.LIBRARY_GROUP, [coded(c.MODALITY, modality, "HAS ACQ CONTEXT"), *images])
            for modality, images in groups
            if images
        ],
    )


__all__ = ["CASE", "REGION", "SLICE", "make_report", "observer"]
