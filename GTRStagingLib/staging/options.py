"""Options of staging a case, validated when they are made. Imports no heavy package."""

from dataclasses import asdict, dataclass
from numbers import Real
from typing import Any, Literal, get_args

from GTRStagingLib.errors import InputError
from GTRStagingLib.model.card import HeadKind, ModelCard
from GTRStagingLib.stages import TStage

Method = Literal["auto", "fine", "gated", "gradcam", "gradcam++", "layercam", "eigencam"]
Alignment = Literal["receptive_field", "half_pixel"]

METHODS: tuple[Method, ...] = get_args(Method)
"""'auto': 'gated' for a model with a gated head, else 'fine'. 'gated': the decomposition of the decision, the only
method of models with a gated head. 'fine': Grad-CAM of the last layer times the LayerCAM of two earlier ones, see
`staging.cam`. The other methods use the last layer alone and are coarse: a cell is 32 pixels wide."""

ALIGNMENTS: tuple[Alignment, ...] = get_args(Alignment)

SWEEP = tuple(round(0.05 * i, 2) for i in range(1, 20))
"""Thresholds at which every result contains the agreement, as shares of the key slice's maximum. The panel's slider has
the same steps: a test compares `thresholdSlider` in GTRStaging.ui with them."""

PREDICTED = "predicted"
TARGETS = (PREDICTED, *(stage.name for stage in TStage))
"""Names of the stages for which users can request attention."""


@dataclass(frozen=True)
class StagingOptions:
    """Options of staging a case, the same for every case of a batch. `load_model` sets the device and the backend.

    Attributes
    ----------
    method
        Attention method, one of `METHODS`; `resolve_method` checks that the model supports it.
    target
        Stage of the attention map; None for the predicted stage.
    threshold
        Threshold of the map as a share of the key slice's maximum, in (0, 1].
    alignment
        Placement of the map's cells: by the network's receptive field, or as common upsamplers do.
    neighbour_mm
        Distance of the neighbouring slices in mm; None for the adjacent acquired slices.
    neighbour_maps
        Compute a fine map for the neighbouring slices too, each at the cost of the key slice's; False for the key
        slice alone. All other methods map every voting slice.
    resample_roi
        Accept an ROI on another grid than the CT's, and resample it to the CT by nearest neighbour.
    tta
        Test-time augmentation: look at the slices as they are, mirrored, and shifted (`staging.looks.VIEWS`), at six
        times the cost of the network; the result is the mean.
    propose_key_slice
        Let the model propose the key slice of a case that has none (`staging.proposal`); the result says so.

    Raises
    ------
    InputError
        If an option is out of range. `preprocess.neighbour_step` also compares `neighbour_mm` with the scan's length.

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
    tta: bool = False
    propose_key_slice: bool = False

    def __post_init__(self) -> None:
        require_method(self.method)
        require_alignment(self.alignment)
        require_threshold(self.threshold)
        if not (self.target is None or isinstance(self.target, TStage)):
            raise InputError(f"Target {self.target!r}; expected a TStage, or None for the predicted stage.")
        length = self.neighbour_mm
        if length is not None and not (_is_number(length) and 0 < length < float("inf")):
            raise InputError(
                f"Neighbouring slices at {self.neighbour_mm} mm; expected a distance above 0. Without one, the "
                "adjacent slices are used."
            )
        for name in _SWITCHES:
            if (value := getattr(self, name)) not in (True, False):  # also of numpy; a text such as 'no' would be true
                raise InputError(f"Option {name} is {value!r}; expected True or False.")
            object.__setattr__(self, name, bool(value))
        object.__setattr__(self, "threshold", float(self.threshold))  # JSON cannot store numpy numbers
        object.__setattr__(self, "neighbour_mm", None if self.neighbour_mm is None else float(self.neighbour_mm))

    def to_json(self) -> dict[str, Any]:
        """Return the options as plain data, the target by its name (None: predicted)."""
        return {**asdict(self), "target": None if self.target is None else self.target.name}


_SWITCHES = ("neighbour_maps", "resample_roi", "tta", "propose_key_slice")


def parse_target(name: str) -> TStage | None:
    """Convert one of `TARGETS` to a value of `StagingOptions.target`."""
    return None if name == PREDICTED else TStage[name]


def methods_for(head: HeadKind) -> tuple[Method, ...]:
    """Return the attention methods of models with this kind of head.

    Examples
    --------
    >>> from GTRStagingLib.staging.options import methods_for
    >>> methods_for("gated")
    ('auto', 'gated')
    """
    return ("auto", "gated") if head == "gated" else tuple(method for method in METHODS if method != "gated")


def resolve_method(card: ModelCard, method: Method) -> Method:
    """Return the attention method to use for a model, with 'auto' resolved.

    Raises
    ------
    InputError
        If the method is unknown, or not available for this model.
    """
    require_method(method)
    gated = card.head == "gated"
    if method not in methods_for(card.head):
        why, expected = (
            ("has a gated head and explains its decision by its gate", "'auto' or 'gated'")
            if gated
            else ("has no gated head", "any but 'gated'")
        )
        raise InputError(
            f"Attention method {method!r} for model {card.name!r}, which {why}; expected {expected}. Use 'auto'."
        )
    own: Method = "gated" if gated else "fine"
    return own if method == "auto" else method


def is_stage_specific(method: str) -> bool:
    """Return whether the maps of a method differ between stages.

    Only such a map may be called the attention for a stage. Spearman's correlation with the other stages' maps, on 16
    phantoms: Grad-CAM -0.15, Grad-CAM++ 0.67, LayerCAM 0.75; EigenCAM and the gate are the same for every stage.

    Examples
    --------
    >>> from GTRStagingLib.staging.options import is_stage_specific
    >>> is_stage_specific("fine"), is_stage_specific("layercam")
    (True, False)
    """
    return method not in ("gradcam++", "layercam", "eigencam", "gate")


def require_method(method: str) -> None:
    """Raise `InputError` unless the attention method is one of `METHODS`."""
    if method not in METHODS:
        raise InputError(f"Attention method {method!r}; expected one of {', '.join(METHODS)}.")


def require_alignment(alignment: str) -> None:
    """Raise `InputError` unless the alignment is one of `ALIGNMENTS`."""
    if alignment not in ALIGNMENTS:
        raise InputError(f"Alignment {alignment!r}; expected one of {', '.join(ALIGNMENTS)}.")


def _is_number(value: object) -> bool:
    """Return whether a value is a real number of Python or numpy; callers may pass text."""
    return isinstance(value, Real)


def require_threshold(threshold: float) -> None:
    """Raise `InputError` unless the threshold is in (0, 1]."""
    if not (_is_number(threshold) and 0 < threshold <= 1):
        raise InputError(
            f"Threshold {threshold}; expected a share of the map's maximum, above 0 and at most 1. Change `threshold`; "
            "the default is 0.5."
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
