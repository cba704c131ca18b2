"""Make the structured report of a result: Comprehensive 3D SR by template TID 1500.

One group states the stage of the case, one each voting slice with its image, one the attention region with its
agreement with the ROI. Each of them states the intended use as a code.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from GTRStagingLib.dicom_results import codes as c
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

    result, region = evidence.result, objects.get("region")
    content = content_of(result, None if region is None else threshold)
    groups = [_case(content, evidence, identity), *_slices(content, evidence, identity)]
    if region is not None:
        groups.append(_region(content, evidence, identity, region))
    report = hd.sr.MeasurementReport(
        observation_context=hd.sr.ObservationContext(observer_device_context=observer(result, identity)),
        procedure_reported=c.concept(c.PROCEDURE),
        imaging_measurements=groups,
        title=c.concept(c.REPORT_TITLE),
    )
    items = report[0].ContentSequence
    items.insert(len(items) - 1, _library(evidence, objects))
    return document(
        hd.sr.Comprehensive3DSR,
        report,
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


def _case(content: ReportContent, evidence: Evidence, identity: Identity) -> Any:
    """Return the group with the stage of the case."""
    import highdicom as hd

    measurements = [
        *_probabilities(content.prediction.probabilities, mean=True),
        *_numbers(
            (c.KEY_INDEX, content.key_slice, c.NO_UNIT),
            (c.KEY_POSITION, content.key_position_mm, c.MM),
            (c.SLICE_DISTANCE, content.slice_mm, c.MM),
            (c.FAMILIARITY_RANK, content.percentile, c.PERCENT),
            (c.SET_LEVEL, content.set_level, c.NO_UNIT),
            (c.LOOKS, content.looks, c.NO_UNIT),
            (c.SPREAD, content.spread, c.BIT),
        ),
    ]
    group = hd.sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking(f"{CASE} {content.case_id}", identity),
        finding_type=c.concept(c.NEOPLASM),
        finding_sites=[hd.sr.FindingSite(c.concept(c.STOMACH))],
        method=c.concept(c.METHOD),
        algorithm_id=_algorithm(content),
        measurements=measurements,
        qualitative_evaluations=[
            *_evaluations(
                (c.QUESTION, c.STAGES[content.stage]),
                (c.INTENDED_USE, c.RESEARCH_ONLY),
                (c.MODEL_STATUS, c.MODEL_NOT_WARNED if content.model_warning is None else c.MODEL_WARNED),
                (c.FAMILIARITY, c.VERDICTS[content.familiarity]),
                *((c.SET_STAGE, c.STAGES[stage]) for stage in content.set_stages),
            )
        ],
        source_images=[_source(evidence, k) for k in range(len(evidence.headers))],
    )
    group[0].ContentSequence.extend(
        _texts(
            (c.MODEL_WARNING, content.model_warning),
            (c.KEY_CHOSEN_BY, content.key_slice_by),
            (c.SET_WITHHELD, content.set_withheld),
            *((c.FAMILIARITY_REASON, reason) for reason in content.reasons),
            *((c.WARNING, warning) for warning in content.warnings),
            (c.DIGEST, content.digest),
        )
    )
    return group


def _slices(content: ReportContent, evidence: Evidence, identity: Identity) -> Iterator[Any]:
    """Yield the group of each voting slice, with its image."""
    import highdicom as hd

    for k, one in enumerate(content.prediction.slices):
        yield hd.sr.MeasurementsAndQualitativeEvaluations(
            tracking_identifier=_tracking(
                f"{SLICE} {one.offset:+d}" if one.offset else f"{SLICE} 0, key slice", identity
            ),
            finding_type=c.concept(c.NEOPLASM),
            finding_sites=[hd.sr.FindingSite(c.concept(c.STOMACH))],
            method=c.concept(c.METHOD),
            measurements=[
                *_probabilities(one.probabilities),
                *_numbers((c.SLICE_OFFSET, one.offset, c.SLICES)),
            ],
            qualitative_evaluations=[
                *_evaluations((c.QUESTION, c.STAGES[one.stage]), (c.INTENDED_USE, c.RESEARCH_ONLY))
            ],
            source_images=[_source(evidence, k)],
        )


def _region(content: ReportContent, evidence: Evidence, identity: Identity, region: Any) -> Any:
    """Return the group of the attention region, by TID 1410: its segment, and its agreement with the ROI."""
    import highdicom as hd

    key = evidence.result.slices.key
    peak = {True: [(c.POINTING, c.POINTING_HIT)], False: [(c.POINTING, c.POINTING_MISS)], None: []}[
        content.pointing_hit
    ]
    group = hd.sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(
            uid=region.SegmentSequence[0].TrackingUID, identifier=region.SegmentSequence[0].TrackingID
        ),
        referenced_segment=hd.sr.ReferencedSegmentationFrame(
            region.SOPClassUID,
            region.SOPInstanceUID,
            frame_number=1,
            segment_number=1,
            source_image=hd.sr.SourceImageForSegmentation(*_place(evidence, key)),
        ),
        finding_type=c.concept(c.VISUAL_EXPLANATION),
        measurements=[
            *_numbers(
                (c.THRESHOLD, content.threshold, c.NO_UNIT),
                *((c.AGREEMENT[name], value, _UNITS.get(name, c.NO_UNIT)) for name, value in content.agreement.items()),
            )
        ],
        qualitative_evaluations=[*_evaluations((c.INTENDED_USE, c.RESEARCH_ONLY), *peak)],
    )
    for item in group[0].ContentSequence:
        if item.ValueType == "IMAGE" and "ReferencedSegmentNumber" in item.ReferencedSOPSequence[0]:
            # PS3.3 C.18.4: a reference names frames or segments; the segment has one frame.
            del item.ReferencedSOPSequence[0].ReferencedFrameNumber
    return group


# -- items ---------------------------------------------------------------------------------------------------------


def _algorithm(content: ReportContent) -> Any:
    """Return the identification of the algorithm; its parameters name the model, by hashes."""
    import highdicom as hd

    names = ("model", "weights_sha256", "card_sha256", "method")
    found = hd.sr.AlgorithmIdentification(
        name=OWN_MODEL,
        version=content.software,
        parameters=[f"{name}: {getattr(content, name)}" for name in names],
    )
    found.append(  # highdicom 0.27, which 3D Slicer contains, has no argument for it
        hd.sr.CodeContentItem(
            name=c.concept(c.ALGORITHM_FAMILY),
            value=c.concept(c.ARTIFICIAL_INTELLIGENCE),
            relationship_type=hd.sr.RelationshipTypeValues.HAS_CONCEPT_MOD,
        )
    )
    return found


def _tracking(identifier: str, identity: Identity) -> Any:
    import highdicom as hd

    return hd.sr.TrackingIdentifier(uid=identity.uid(f"tracking of {identifier}"), identifier=identifier)


def _probabilities(four: tuple[float, ...], *, mean: bool = False) -> Iterator[Any]:
    import highdicom as hd

    for code, value in zip(c.PROBABILITIES.values(), four, strict=True):
        yield hd.sr.Measurement(
            name=c.concept(code),
            value=float(value),
            unit=c.concept(c.NO_UNIT),
            derivation=c.concept(c.MEAN) if mean else None,
        )


def _numbers(*given: tuple[c.Code, float | None, c.Code]) -> Iterator[Any]:
    import highdicom as hd

    for name, value, unit in given:
        if value is not None:
            yield hd.sr.Measurement(name=c.concept(name), value=value, unit=c.concept(unit))


def _evaluations(*given: tuple[c.Code, c.Code]) -> Iterator[Any]:
    import highdicom as hd

    for name, value in given:
        yield hd.sr.QualitativeEvaluation(name=c.concept(name), value=c.concept(value))


def _texts(*given: tuple[c.Code, str | None]) -> Iterator[Any]:
    import highdicom as hd

    for name, text in given:
        if text:
            yield hd.sr.TextContentItem(
                name=c.concept(name), value=text, relationship_type=hd.sr.RelationshipTypeValues.CONTAINS
            )


def _place(evidence: Evidence, k: int) -> tuple[str, str, list[int] | None]:
    """Return class, UID and frame of a voting slice's image."""
    header = evidence.headers[k]
    frames = None if evidence.frames is None else [evidence.frames[k]]
    return header.SOPClassUID, header.SOPInstanceUID, frames


def _source(evidence: Evidence, k: int) -> Any:
    import highdicom as hd

    return hd.sr.SourceImageForMeasurementGroup(*_place(evidence, k))


def _library(evidence: Evidence, objects: Mapping[Kind, Any]) -> Any:
    """Return the image library: the images of the voting slices, then map and picture."""
    import highdicom as hd

    contains = hd.sr.RelationshipTypeValues.CONTAINS
    pictures = [(c.VISUAL_EXPLANATION, objects.get("map")), (c.ILLUSTRATION, objects.get("picture"))]
    groups = (
        (c.CT_IMAGE, [(c.SOURCE_IMAGE, *_place(evidence, k)) for k in range(len(evidence.headers))]),
        (c.OTHER_IMAGE, [(name, ds.SOPClassUID, ds.SOPInstanceUID, None) for name, ds in pictures if ds is not None]),
    )
    library = hd.sr.ContainerContentItem(name=c.concept(c.IMAGE_LIBRARY), relationship_type=contains)
    library.ContentSequence = hd.sr.ContentSequence()
    for modality, images in groups:
        group = hd.sr.ContainerContentItem(name=c.concept(c.LIBRARY_GROUP), relationship_type=contains)
        group.ContentSequence = hd.sr.ContentSequence(
            [
                hd.sr.CodeContentItem(
                    name=c.concept(c.MODALITY),
                    value=c.concept(modality),
                    relationship_type=hd.sr.RelationshipTypeValues.HAS_ACQ_CONTEXT,
                ),
                *(
                    hd.sr.ImageContentItem(
                        name=c.concept(name),
                        referenced_sop_class_uid=sop_class,
                        referenced_sop_instance_uid=uid,
                        referenced_frame_numbers=frames,
                        relationship_type=contains,
                    )
                    for name, sop_class, uid, frames in images
                ),
            ]
        )
        if images:
            library.ContentSequence.append(group)
    return library


__all__ = ["CASE", "REGION", "SLICE", "make_report", "observer"]
