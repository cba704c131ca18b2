"""Hold the options of a staging, and refuse wrong ones before anything is read. Imports nothing heavy."""

from dataclasses import asdict, dataclass
from numbers import Real
from typing import Any, Literal, get_args

from GTRStagingLib.errors import InputError
from GTRStagingLib.model.card import HeadKind, ModelCard
from GTRStagingLib.stages import TStage

Method = Literal["auto", "fine", "gated", "gradcam", "gradcam++", "layercam", "eigencam"]
Alignment = Literal["receptive_field", "half_pixel"]

METHODS: tuple[Method, ...] = get_args(Method)
"""'auto': the model's own best. 'gated': the decomposition of the decision, of models with a gated head, which take no
other. 'fine': Grad-CAM of the last layer times the LayerCAM of two earlier ones, see `staging.cam`. The others are of
the last layer alone, and coarse: a cell is 32 pixels wide."""

ALIGNMENTS: tuple[Alignment, ...] = get_args(Alignment)

SWEEP = tuple(round(0.05 * i, 2) for i in range(1, 20))
"""Thresholds at which every result knows its agreement, as shares of the key slice's maximum. The panel's slider has
the same steps: `thresholdSlider` in GTRStaging.ui, which a test holds against these."""

PREDICTED = "predicted"
TARGETS = (PREDICTED, *(stage.name for stage in TStage))
"""How users name the stage whose attention they want."""


@dataclass(frozen=True)
class StagingOptions:
    """How a case is staged; the same for every case of a batch. Where the network runs is said by `load_model`.

    Attributes
    ----------
    method
        Attention method, one of `METHODS`; which of them a model takes, `resolve_method` says.
    target
        The stage whose attention is wanted; None for the predicted one.
    threshold
        Share of the key slice's maximum from which attention counts, in (0, 1].
    alignment
        Where the map's cells are placed: by the network's receptive field, or as common upsamplers do.
    neighbour_mm
        Distance of the voting neighbours in mm; None for the adjacent acquired slices.
    neighbour_maps
        Compute a fine map for the neighbours too, which costs as much again for each; else for the key slice alone.
        All other methods give every slice's.
    resample_roi
        Accept an ROI on other voxels than the CT's, and bring it onto them by its nearest voxel.

    Raises
    ------
    InputError
        If one of them is not what is said here. `neighbour_mm` is held against the scan's length as well, when there
        is one (`preprocess.neighbour_step`).

    Examples
    --------
    >>> from GTRStagingLib import StagingOptions, TStage
    >>> StagingOptions(target=TStage.T4).to_json()["target"]
    'T4'
    >>> StagingOptions(threshold=50)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    GTRStagingLib.errors.InputError: Threshold 50; expected a share of the map's maximum, above 0 and at most 1...
    """

    method: Method = "auto"
    target: TStage | None = None
    threshold: float = 0.5
    alignment: Alignment = "receptive_field"
    neighbour_mm: float | None = None
    neighbour_maps: bool = True
    resample_roi: bool = False

    def __post_init__(self) -> None:
        require_method(self.method)
        require_alignment(self.alignment)
        require_threshold(self.threshold)
        if not (self.target is None or isinstance(self.target, TStage)):
            raise InputError(f"Target {self.target!r}; expected a TStage, or None for the predicted stage.")
        length = self.neighbour_mm
        if length is not None and not (_is_number(length) and 0 < length < float("inf")):
            raise InputError(
                f"Neighbours at {self.neighbour_mm} mm; expected a distance above 0, or None for the adjacent slices."
            )
        object.__setattr__(self, "threshold", float(self.threshold))  # JSON knows no number of numpy's
        object.__setattr__(self, "neighbour_mm", None if self.neighbour_mm is None else float(self.neighbour_mm))

    def to_json(self) -> dict[str, Any]:
        """The options as plain data, the target by its name (None: predicted)."""
        return {**asdict(self), "target": None if self.target is None else self.target.name}


def parse_target(name: str) -> TStage | None:
    """Translate one of `TARGETS` to what `StagingOptions.target` takes."""
    return None if name == PREDICTED else TStage[name]


def methods_for(head: HeadKind) -> tuple[Method, ...]:
    """Tell the methods that a model of such a head takes.

    Examples
    --------
    >>> from GTRStagingLib.staging.options import methods_for
    >>> methods_for("gated")
    ('auto', 'gated')
    """
    return ("auto", "gated") if head == "gated" else tuple(method for method in METHODS if method != "gated")


def resolve_method(card: ModelCard, method: Method) -> Method:
    """Which method a model's maps are made by.

    Raises
    ------
    InputError
        If there is no such method, or not for this model.
    """
    require_method(method)
    gated = card.head == "gated"
    if method not in methods_for(card.head):
        why, expected = (
            ("its head is gated, and its map is the decomposition of its own decision", "'auto' or 'gated'")
            if gated
            else ("its head is not gated", "any but 'gated'")
        )
        raise InputError(
            f"Attention method {method!r} for model {card.name!r}: {why}; expected {expected}. Take 'auto'."
        )
    own: Method = "gated" if gated else "fine"
    return own if method == "auto" else method


def is_stage_specific(method: str) -> bool:
    """Tell whether a map of this method may be called the attention for a stage.

    Spearman's correlation with the other stages' maps, on 16 phantoms: Grad-CAM -0.15, Grad-CAM++ 0.67, LayerCAM 0.75;
    EigenCAM and the gate are the same for every stage.

    Examples
    --------
    >>> from GTRStagingLib.staging.options import is_stage_specific
    >>> is_stage_specific("fine"), is_stage_specific("layercam")
    (True, False)
    """
    return method not in ("gradcam++", "layercam", "eigencam", "gate")


def require_method(method: str) -> None:
    """Raise `InputError` unless there is such an attention method."""
    if method not in METHODS:
        raise InputError(f"Attention method {method!r}; expected one of {', '.join(METHODS)}.")


def require_alignment(alignment: str) -> None:
    """Raise `InputError` unless there is such an alignment."""
    if alignment not in ALIGNMENTS:
        raise InputError(f"Alignment {alignment!r}; expected one of {', '.join(ALIGNMENTS)}.")


def _is_number(value: object) -> bool:
    """Whether it is a real number, of Python or numpy: types are hints, and a command line gives texts."""
    return isinstance(value, Real)


def require_threshold(threshold: float) -> None:
    """Raise `InputError` unless the threshold is a share in (0, 1]."""
    if not (_is_number(threshold) and 0 < threshold <= 1):
        raise InputError(
            f"Threshold {threshold}; expected a share of the map's maximum, above 0 and at most 1. Give such a "
            "--threshold, or leave it at 0.5."
        )


__all__ = [
    "ALIGNMENTS",
    "METHODS",
    "PREDICTED",
    "SWEEP",
    "TARGETS",
    "Alignment",
    "Method",
    "StagingOptions",
    "is_stage_specific",
    "methods_for",
    "parse_target",
    "require_alignment",
    "require_method",
    "require_threshold",
    "resolve_method",
]
