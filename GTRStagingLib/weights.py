"""Models as folders: weights beside the card that says what they are, loaded without ever running their code.

A model is `model.safetensors` and `card.json`, and where it was trained here `features.safetensors`. Published
checkpoints (`.pth`) are imported once, with `weights_only=True`, and kept as such a folder from then on.
"""

import contextlib
import hashlib
import json
import os
import pickle
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor
from torchvision.models.resnet import BasicBlock

from GTRStagingLib.card import ModelCard
from GTRStagingLib.errors import StagingError, WeightsError
from GTRStagingLib.files import new_folder, sha256_of
from GTRStagingLib.network import BLOCKS, Fusion, GTRNet
from GTRStagingLib.recipe import GTR, Recipe
from GTRStagingLib.stages import TStage

WEIGHTS_FILE, CARD_FILE, FEATURES_FILE = "model.safetensors", "card.json", "features.safetensors"
UNTRAINED = "untrained"
UNTRAINED_SEED = 20251
SHIPPED = Path(__file__).parent / "models"

PUBLISHED_FILES: Mapping[str, str] = {
    "df3fc8e82b45d387254c3502f0cea81a6f1163d4adbdeddd4dd6bc5e10999561": (
        "models.pth as published by the authors of doi:10.1038/s41746-025-02002-5 (233,519,033 bytes)"
    ),
}
"""sha256 of the files that are known by name."""


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
    """A model by name or folder: hash first, then load; float32, however it is stored.

    Raises
    ------
    WeightsError
        If there is no such model, its file's sha256 is not its card's, or keys and shapes are not the network's.
    """
    folder = locate(name_or_folder)
    if folder is None:
        return untrained()
    card = read_card(folder)
    state = _tensors(folder / WEIGHTS_FILE, card.sha256)
    state = {key: tensor.float() if tensor.is_floating_point() else tensor for key, tensor in state.items()}
    return Model(card, network_with(state, card.depth, card.fusion))


@dataclass(frozen=True)
class FeatureStatistics:
    """Where the penultimate features of the training slices lie: what a new case's can be held against.

    Attributes
    ----------
    mean, covariance
        (features,) and (features, features) float32; the sample covariance, singular where slices are fewer.
    n
        Slices.
    """

    mean: np.ndarray
    covariance: np.ndarray
    n: int


def load_features(name_or_folder: str) -> FeatureStatistics | None:
    """The feature statistics of a model, None where it has none; hash first, as with the weights."""
    folder = locate(name_or_folder)
    card = None if folder is None else read_card(folder)
    if folder is None or card is None or card.features_sha256 is None:
        return None
    stored = _tensors(folder / FEATURES_FILE, card.features_sha256)
    try:
        return FeatureStatistics(stored["mean"].numpy(), stored["covariance"].numpy(), int(stored["n"]))
    except KeyError as error:
        raise WeightsError(f"{folder / FEATURES_FILE} has no {error}; train or import the model again.") from error


def _tensors(path: Path, sha256: str) -> dict[str, Tensor]:
    """The tensors of a safetensors file of that hash."""
    if not path.is_file():
        raise WeightsError(f"{path} is missing; expected it beside {CARD_FILE}. Import the model again.")
    if (found := sha256_of(path)) != sha256:
        raise WeightsError(
            f"{path} has sha256 {found}; its card says {sha256}. The file was changed or damaged: import it again."
        )
    try:
        return safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, OSError) as error:
        raise WeightsError(f"{path} cannot be read: {error}. Import the model again.") from error


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
    last_norm = rf"layer\d\.\d+\.bn{2 if BLOCKS[depth][0] is BasicBlock else 3}\.weight"
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


def save(model: Model, folder: Path, *, half: bool = False, features: FeatureStatistics | None = None) -> ModelCard:
    """Write a model's folder, whole or not at all, and return its card with the files' hashes.

    Parameters
    ----------
    half
        Store the weights as float16, in half the space: each moves by up to 1 in 2,048 of itself.
    features
        Stored beside the weights.

    Raises
    ------
    WeightsError
        If the folder exists, or a weight is too large for float16.
    """
    if folder.exists():
        raise WeightsError(f"{folder} exists; choose another --name or --out, or remove it.")
    state = halved(model.network) if half else model.network.state_dict()
    with new_folder(folder) as work:
        safetensors.torch.save_file({k: tensor.contiguous() for k, tensor in state.items()}, work / WEIGHTS_FILE)
        card = replace(model.card, sha256=sha256_of(work / WEIGHTS_FILE))
        if features is not None:
            arrays = {"mean": features.mean, "covariance": features.covariance, "n": np.array(features.n)}
            stored = {key: torch.from_numpy(np.ascontiguousarray(array)) for key, array in arrays.items()}
            safetensors.torch.save_file(stored, work / FEATURES_FILE)
            card = replace(card, features_sha256=sha256_of(work / FEATURES_FILE))
        (work / CARD_FILE).write_text(json.dumps(card.to_json(), indent=2) + "\n", encoding="utf-8")
    return card


def halved(network: GTRNet) -> dict[str, Tensor]:
    """The network's weights as float16, counters as they are; a `WeightsError` where one does not fit."""
    state = {k: tensor.half() if tensor.is_floating_point() else tensor for k, tensor in network.state_dict().items()}
    if large := {key for key, tensor in state.items() if not torch.isfinite(tensor).all()}:
        raise WeightsError(
            f"Weights above 65,504 in {_some(large)}; expected ones that float16 can hold. Leave --half out."
        )
    return state


def verify(name_or_folder: str) -> ModelCard:
    """Load a model as `stage` would: hash, keys, shapes. Its card, or a `WeightsError`."""
    return load(name_or_folder).card


# -- importing -----------------------------------------------------------------------------------------------------


def import_checkpoint(
    path: Path, *, recipe: Recipe, name: str, out: Path | None = None, sha256: str | None = None
) -> tuple[ModelCard, Path]:
    """Turn a `.pth` file into a model folder.

    Takes what the published training script writes: a bare state dict, or one under 'model_state_dict'; and names
    that begin with 'module.' (DataParallel). Depth and fusion are read off the weights.

    Parameters
    ----------
    path
        The file; never unpickled as code.
    recipe
        The preprocessing that it was trained with; the file does not say.
    out
        Folder that receives the model's folder; `models_folder()` if not given.
    sha256
        What the file's hash must be.

    Returns
    -------
    The card, and the folder that was written.

    Raises
    ------
    WeightsError
        If the hash differs, the file is damaged or holds code, or is not such a network. Nothing is written then.
    """
    folder = _folder_for(name, out)
    if not path.is_file():
        raise WeightsError(f"{path} is not a file; expected a checkpoint (.pth).")
    found = sha256_of(path)
    if sha256 is not None and found != sha256.strip().lower():
        raise WeightsError(
            f"{path.name} has sha256 {found}; expected {sha256.strip().lower()}. The download is incomplete or another "
            f"file{'' if found not in PUBLISHED_FILES else f': it is {PUBLISHED_FILES[found]}'}. Nothing was written."
        )
    state = state_of(_unpickled(path), path)
    depth, fusion = _architecture(state, path)
    network = network_with(state, depth, fusion)
    known = PUBLISHED_FILES.get(found)
    card = ModelCard(
        name=name,
        status="trained",
        depth=depth,
        fusion=fusion,
        recipe=recipe,
        sha256=found,
        provenance=f"imported from {path.name}, sha256 {found}: {known or 'not a file known by its hash'}",
        trained_on="not stated in the file" if known is None else "the authors' 1,192 slices of 358 studies",
        licence="not stated in the file" if known is None else "MIT, as stated by the authors",
    )
    return save(Model(card, network), folder), folder


def import_imagenet(*, recipe: Recipe, name: str, depth: int = 152, out: Path | None = None) -> tuple[ModelCard, Path]:
    """A model folder with torchvision's ImageNet weights under an untrained four-class head: where training starts.

    Raises
    ------
    WeightsError
        If the weights are neither cached nor can be downloaded, or fail torchvision's own hash check.
    """
    folder = _folder_for(name, out)
    start = untrained(depth)
    head = {key: tensor for key, tensor in start.network.state_dict().items() if key.startswith("fc.")}
    state = {key: tensor for key, tensor in imagenet_state(depth).items() if not key.startswith("fc.")}
    card = replace(
        start.card,
        name=name,
        recipe=recipe,
        provenance="backbone: torchvision's IMAGENET1K_V1, hash checked; head: random",
        trained_on="ImageNet-1k (backbone only)",
        licence="BSD-3-Clause (torchvision)",
    )
    return save(Model(card, network_with({**state, **head}, depth, "add")), folder), folder


def imagenet_state(depth: int) -> dict[str, Tensor]:
    """ImageNet weights, by torchvision's own loader and hash check.

    torchvision checks what it downloads, by the hash's beginning in the file's name; a copy that lies in its cache
    already is held to the same here.
    """
    from torchvision.models import get_weight

    if depth == 10:
        raise WeightsError(
            "There are no ImageNet weights of ResNet-10; expected a depth of 18, 50 or 152. Choose one of them, or "
            "start from random weights."
        )
    weights = get_weight(f"ResNet{depth}_Weights.IMAGENET1K_V1")
    cached = Path(torch.hub.get_dir()) / "checkpoints" / Path(weights.url).name
    beginning = cached.stem.rpartition("-")[2]
    if cached.is_file() and not (found := sha256_of(cached)).startswith(beginning):
        raise WeightsError(
            f"{cached} has sha256 {found}; expected one that begins with {beginning}. It is damaged or another file: "
            "remove it, and let it be downloaded again."
        )
    try:
        return dict(weights.get_state_dict(progress=False, check_hash=True, weights_only=True))
    except (OSError, RuntimeError) as error:
        raise WeightsError(
            f"torchvision's ImageNet weights of ResNet-{depth} cannot be had ({error}). Expected a network connection, "
            f"or the file {cached.name} in {cached.parent}: copy it there."
        ) from error


def _folder_for(name: str, out: Path | None) -> Path:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) or name == UNTRAINED:
        raise WeightsError(f"Model name {name!r}; expected letters, digits, '.', '_' and '-', and not {UNTRAINED!r}.")
    folder = (out or models_folder()) / name
    if folder.exists():
        raise WeightsError(f"{folder} exists; choose another --name or --out, or remove it.")
    return folder


def _unpickled(path: Path) -> Any:
    try:
        with _numbers_allowed():
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path.name} is not a plain file of weights: it is no checkpoint, or would run code when loaded. Expected "
            f"tensors and numbers only; nothing of it was run or written. ({str(error).splitlines()[0]})"
        ) from error
    except (RuntimeError, EOFError, ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise WeightsError(
            f"{path.name} ({path.stat().st_size:,} bytes) cannot be read: it is damaged, cut short or no checkpoint. "
            f"Download or copy it again, and give its --sha256. Nothing was written. "
            f"({str(error)[:200] or type(error).__name__})"
        ) from error


@contextlib.contextmanager
def _numbers_allowed() -> Iterator[None]:
    """Let numpy's numbers through: a training script may save its accuracy as one. They run nothing."""
    scalar: Any = np.float64(0).__reduce__()[0]
    kinds = [type(np.dtype(kind)) for kind in ("float64", "float32", "int64")]
    with torch.serialization.safe_globals([scalar, np.dtype, *kinds]):
        yield


def state_of(loaded: Any, path: Path) -> dict[str, Tensor]:
    """The state dict in whatever the release's scripts wrap it in."""
    for key in ("model_state_dict", "state_dict"):
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
            break
    if not isinstance(loaded, Mapping) or not loaded or not all(isinstance(v, Tensor) for v in loaded.values()):
        raise WeightsError(
            f"{path.name} holds a {type(loaded).__name__} without weights; expected a state dict, or one under "
            "'model_state_dict'. Nothing was written."
        )
    return {str(key).removeprefix("module."): tensor.detach().clone() for key, tensor in loaded.items()}


def _architecture(state: Mapping[str, Tensor], path: Path) -> tuple[int, Fusion]:
    """Depth and fusion, from the number of blocks and the keys of the stem."""
    fusion: Fusion = "none"
    if "detail.1.weight" in state:  # the batch norm
        fusion = "add"
    elif "detail.0.weight" in state:
        fusion = "concat"
    bottleneck = "layer1.0.conv3.weight" in state
    found = [len({k.split(".")[1] for k in state if k.startswith(f"layer{stage}.")}) for stage in (1, 2, 3, 4)]
    for depth, (block, blocks) in BLOCKS.items():
        if blocks == found and bottleneck == (block is not BasicBlock):
            return depth, fusion
    raise WeightsError(
        f"{path.name} is of another architecture: blocks {found} in layer1 to layer4, first keys {_some(set(state))}. "
        f"Expected torchvision's ResNet-{', '.join(map(str, BLOCKS))} ({BLOCKS[152][1]} for 152). Nothing was written."
    )


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
