"""Model cards: what a model is, what it learned from, and what every output must say of it."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from GTRStagingLib.errors import InputError, WeightsError
from GTRStagingLib.model.recipe import Recipe, is_finite
from GTRStagingLib.stages import RESEARCH_USE_ONLY, TStage

Status = Literal["trained", "demonstration", "untrained"]
Fusion = Literal["none", "add", "concat"]
HeadKind = Literal["mean", "gated"]
VERDICTS = ("passed", "failed", "not checked")
GATE_STRIDE = 4
"""Pixels of the input between the cells of a gated head."""

NOT_CHECKED = "This map has not been checked for this model."

DEPTHS = (10, 18, 50, 152)
"""The networks that there are, told without torch; `network` builds them."""

ATTENTION_LAYER = "layer4"
"""The last feature map: all that lies between it and the logits is average pooling and one linear layer."""


def untrained_warning(name: str) -> str:
    """What must be said of a model of random weights; also of the built-in one, whose card takes torch to make."""
    return f"Model '{name}' is UNTRAINED: its weights are random, and its stage means nothing."


@dataclass(frozen=True)
class ModelCard:
    """What a model is, and what it is for.

    Attributes
    ----------
    status
        'untrained' and 'demonstration' models are named as such in every output.
    depth, fusion, head
        Of `GTRNet`.
    masks
        Cases whose ROIs a gated head learned from.
    recipe
        The preprocessing it was trained with: nobody can pair the weights with another.
    sha256
        Of `model.safetensors`; for the built-in untrained model, of what would be written there.
    temperature
        The logits are divided by it before the softmax; 1 where it was not fitted.
    leaking
        Whether patients stood on two sides of a split when it was trained, or the model that it started from was.
    features_sha256
        Of `features.safetensors`; None where there are no feature statistics.
    mean_mask_sha256
        Of `mean_mask.safetensors`; None where no ROIs were known.
    check
        What `gtrstaging models check` found of the model's maps: `verdict` ('passed', 'failed' or 'not checked'),
        `summary` (the numbers, in words), `method`, `cases`, and the numbers of each test. None where nobody asked.
    training
        The record that the training run wrote: data, options, seeds, metrics, versions, leak audit. None for models
        that were not trained here.
    """

    name: str
    status: Status
    depth: int
    fusion: Fusion
    recipe: Recipe
    sha256: str
    provenance: str
    trained_on: str
    licence: str
    intended_use: str = RESEARCH_USE_ONLY
    citation: str = "Zheng et al., npj Digit Med 2025, doi:10.1038/s41746-025-02002-5"
    stages: tuple[str, ...] = tuple(stage.name for stage in TStage)
    attention_layer: str = ATTENTION_LAYER
    temperature: float = 1.0
    leaking: bool = False
    features_sha256: str | None = None
    training: Mapping[str, Any] | None = None
    head: HeadKind = "mean"
    masks: int = 0
    mean_mask_sha256: str | None = None
    check: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        texts = ("name", "sha256", "provenance", "trained_on", "licence", "intended_use", "citation")
        wrong = {key: value for key in texts if not isinstance(value := getattr(self, key), str)}
        if wrong or not self.name:
            raise WeightsError(
                f"Model card {self.name!r}: {wrong or 'no name'}; expected texts as {', '.join(texts)}, and a name "
                "that is not empty."
            )
        if (
            type(self.depth) is not int
            or self.depth not in DEPTHS
            or self.fusion not in get_args(Fusion)
            or self.status not in get_args(Status)
            or self.head not in get_args(HeadKind)
        ):
            raise WeightsError(
                f"Model card {self.name!r}: depth {self.depth!r}, fusion {self.fusion!r}, status {self.status!r}, "
                f"head {self.head!r}; expected one of {list(DEPTHS)}, {get_args(Fusion)}, {get_args(Status)}, "
                f"{get_args(HeadKind)}."
            )
        if tuple(self.stages) != tuple(stage.name for stage in TStage) or self.attention_layer != ATTENTION_LAYER:
            raise WeightsError(
                f"Model card {self.name!r}: stages {self.stages}, attention layer {self.attention_layer!r}; expected "
                f"T1 to T4 in this order, and {ATTENTION_LAYER!r}."
            )
        known = (self.sha256, self.features_sha256, self.mean_mask_sha256)
        hashes = [hash_ for hash_ in known if hash_ is not None]
        if (
            not all(isinstance(hash_, str) and re.fullmatch(r"[0-9a-f]{64}", hash_) for hash_ in hashes)
            or not is_finite(self.temperature)
            or self.temperature <= 0
        ):
            raise WeightsError(
                f"Model card {self.name!r}: sha256 {', '.join(map(repr, hashes))}, temperature {self.temperature!r}; "
                "expected 64 lower-case hexadecimal digits and a positive, finite number."
            )
        if not isinstance(self.leaking, bool) or not isinstance(self.training, Mapping | None):
            raise WeightsError(
                f"Model card {self.name!r}: leaking {self.leaking!r}, training {type(self.training).__name__}; "
                "expected true or false, and an object or null."
            )
        if type(self.masks) is not int or self.masks < 0:
            raise WeightsError(f"Model card {self.name!r}: masks {self.masks!r}; expected a number of cases.")
        if self.check is not None and not (
            isinstance(self.check, Mapping)
            and self.check.get("verdict") in VERDICTS
            and isinstance(self.check.get("summary"), str)
        ):
            raise WeightsError(
                f"Model card {self.name!r}: check {self.check!r}; expected null, or an object with a verdict of "
                f"{', '.join(VERDICTS)} and a summary. Run `gtrstaging models check` again."
            )

    @property
    def head_in_words(self) -> str:
        """What makes the logits of the features, as in 'gated, stride 4, masks of 1,200 cases'."""
        if self.head == "mean":
            return "mean of the last feature map"
        return f"gated, stride {GATE_STRIDE}, masks of {self.masks:,} cases"

    @property
    def check_in_words(self) -> str:
        """What a check found of the maps that it looked at, in a sentence; see `map_check`."""
        return self.map_check(None if self.check is None else self.check.get("method"))

    def map_check(self, method: str | None) -> str:
        """Say what must stand beside an attention map that a method made of this model.

        Examples
        --------
        >>> from dataclasses import replace
        >>> from GTRStagingLib.model.registry import locate, read_card
        >>> found = {"verdict": "passed", "summary": "60 cases; Dice 0.58", "method": "fine"}
        >>> card = replace(read_card(locate("demonstration")), check=found)
        >>> card.map_check("fine")
        'The map of this model passed its check (60 cases; Dice 0.58).'
        >>> card.map_check("layercam")
        "This map has not been checked for this model: its check was of maps by 'fine'."
        """
        if self.check is None:
            return NOT_CHECKED
        summary, checked = self.check["summary"], self.check.get("method")
        if method != checked:
            return f"{NOT_CHECKED[:-1]}: its check was of maps by {checked!r}."
        verdict = self.map_verdict(method)
        if verdict == "not checked":
            return f"{NOT_CHECKED[:-1]}: {summary}."
        how = "passed its check" if verdict == "passed" else "FAILED its check: do not rely on it"
        return f"The map of this model {how} ({summary})."

    def map_verdict(self, method: str | None) -> str:
        """One of `VERDICTS`, of a method's maps of this model."""
        if self.check is None or self.check.get("method") != method:
            return "not checked"
        verdict: str = self.check["verdict"]
        return verdict

    @property
    def warning(self) -> str | None:
        """What every output must say of a model that has not learned from patients, or not honestly."""
        said = []
        if self.status == "untrained":
            said.append(untrained_warning(self.name))
        if self.status == "demonstration":
            said.append(
                f"Model '{self.name}' is a DEMONSTRATION model, learned on synthetic phantoms, never for patients: of "
                "a patient its stage means nothing."
            )
        if self.leaking:
            said.append(
                f"Model '{self.name}' was trained on a LEAKING cohort: what is said of its accuracy is too good."
            )
        return " ".join(said) or None

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {**asdict(self), "stages": list(self.stages)}

    @classmethod
    def from_json(cls, data: object) -> "ModelCard":
        """A card from plain data; raises `WeightsError` where it is not valid."""
        if not isinstance(data, Mapping):
            raise WeightsError(
                f"The model card is a {type(data).__name__}; expected an object. Import the model again."
            )
        known = {field.name for field in fields(cls)}
        if unknown := sorted(set(data) - known):
            raise WeightsError(
                f"Model card with unknown fields {unknown}; expected among {sorted(known)}. Import the model again."
            )
        try:
            recipe = Recipe.from_json(data["recipe"])
            stages = tuple(data.get("stages", ()))
            return cls(**{**data, "recipe": recipe, "stages": stages})
        except (KeyError, TypeError, InputError) as error:
            raise WeightsError(f"The model card is not valid: {error}. Import the model again.") from error
