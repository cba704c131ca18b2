"""Collect what the structured report of a result states, in the form in which it is read back."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import GTRStagingLib
from GTRStagingLib.dicom_results.codes import AGREEMENT
from GTRStagingLib.errors import InputError
from GTRStagingLib.imaging.keyslice import slice_distance_mm
from GTRStagingLib.stages import TStage
from GTRStagingLib.staging.familiarity import Verdict
from GTRStagingLib.staging.result import StagingResult
from GTRStagingLib.staging.stability import Stability, stability_of
from GTRStagingLib.staging.voting import Prediction
from GTRStagingLib.support.files import sha256_of_data

DIGITS = 9
"""Significant digits of a number that count as its content: more than a float32, fewer than a decimal string has."""

_ASCII = {"–": "-", "−": "-", "×": "x", "°": " degrees", "²": "2", "\N{NO-BREAK SPACE}": " ", "…": "..."}
_TO_ASCII = str.maketrans(_ASCII)


@dataclass(frozen=True)
class ReportContent:
    """What a structured report states on one case.

    Attributes
    ----------
    software
        Version of this software.
    model, model_warning
        Name and warning of the model.
    weights_sha256, card_sha256, method
        As in `Provenance` and `Attention`.
    prediction
        Vote of the slices with their probabilities.
    stage
        The stage, as stated beside the vote.
    slice_mm
        Distance of the acquired slices; None if unknown, and with it the position of the key slice.
    percentile, reasons
        Of the familiarity, whose verdict is `familiarity`.
    set_stages, set_level, set_withheld
        Stage set; without a level the model has none.
    looks, spread
        Number of looks, and their spread if there are several.
    threshold
        Threshold of the attention region, as a share of the key slice's maximum; None without a region.
    agreement
        Measure of `codes.AGREEMENT` -> value, of those that are defined; empty without an ROI or a region.
    pointing_hit
        Whether the peak of the map lies in the ROI; None if undefined.
    """

    case_id: str
    software: str
    model: str
    model_warning: str | None
    weights_sha256: str
    card_sha256: str
    method: str
    prediction: Prediction
    stage: TStage
    key_slice: int
    key_slice_by: str
    key_position_mm: float | None
    slice_mm: float | None
    familiarity: Verdict
    percentile: float | None
    reasons: tuple[str, ...]
    set_stages: tuple[TStage, ...]
    set_level: float | None
    set_withheld: str | None
    looks: int
    spread: float | None
    threshold: float | None
    agreement: Mapping[str, float] = field(hash=False)
    pointing_hit: bool | None
    warnings: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.stage != self.prediction.stage:
            raise InputError(
                f"The report states {self.stage}, but its slices vote for {self.prediction.stage}; expected the same. "
                "The report was changed after it was written: stage the case again."
            )

    @property
    def stability(self) -> Stability | None:
        """How far the stage holds along the voting slices; None if unknown."""
        return stability_of(self.prediction, self.slice_mm)

    @property
    def digest(self) -> str:
        """sha256 of the content, with numbers of `DIGITS` significant digits."""
        slices = [asdict(one) for one in self.prediction.slices]  # not the rule's words
        return sha256_of_data(_digits({**asdict(self), "prediction": slices}))


def content_of(result: StagingResult, threshold: float | None) -> ReportContent:
    """Return what the report of a result states.

    Parameters
    ----------
    threshold
        Of the attention region; None if there is no region.
    """
    key, familiarity, found, agreement = result.key_slice, result.familiarity, result.stage_set, result.agreement
    known = result.scan.spacing_known
    if threshold is None:
        agreement = None  # it is the region's
    measures = {} if agreement is None else asdict(agreement.at_threshold) | {
        "energy_inside": agreement.energy_inside, "roi_area_mm2": agreement.roi_area_mm2
    }  # fmt: skip
    return ReportContent(
        case_id=result.case_id,
        software=GTRStagingLib.__version__,
        model=result.model.name,
        model_warning=None if result.model.warning is None else _plain(result.model.warning),
        weights_sha256=result.provenance.weights_sha256,
        card_sha256=result.provenance.card_sha256,
        method=result.attention.method,
        prediction=result.prediction,
        stage=result.prediction.stage,
        key_slice=key.index,
        key_slice_by=key.chosen_by,
        key_position_mm=float(key.position_mm) if known else None,
        slice_mm=slice_distance_mm(result.scan.grid) if known else None,
        familiarity=familiarity.verdict,
        percentile=familiarity.percentile,
        reasons=tuple(map(_plain, familiarity.reasons)),
        set_stages=() if found is None else found.stages,
        set_level=None if found is None else found.level,
        set_withheld=None if found is None else found.withheld,
        looks=1 if result.looks is None else len(result.looks.each),
        spread=None if result.looks is None else result.looks.spread,
        threshold=threshold,
        agreement={name: float(measures[name]) for name in AGREEMENT if not math.isnan(measures.get(name, math.nan))},
        pointing_hit=None if agreement is None else agreement.pointing_hit,
        warnings=tuple(map(_plain, result.warnings)),
    )


def _plain(text: str) -> str:
    """Write typographic characters in ASCII, which every character set of DICOM has."""
    return text.translate(_TO_ASCII).strip()


def _digits(value: Any) -> Any:
    """Return plain data with numbers as texts of `DIGITS` significant digits."""
    if isinstance(value, Mapping):
        return {key: _digits(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_digits(one) for one in value]
    if isinstance(value, TStage):
        return str(value)
    return f"{value:.{DIGITS}g}" if isinstance(value, float) else value


__all__ = ["DIGITS", "ReportContent", "content_of"]
