"""Convert a result to strict JSON with a published schema, complete enough to recompute each of its numbers."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from importlib.resources import files
from typing import Any

import numpy as np

from GTRStagingLib.imaging.geometry import ImageOrGrid
from GTRStagingLib.stages import RESEARCH_USE_ONLY, TStage
from GTRStagingLib.staging.agreement import Agreement
from GTRStagingLib.staging.attention import Attention
from GTRStagingLib.staging.looks import Looks
from GTRStagingLib.staging.preprocess import PreparedSlices
from GTRStagingLib.staging.result import StagingResult
from GTRStagingLib.staging.stage_set import StageSet

SCHEMA_VERSION = "2.3"
"""Version of the schema: the first number changes with an incompatible change, the second with an addition."""


def schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of the record.

    Examples
    --------
    >>> from GTRStagingLib.results.record import SCHEMA_VERSION, schema
    >>> schema()["$id"] == f"urn:gtrstaging:result:{SCHEMA_VERSION}"
    True
    >>> {"prediction", "key_slice", "attention", "provenance"} <= set(schema()["required"])
    True
    """
    text = files("GTRStagingLib").joinpath("resources/result.schema.json").read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def to_json(result: StagingResult, *, include_phi: bool = False) -> dict[str, Any]:
    """Convert a result to plain data for `json.dumps(..., allow_nan=False)`.

    Undefined values are null; `agreement.reasons` or the warnings contain the reason.

    Parameters
    ----------
    include_phi
        Add the patient's identifiers, under `identifiers`.
    """
    record = {
        "schema": schema()["$id"],
        "schema_version": SCHEMA_VERSION,
        "research_use_only": RESEARCH_USE_ONLY,
        "case_id": result.case_id,
        "prediction": _prediction(result),
        "familiarity": asdict(result.familiarity),
        "key_slice": _key_slice(result),
        "looks": None if result.looks is None else _looks(result.looks),
        "agreement": None if result.agreement is None else _agreement(result.agreement, result.segment),
        "attention": _attention(result.attention),
        "warnings": list(result.warnings),
        "input": _input(result),
        "prepared": _prepared(result.slices, spacing_known=result.scan.spacing_known),
        "model": {
            **result.model.to_json(),
            "warning": result.model.warning,
            "check_in_words": result.map_check,
        },
        "provenance": asdict(result.provenance),
        "timings_s": dict(result.timings_s),
        "features": _shortest(result.features),
    }
    if include_phi:
        record["identifiers"] = dict(result.scan.identifiers)
    plain: dict[str, Any] = _plain(record)
    return plain


def _prediction(result: StagingResult) -> dict[str, Any]:
    prediction = result.prediction
    return {
        "stage": str(prediction.stage),
        "probabilities": prediction.probabilities,
        "mean_probability_stage": str(prediction.mean_probability_stage),
        "unanimous": prediction.unanimous,
        "tied": prediction.tied,
        "rule": prediction.rule,
        "votes": {str(stage): count for stage, count in prediction.votes.items()},
        "slices": [
            {
                "offset": one.offset,
                "index": result.key_slice.index + one.offset,
                "stage": str(one.stage),
                "probabilities": one.probabilities,
            }
            for one in prediction.slices
        ],
        "set": None if result.stage_set is None else _set(result.stage_set),
        "stability": None if result.stability is None else result.stability.to_json(),
    }


def _set(found: StageSet) -> dict[str, Any]:
    return {
        "stages": [str(stage) for stage in found.stages],
        "level": found.level,
        "text": found.text,
        "patients": {str(stage): n for stage, n in found.patients.items()},
        "withheld": found.withheld,
        "warning": found.warning,
    }


def _looks(looks: Looks) -> dict[str, Any]:
    return {
        "spread": looks.spread,
        "votes": {str(stage): count for stage, count in looks.votes.items()},
        "models": [
            {
                "name": card.name,
                "weights_sha256": card.sha256,
                "card_sha256": card.card_sha256,
                "temperature": card.temperature,
                "warning": card.warning,
                "familiarity": asdict(familiarity),
            }
            for card, familiarity in zip(looks.models, looks.familiarity, strict=True)
        ],
        "each": [
            {
                "model": one.model,
                "view": one.view,
                "stage": str(one.prediction.stage),
                "probabilities": one.prediction.probabilities,
            }
            for one in looks.each
        ],
        "disagreement": _shortest(looks.disagreement.maps),
    }


def _key_slice(result: StagingResult) -> dict[str, Any]:
    key = {**asdict(result.key_slice), "proposal": _proposal(result)}
    return key if result.scan.spacing_known else {**key, "position_mm": None, "tumour_area_mm2": None}


def _proposal(result: StagingResult) -> dict[str, Any] | None:
    found = result.proposal
    if found is None:
        return None
    return {
        "candidates": [asdict(one) for one in found.candidates],
        "smoothing_mm": found.smoothing_mm,
        "in_stomach": found.in_stomach,
        "left_out": len(found.left_out),
    }


def _agreement(agreement: Agreement, segment: str | None) -> dict[str, Any]:
    return {
        "segment": segment,
        **asdict(agreement.at_threshold),
        "otsu": asdict(agreement.at_otsu),
        "sweep": [asdict(one) for one in agreement.sweep],
        "pointing_hit": agreement.pointing_hit,
        "energy_inside": agreement.energy_inside,
        "roi_area_mm2": agreement.roi_area_mm2,
        "reasons": dict(agreement.reasons),
    }


def _attention(attention: Attention) -> dict[str, Any]:
    return {
        "method": attention.method,
        "layers": list(attention.layers),
        "target": str(attention.target),
        "alignment": attention.alignment,
        "cells": {"rows": asdict(attention.rows), "columns": asdict(attention.columns)},
        "mapped": list(attention.mapped),
        "empty": list(attention.empty),
        "maps": _shortest(attention.maps),
    }


def _input(result: StagingResult) -> dict[str, Any]:
    scan = result.scan
    return {
        "format": scan.format,
        "intensity": scan.intensity,
        "spacing_known": scan.spacing_known,
        "digest": scan.digest,
        **_grid(scan.grid, scan.spacing_known),
        "padding": [scan.padding(result.key_slice.index + offset) for offset in result.slices.offsets],
        "acquisition": dict(scan.acquisition),
    }


def _prepared(slices: PreparedSlices, *, spacing_known: bool) -> dict[str, Any]:
    """Describe the prepared slices: the cells of `attention.maps` are counted in pixels of their grid."""
    grid = _grid(slices.grid, spacing_known)
    return {"offsets": list(slices.offsets), "shape": list(slices.pixels.shape), "grid": grid}


def _grid(image: ImageOrGrid, spacing_known: bool) -> dict[str, Any]:
    return {
        "size": list(image.GetSize()),
        "spacing_mm": list(image.GetSpacing()) if spacing_known else None,
        "origin_mm": list(image.GetOrigin()) if spacing_known else None,
        "direction": list(image.GetDirection()) if spacing_known else None,
    }


class _Numbers(list[Any]):
    """Nested lists of finite numbers, which `_plain` need not search."""


def _shortest(array: np.ndarray) -> list[Any]:
    """Return nested lists of the shortest decimals with the same float32: half as long as the usual decimals."""
    values = np.array([float(str(value)) for value in array.astype(np.float32).ravel()])
    nested: list[Any] = values.reshape(array.shape).tolist()
    return _Numbers(nested) if np.isfinite(values).all() else nested


def _plain(value: Any) -> Any:
    """Convert containers and numbers for JSON. NaN becomes null; infinity stays, and `dumps` raises an error for it."""
    if isinstance(value, _Numbers):  # tens of thousands of numbers
        return list(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, TStage):
        return str(value)
    if isinstance(value, float) and math.isnan(value):
        return None
    return value.item() if isinstance(value, np.generic) else value


__all__ = ["SCHEMA_VERSION", "schema", "to_json"]
