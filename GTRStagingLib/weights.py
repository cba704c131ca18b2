"""Models as folders: weights beside the card that says what they are, loaded without ever running their code.

A model is `model.safetensors` and `card.json`; `checkpoints` makes them of published files.
"""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from GTRStagingLib.errors import InputError, StagingError, WeightsError
from GTRStagingLib.files import new_folder, sha256_of
from GTRStagingLib.network import ATTENTION_LAYER, BLOCKS, Fusion, GTRNet
from GTRStagingLib.recipe import GTR, Recipe
from GTRStagingLib.stages import RESEARCH_USE_ONLY, TStage

Status = Literal["trained", "demonstration", "untrained"]

WEIGHTS_FILE, CARD_FILE = "model.safetensors", "card.json"
UNTRAINED = "untrained"
UNTRAINED_SEED = 20251
SHIPPED = Path(__file__).parent / "models"


@dataclass(frozen=True)
class ModelCard:
    """What a model is, and what it is for.

    Attributes
    ----------
    status
        'untrained' and 'demonstration' models are named as such in every output.
    depth, fusion
        Of `GTRNet`.
    recipe
        The preprocessing it was trained with: nobody can pair the weights with another.
    sha256
        Of `model.safetensors`; for the built-in untrained model, of what would be written there.
    temperature
        The logits are divided by it before the softmax; 1 where it was not fitted.
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

    def __post_init__(self) -> None:
        if self.depth not in BLOCKS or self.fusion not in get_args(Fusion) or self.status not in get_args(Status):
            raise WeightsError(
                f"Model card {self.name!r}: depth {self.depth!r}, fusion {self.fusion!r}, status {self.status!r}; "
                f"expected one of {list(BLOCKS)}, {get_args(Fusion)}, {get_args(Status)}."
            )
        if tuple(self.stages) != tuple(stage.name for stage in TStage) or self.attention_layer != ATTENTION_LAYER:
            raise WeightsError(
                f"Model card {self.name!r}: stages {self.stages}, attention layer {self.attention_layer!r}; expected "
                f"T1 to T4 in this order, and {ATTENTION_LAYER!r}."
            )
        if not re.fullmatch(r"[0-9a-f]{64}", self.sha256) or not self.temperature > 0:
            raise WeightsError(
                f"Model card {self.name!r}: sha256 {self.sha256!r}, temperature {self.temperature!r}; expected 64 "
                "lower-case hexadecimal digits and a positive number."
            )

    @property
    def warning(self) -> str | None:
        """What every output must say of a model that has not learned from patients."""
        if self.status == "untrained":
            return f"Model '{self.name}' is UNTRAINED: its weights are random, and its stage means nothing."
        if self.status == "demonstration":
            return f"Model '{self.name}' is a DEMONSTRATION model that never saw a patient: its stage means nothing."
        return None

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {**asdict(self), "stages": list(self.stages)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "ModelCard":
        """A card from plain data; raises `WeightsError` where it is not valid."""
        known = {field.name for field in fields(cls)}
        if unknown := sorted(set(data) - known):
            raise WeightsError(f"Model card with unknown fields {unknown}; expected among {sorted(known)}.")
        try:
            recipe = Recipe.from_json(data["recipe"])
            stages = tuple(data.get("stages", ()))
            return cls(**{**data, "recipe": recipe, "stages": stages})
        except (KeyError, TypeError, InputError) as error:
            raise WeightsError(f"The model card is not valid: {error}. Import the model again.") from error


@dataclass(frozen=True)
class Model:
    """A network ready to use (in evaluation mode, without gradients), and its card."""

    card: ModelCard
    network: GTRNet


# -- finding and loading ------------------------------------------------------------------------------------------


def models_folder() -> Path:
    """Where imported models are kept: `$GTRSTAGING_MODELS`, or `gtrstaging/models` under the user's data folder."""
    if chosen := os.environ.get("GTRSTAGING_MODELS"):
        return Path(chosen)
    data = os.environ.get("LOCALAPPDATA") or os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data) / "gtrstaging" / "models"


def available() -> dict[str, Path | None]:
    """Names of the models at hand and their folders; None for the built-in one."""
    found: dict[str, Path | None] = {UNTRAINED: None}
    for folder in (SHIPPED, models_folder()):
        if folder.is_dir():
            found.update({card.parent.name: card.parent for card in sorted(folder.glob(f"*/{CARD_FILE}"))})
    return found


def locate(name_or_folder: str) -> Path | None:
    """Folder of a model, None for the built-in untrained one."""
    models = available()
    if name_or_folder in models:
        return models[name_or_folder]
    folder = Path(name_or_folder)
    if (folder / CARD_FILE).is_file():
        return folder
    raise WeightsError(
        f"Model {name_or_folder!r} is neither one of {', '.join(models)} nor a folder with {CARD_FILE}. "
        "See `gtrstaging models list`; import a checkpoint with `gtrstaging models import`."
    )


def read_card(folder: Path) -> ModelCard:
    """The card of a model's folder."""
    try:
        data = json.loads((folder / CARD_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{folder / CARD_FILE} cannot be read: {error}. Import the model again.") from error
    if not isinstance(data, dict):
        raise WeightsError(f"{folder / CARD_FILE} holds a {type(data).__name__}; expected an object.")
    return ModelCard.from_json(data)


def load(name_or_folder: str) -> Model:
    """A model by name or folder: hash first, then load.

    Raises
    ------
    WeightsError
        If there is no such model, its file's sha256 is not its card's, or keys and shapes are not the network's.
    """
    folder = locate(name_or_folder)
    if folder is None:
        return untrained()
    card = read_card(folder)
    path = folder / WEIGHTS_FILE
    if not path.is_file():
        raise WeightsError(f"{path} is missing; expected it beside {CARD_FILE}. Import the model again.")
    if (found := sha256_of(path)) != card.sha256:
        raise WeightsError(
            f"{path} has sha256 {found}; its card says {card.sha256}. The file was changed or damaged: import it again."
        )
    try:
        state = safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, OSError) as error:
        raise WeightsError(f"{path} cannot be read: {error}. Import the model again.") from error
    return Model(card, network_with(state, card.depth, card.fusion))


def network_with(state: Mapping[str, Tensor], depth: int, fusion: Fusion) -> GTRNet:
    """A network of these weights, in evaluation mode.

    Only the stem's own keys (`detail.*`) and batch-norm counters may be missing: they keep their initial values,
    with which the output is the plain ResNet's.

    Raises
    ------
    WeightsError
        If other keys are missing, keys are left over, or shapes differ.
    """
    with torch.device("meta"):
        network = GTRNet(depth, fusion)
    check_state(state, network)
    if missing := set(network.state_dict()) - set(state):
        initial = GTRNet(depth, fusion).state_dict()
        state = {**state, **{key: initial[key] for key in missing}}
    network.load_state_dict(state, strict=True, assign=True)
    return network.eval().requires_grad_(False)


def check_state(state: Mapping[str, Tensor], network: GTRNet) -> None:
    """Raise `WeightsError` unless the weights are this network's."""
    expected = network.state_dict()
    what = f"a ResNet-{network.depth} with {len(TStage)} classes (fusion {network.fusion!r})"
    classes = state.get("fc.weight")
    if classes is not None and classes.ndim == 2 and len(classes) != len(TStage):
        raise WeightsError(
            f"The weights have {len(classes)} classes; expected {len(TStage)}, T1 to T4. Is this a network for "
            "another task (ImageNet has 1000)?"
        )
    missing = {k for k in expected if k not in state and not re.search(r"^detail\.|num_batches_tracked$", k)}
    extra = set(state) - set(expected)
    if missing or extra:
        raise WeightsError(
            f"The weights are not those of {what}: {len(missing)} keys missing ({_some(missing)}), {len(extra)} "
            f"unknown ({_some(extra)}). Expected torchvision's names; other architectures cannot be used."
        )
    for key, tensor in state.items():
        if tensor.shape != expected[key].shape:
            raise WeightsError(
                f"The weights are not those of {what}: {key} has shape {tuple(tensor.shape)}, expected "
                f"{tuple(expected[key].shape)}."
            )
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise WeightsError(f"The weights hold NaN or infinite values in {key}; expected finite ones.")


def _some(keys: set[str]) -> str:
    return ", ".join(sorted(keys)[:3]) + (", …" if len(keys) > 3 else "") if keys else "none"


# -- making --------------------------------------------------------------------------------------------------------


def untrained(depth: int = 152, fusion: Fusion = "add", seed: int = UNTRAINED_SEED) -> Model:
    """Seeded random weights for tests and smoke runs: the same bits for the same seed and torch.

    The last batch norm of each block is scaled down: at their usual start, 50 residual blocks that never saw data
    would multiply their input to a point where the softmax has no digits left.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = GTRNet(depth, fusion)
    last_norm = rf"layer\d\.\d+\.bn{2 if depth == 18 else 3}\.weight"
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if re.search(last_norm, name):
                weight.fill_(0.2)
    state = network.state_dict()
    card = ModelCard(
        name=UNTRAINED,
        status="untrained",
        depth=depth,
        fusion=fusion,
        recipe=GTR,
        sha256=hashlib.sha256(safetensors.torch.save(state)).hexdigest(),
        provenance=f"random weights, seed {seed}, torch {torch.__version__}",
        trained_on="nothing",
        licence="Apache-2.0",
    )
    return Model(card, network.eval().requires_grad_(False))


def save(model: Model, folder: Path) -> ModelCard:
    """Write a model's folder, whole or not at all, and return its card with the file's hash.

    Raises
    ------
    WeightsError
        If the folder exists.
    """
    if folder.exists():
        raise WeightsError(f"{folder} exists; choose another --name or --out, or remove it.")
    state = {key: tensor.contiguous() for key, tensor in model.network.state_dict().items()}
    with new_folder(folder) as work:
        safetensors.torch.save_file(state, work / WEIGHTS_FILE)
        card = replace(model.card, sha256=sha256_of(work / WEIGHTS_FILE))
        (work / CARD_FILE).write_text(json.dumps(card.to_json(), indent=2) + "\n", encoding="utf-8")
    return card


def verify(name_or_folder: str) -> ModelCard:
    """Load a model as `stage` would: hash, keys, shapes. Its card, or a `WeightsError`."""
    return load(name_or_folder).card


def probabilities(logits: np.ndarray, card: ModelCard) -> np.ndarray:
    """(S, 4) logits -> softmax at the card's temperature, in float64.

    Raises
    ------
    StagingError
        If the logits are not finite.
    """
    if not np.isfinite(logits).all():
        raise StagingError(
            f"Model {card.name!r} gives logits that are not finite: {logits.tolist()}. Verify the model."
        )
    scaled = logits.astype(np.float64) / card.temperature
    exponentials = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)
