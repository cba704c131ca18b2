"""Model cards: architecture, training data, licence and warnings of a model."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from functools import cached_property
from typing import Any, Literal, get_args

from GTRStagingLib.errors import InputError, WeightsError
from GTRStagingLib.model.recipe import Recipe
from GTRStagingLib.stages import RESEARCH_USE_ONLY, TStage
from GTRStagingLib.support.fields import Fields, is_number

Status = Literal["trained", "demonstration", "untrained"]
Fusion = Literal["none", "add", "concat"]
HeadKind = Literal["mean", "gated"]
VERDICTS = ("passed", "failed", "not checked")
GATE_STRIDE = 4
"""Pixels of the input between the cells of a gated head."""

PROPOSAL_COUNTS = ("cohort_training_cases", "training_cases", "training_patients", "slices", "tumour_slices")
"""Counts on the card of the head that proposes key slices."""

SET_FIELDS = ("level", "scores", "patients", "digest", "source", "warning")

NOT_CHECKED = "This map has not been checked for this model."

TEMPERATURES = (0.01, 100.0)
"""Plausible temperatures. A fitted one is within 0.05 to 20; far outside, any slice gets 0 and 1, or four quarters."""

SET_LEVELS = (0.5, 0.99)
"""Least and largest level of stage sets."""

MOST_MASKS = 10**9

DEPTHS = (10, 18, 50, 152)
"""Depths of the available networks, listed without torch; `network` builds them."""

ATTENTION_LAYER = "layer4"
"""The last feature map: only average pooling and one linear layer follow before the logits."""


def untrained_warning(name: str) -> str:
    """Return the warning about random weights, without the built-in model's card, which requires torch."""
    return f"Model '{name}' is UNTRAINED: its weights are random, and its stage means nothing."


@dataclass(frozen=True)
class ModelCard:
    """Description of a model and its intended use.

    Attributes
    ----------
    status
        Every output marks 'untrained' and 'demonstration' models.
    depth, fusion, head
        Of `GTRNet`.
    masks
        Number of cases with ROIs that a gated head was trained on.
    recipe
        Preprocessing of the training; the weights are used with no other.
    sha256
        Of `model.safetensors`; for the built-in untrained model, of the bytes of such a file.
    temperature
        Divisor of the logits before the softmax; 1 if not fitted.
    leaking
        Whether patients were in two splits during the training of this model or of the model it started from.
    features_sha256
        Of `features.safetensors`, the arrays of `familiarity`; models of version 0.1.0 have other ones there, which
        nothing reads.
    mean_mask_sha256
        Of `mean_mask.safetensors`; None without a mean mask.
    check
        Result of the check of the model's maps (`checking.model_check`): `verdict` ('passed', 'failed' or 'not
        checked'), `summary` (the numbers, in words), `method`, `cases`, and the numbers of each test. None if not
        checked.
    familiarity
        What the model learned from (`model.reference`): ranges and categories of the training cases, and the numbers of
        patients; the arrays are in `features.safetensors`. None if nobody recorded it.
    proposal
        Fit of the head that proposes key slices (`model.proposal`): `smoothing_mm`, the numbers of cases, patients and
        slices, and how near its proposals were in cross-validation; the head is in `proposal.safetensors`. None if none
        was fitted.
    proposal_sha256
        Of `proposal.safetensors`.
    graph_sha256, gradients_sha256
        Of the graphs for ONNX Runtime, for a pass and for the gradients of a fine map (`model.onnx_files`); None
        without them.
    training
        Record of the training run: data, options, seeds, metrics, versions, leak audit. None for models that this
        software did not train.
    stage_sets
        Calibration of the stage sets: `level`; `scores`, those of the true stage (`staging.stage_set.scores`) in the
        patients of each stage, ascending; `patients`, their numbers; `digest` of the cases; `source`, in words;
        `warning`, in words, or null. None without a calibration.
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
    stage_sets: Mapping[str, Any] | None = None
    familiarity: Mapping[str, Any] | None = None
    proposal: Mapping[str, Any] | None = None
    proposal_sha256: str | None = None
    graph_sha256: str | None = None
    gradients_sha256: str | None = None

    def __post_init__(self) -> None:
        texts = ("name", "sha256", "provenance", "trained_on", "licence", "intended_use", "citation")
        wrong = {key: value for key in texts if not isinstance(value := getattr(self, key), str)}
        if wrong or not self.name:
            raise WeightsError(
                f"Model card {self.name!r}: {wrong or 'no name'}; expected texts for {', '.join(texts)}, and a "
                "non-empty name."
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
                f"head {self.head!r}; expected one each of {list(DEPTHS)}, {get_args(Fusion)}, {get_args(Status)}, "
                f"{get_args(HeadKind)}."
            )
        if tuple(self.stages) != tuple(stage.name for stage in TStage) or self.attention_layer != ATTENTION_LAYER:
            raise WeightsError(
                f"Model card {self.name!r}: stages {self.stages}, attention layer {self.attention_layer!r}; expected "
                f"T1 to T4 in this order, and {ATTENTION_LAYER!r}."
            )
        hashes = self.sha256, self.features_sha256, self.mean_mask_sha256, self.proposal_sha256
        for hash_ in (*hashes, self.graph_sha256, self.gradients_sha256):
            if hash_ is not None and not (isinstance(hash_, str) and re.fullmatch(r"[0-9a-f]{64}", hash_)):
                raise WeightsError(
                    f"Model card {self.name!r}: sha256 {hash_!r}; expected 64 lower-case hexadecimal digits. Import or "
                    "train the model again."
                )
        if not is_number(self.temperature) or not TEMPERATURES[0] <= self.temperature <= TEMPERATURES[1]:
            raise WeightsError(
                f"Model card {self.name!r}: temperature {self.temperature!r}; expected a positive, finite number from "
                f"{TEMPERATURES[0]:g} to {TEMPERATURES[1]:g}. Import or train the model again."
            )
        if not isinstance(self.leaking, bool) or not isinstance(self.training, Mapping | None):
            raise WeightsError(
                f"Model card {self.name!r}: leaking {self.leaking!r}, training {type(self.training).__name__}; "
                "expected true or false, and an object or null."
            )
        if type(self.masks) is not int or not 0 <= self.masks <= MOST_MASKS:
            raise WeightsError(f"Model card {self.name!r}: masks {self.masks!r}; expected a number of cases.")
        if self.check is not None and not (
            isinstance(self.check, Mapping)
            and self.check.get("verdict") in VERDICTS
            and isinstance(self.check.get("summary"), str)
        ):
            raise WeightsError(
                f"Model card {self.name!r}: check {self.check!r}; expected null, or an object with a verdict of "
                f"{', '.join(VERDICTS)} and a summary. Check the model again."
            )
        if not isinstance(self.familiarity, Mapping | None) or (
            self.familiarity is not None and self.features_sha256 is None
        ):
            raise WeightsError(
                f"Model card {self.name!r}: familiarity {type(self.familiarity).__name__}, features_sha256 "
                f"{self.features_sha256!r}; expected an object and the hash of its arrays, or null. Import the model "
                "again."
            )
        if self.familiarity is not None:
            self._require_counts(self.familiarity)
        if self.proposal is not None or self.proposal_sha256 is not None:
            self._require_proposal(self.proposal)
        if self.stage_sets is not None:
            self._require_stage_sets(self.stage_sets)

    def _require_counts(self, found: Mapping[str, Any]) -> None:
        """Raise `WeightsError` unless the record of what the model learned from counts its cases and patients."""
        try:
            for name in ("cohort_training_cases", "training_cases", "held_out_patients"):
                Fields(found, "familiarity").whole(name, least=1)
        except InputError as error:
            raise WeightsError(
                f"Model card {self.name!r}: {error} Record again what the model learned from, or import it again."
            ) from error

    def _require_proposal(self, found: object) -> None:
        """Raise `WeightsError` unless the fit of the head that proposes key slices has its counts and its hash."""
        try:
            of = Fields(found, "proposal")
            for name in PROPOSAL_COUNTS:
                of.whole(name, least=1)
            of.number("smoothing_mm", least=0.0), of.number("median_mm", least=0.0), of.number("p90_mm", least=0.0)
            Fields({"proposal_sha256": self.proposal_sha256}).sha256("proposal_sha256")
        except InputError as error:
            raise WeightsError(
                f"Model card {self.name!r}: {error} Fit the head again to the training cohort, or import the model "
                "again."
            ) from error

    def _require_stage_sets(self, found: Mapping[str, Any]) -> None:
        """Raise `WeightsError` unless the calibration of the stage sets is complete."""
        try:
            of = Fields(found, "stage_sets").only(SET_FIELDS, SET_FIELDS)
            of.number("level", least=SET_LEVELS[0], most=SET_LEVELS[1])
            of.sha256("digest"), of.text("source"), of.text("warning", None)
            scores, patients = of.fields("scores"), of.fields("patients")
            for stage in TStage:
                n, own = patients.whole(stage.name), scores.plain_list(stage.name)
                if len(own) != n or not all(is_number(one) and 0 <= one <= 1 for one in own):
                    raise scores.error(stage.name, f"{n} numbers from 0 to 1, one for each patient")
        except InputError as error:
            raise WeightsError(f"Model card {self.name!r}: {error} Calibrate the model again.") from error

    @property
    def head_in_words(self) -> str:
        """Description of the head, as in 'gated, stride 4, masks of 1,200 cases'."""
        if self.head == "mean":
            return "mean of the last feature map"
        return f"gated, stride {GATE_STRIDE}, masks of {self.masks:,} cases"

    @property
    def check_in_words(self) -> str:
        """Result of the check for the method that it checked, in a sentence; see `map_check`."""
        return self.map_check(None if self.check is None else self.check.get("method"))

    @property
    def familiarity_in_words(self) -> str:
        """Whether results of the model tell how like the training a case is, in a sentence."""
        if self.familiarity is None:
            return "What this model learned from was not recorded: its results cannot tell unfamiliar cases."
        source = "" if self.training else ", by the table given"
        return (
            f"What this model learned from{source}: {self.familiarity.get('training_cases')} of "
            f"{self.familiarity.get('cohort_training_cases')} training cases, compared with "
            f"{self.familiarity.get('held_out_patients')} held-out patients ({self.familiarity.get('side')})."
        )

    @property
    def graph_in_words(self) -> str:
        """Whether the model runs without PyTorch, in a sentence."""
        if self.graph_sha256 is None:
            return "This model needs PyTorch: its folder has no model.onnx (gtrstaging models export-onnx)."
        if self.head == "mean" and self.gradients_sha256 is None:
            return "This model runs without PyTorch, but not its fine map: its folder has no gradients.onnx."
        return "This model runs without PyTorch, by the graphs in its folder."

    @property
    def proposal_in_words(self) -> str:
        """Whether the model can propose a key slice, in a sentence."""
        if self.proposal is None:
            return "This model has no head that proposes key slices."
        found = self.proposal
        smooth = f"smoothed over {found['smoothing_mm']:g} mm" if found["smoothing_mm"] else "not smoothed"
        return (
            f"This model can propose a key slice: its head was fitted to {found['slices']} slices of "
            f"{found['training_patients']} training patients, {smooth}. In cross-validation on them, half of its "
            f"proposals were within {found['median_mm']:.1f} mm of the slice of the largest tumour area, and 90 % "
            f"within {found['p90_mm']:.1f} mm."
        )

    def map_check(self, method: str | None) -> str:
        """Return the sentence about the check that is shown beside this model's maps by a method.

        Examples
        --------
        >>> from dataclasses import replace
        >>> from GTRStagingLib.model.registry import locate, read_card
        >>> found = {"verdict": "passed", "summary": "60 cases; Dice 0.58", "method": "fine"}
        >>> card = replace(read_card(locate("demonstration")), check=found)
        >>> card.map_check("fine")
        'The map of this model passed its check (60 cases; Dice 0.58).'
        >>> card.map_check("layercam")
        "This map has not been checked for this model: the check used maps by 'fine'."
        """
        if self.check is None:
            return NOT_CHECKED
        summary, checked = self.check["summary"], self.check.get("method")
        if method != checked:
            return f"{NOT_CHECKED[:-1]}: the check used maps by {checked!r}."
        verdict = self.map_verdict(method)
        if verdict == "not checked":
            return f"{NOT_CHECKED[:-1]}: {summary}."
        how = "passed its check" if verdict == "passed" else "FAILED its check: do not rely on it"
        return f"The map of this model {how} ({summary})."

    def map_verdict(self, method: str | None) -> str:
        """Return the verdict, one of `VERDICTS`, on this model's maps by a method."""
        if self.check is None or self.check.get("method") != method:
            return "not checked"
        verdict: str = self.check["verdict"]
        return verdict

    @property
    def warning(self) -> str | None:
        """Warning in every output about a model that was trained on no patients or on a leaking cohort, or None."""
        warnings = []
        if self.status == "untrained":
            warnings.append(untrained_warning(self.name))
        if self.status == "demonstration":
            warnings.append(
                f"Model '{self.name}' is a DEMONSTRATION model, trained on synthetic phantoms, never for patients: "
                "for a patient, its stage means nothing."
            )
        if self.leaking:
            warnings.append(f"Model '{self.name}' was trained on a LEAKING cohort: its reported accuracy is too high.")
        return " ".join(warnings) or None

    def to_json(self) -> dict[str, Any]:
        """Return the card as plain data."""
        return {**asdict(self), "stages": list(self.stages)}

    def to_text(self) -> str:
        """Return the content of the card's file."""
        return json.dumps(self.to_json(), indent=2, allow_nan=False) + "\n"

    @cached_property
    def card_sha256(self) -> str:
        """sha256 of the card's file as this version writes it; two calibrations of the same weights differ in it."""
        return hashlib.sha256(self.to_text().encode()).hexdigest()

    @classmethod
    def from_json(cls, data: object) -> "ModelCard":
        """Make a card from plain data; raise `WeightsError` if they are not valid."""
        try:
            needed = [field.name for field in fields(cls) if field.default is MISSING]
            card = Fields(data).only([field.name for field in fields(cls)], needed)
            for field in fields(cls):
                if field.type in (str, str | None):
                    card.text(field.name, None)
            if card.has("check"):
                for name in ("verdict", "summary", "method"):
                    card.fields("check").text(name, None)
            card.name("name")
            recipe = Recipe.from_json(card.plain_object("recipe"))
            return cls(**{**card.data, "recipe": recipe, "stages": card.texts("stages")})
        except InputError as error:
            raise WeightsError(f"The model card is not valid: {error} Import the model again.") from error
