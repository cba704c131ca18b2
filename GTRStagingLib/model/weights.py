"""Models as folders: weights beside the card that says what they are, loaded without ever running their code.

A model is `model.safetensors` and `card.json`, and where it was trained here `features.safetensors`; `checkpoints`
makes models of published files.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor
from torchvision.models.resnet import BasicBlock

from GTRStagingLib.errors import StagingError, WeightsError
from GTRStagingLib.model.card import Fusion, HeadKind, ModelCard
from GTRStagingLib.model.network import BLOCKS, GTRNet
from GTRStagingLib.model.recipe import GTR
from GTRStagingLib.model.registry import CARD_FILE, UNTRAINED, locate, read_card
from GTRStagingLib.stages import TStage
from GTRStagingLib.support.distributions import softmax
from GTRStagingLib.support.files import new_folder, sha256_of

WEIGHTS_FILE, FEATURES_FILE, MEAN_MASK_FILE = "model.safetensors", "features.safetensors", "mean_mask.safetensors"
UNTRAINED_SEED = 20251

FLOATS = frozenset({torch.float16, torch.bfloat16, torch.float32, torch.float64})
INTEGERS = frozenset({torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64})
"""Number types that weights may be stored in; the network computes in its own."""


@dataclass(frozen=True, eq=False)
class Model:
    """A network (in evaluation mode, without gradients), and its card; `backbone.ready` makes it run.

    Attributes
    ----------
    mean_mask
        Where the ROIs of the cases lay that it learned from or was checked on: (h, w) float32 in 0..1, the mean share
        of each cell of `card.GATE_STRIDE` pixels of the network's input; None where none were known. The simplest of
        the baselines of an attention map: location alone.
    """

    card: ModelCard
    network: GTRNet
    mean_mask: np.ndarray | None = None


# -- finding and loading ------------------------------------------------------------------------------------------


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
    return Model(card, network_with(state, card.depth, card.fusion, card.head), _mean_mask(folder, card))


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


def load_mean_mask(name_or_folder: str) -> np.ndarray | None:
    """The mean ROI of a model (see `Model`), None where it has none; hash first, as with the weights."""
    folder = locate(name_or_folder)
    return None if folder is None else _mean_mask(folder, read_card(folder))


def _mean_mask(folder: Path, card: ModelCard) -> np.ndarray | None:
    if card.mean_mask_sha256 is None:
        return None
    stored = _tensors(folder / MEAN_MASK_FILE, card.mean_mask_sha256)
    try:
        return stored["mean_mask"].float().numpy()
    except KeyError as error:
        raise WeightsError(f"{folder / MEAN_MASK_FILE} has no {error}; check the model again.") from error


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


def network_with(state: Mapping[str, Tensor], depth: int, fusion: Fusion, head: HeadKind = "mean") -> GTRNet:
    """A network of these weights, in evaluation mode and in its own number types (float32).

    Only the stem's own keys (`detail.*`) and batch-norm counters may be missing: they keep the initial values of the
    untrained model, with which the output is the plain ResNet's.

    Raises
    ------
    WeightsError
        If other keys are missing, keys are left over, or shapes or values are not this network's.
    """
    with torch.device("meta"):
        network = GTRNet(depth, fusion, head)
    fitting = cast_state(state, network)
    if missing := set(network.state_dict()) - set(fitting):
        initial = seeded_network(depth, fusion, UNTRAINED_SEED, head).state_dict()
        fitting.update((key, initial[key]) for key in missing)
    network.load_state_dict(fitting, strict=True, assign=True)
    return network.eval().requires_grad_(False)


def cast_state(state: Mapping[str, Tensor], network: GTRNet) -> dict[str, Tensor]:
    """The weights in the network's own number types; raises `WeightsError` unless they are this network's."""
    expected = network.state_dict()
    gated = network.head_kind == "gated"
    what = (
        f"a ResNet-{network.depth} with {len(TStage)} classes (fusion {network.fusion!r}, head {network.head_kind!r})"
    )
    classes = state.get("gate.fc.weight" if gated else "fc.weight")
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
    return {key: _fitted(key, tensor, expected[key], what) for key, tensor in state.items()}


def _fitted(key: str, tensor: Tensor, expected: Tensor, what: str) -> Tensor:
    plain = tensor.layout == torch.strided and tensor.device.type == "cpu" and not tensor.is_nested
    counter = not expected.is_floating_point()
    if not plain or tensor.dtype not in (FLOATS | INTEGERS if counter else FLOATS):
        raise WeightsError(
            f"The weights hold {key} as {tensor.dtype}, {tensor.layout}, on {tensor.device}; expected a dense tensor "
            f"of {'whole numbers' if counter else 'floating-point numbers'} with its values. Save the model's plain "
            "float32 state dict, neither quantised nor sparse."
        )
    if tensor.shape != expected.shape:
        raise WeightsError(
            f"The weights are not those of {what}: {key} has shape {tuple(tensor.shape)}, expected "
            f"{tuple(expected.shape)}. Other architectures cannot be used."
        )
    # Looked at after the cast: a float64 can be more than a float32 can hold. Counters overflow in half precision, and
    # nothing is ever computed from them here.
    cast = tensor.to(expected.dtype)
    if not counter and not torch.isfinite(cast).all():
        raise WeightsError(
            f"The weights hold NaN or infinite values in {key}; expected finite ones, as a float32 can hold them. "
            "Take a checkpoint from before the training diverged."
        )
    if key.endswith("running_var") and (cast < 0).any():
        raise WeightsError(
            f"The weights hold {float(cast.min()):g} in {key}; expected variances, which are never below 0. The file "
            "is damaged: copy or download it again."
        )
    return cast


def _some(keys: set[str]) -> str:
    return ", ".join(sorted(keys)[:3]) + (", …" if len(keys) > 3 else "") if keys else "none"


# -- making --------------------------------------------------------------------------------------------------------


def untrained(depth: int = 152, fusion: Fusion = "add", seed: int = UNTRAINED_SEED) -> Model:
    """Seeded random weights for tests and smoke runs: the same bits for the same seed and torch.

    With the stem's second stream, so that a smoke run passes through all there is.
    """
    network = scale_residuals(seeded_network(depth, fusion, seed))
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


def seeded_network(depth: int, fusion: Fusion, seed: int, head: HeadKind = "mean") -> GTRNet:
    """A network at its usual random start; every generator of the process, a GPU's included, stays where it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return GTRNet(depth, fusion, head)


def scale_residuals(network: GTRNet) -> GTRNet:
    """The same network, the last batch norm of each block scaled down.

    At their usual start, 50 residual blocks that never saw data would multiply their input to a point where the
    softmax has no digits left.
    """
    last_norm = rf"layer\d\.\d+\.bn{2 if BLOCKS[network.depth][0] is BasicBlock else 3}\.weight"
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if re.search(last_norm, name):
                weight.fill_(0.2)
    return network


def save(model: Model, folder: Path, *, half: bool = False, features: FeatureStatistics | None = None) -> ModelCard:
    """Write a model's folder, its mean mask in it, whole or not at all, and return its card with the files' hashes.

    Parameters
    ----------
    half
        Store the weights as float16, in half the space: each moves by up to 1 in 2,048 of itself.
    features
        Stored beside the weights.

    Raises
    ------
    WeightsError
        If the folder exists or cannot be written, or a weight is too large for float16.
    """
    if folder.exists():
        raise WeightsError(f"{folder} exists; choose another --name or --out, or remove it.")
    # Copies: tensors that share memory, as tied or expanded ones do, are refused by safetensors.
    state = halved(model.network) if half else model.network.state_dict()
    state = {key: tensor.clone(memory_format=torch.contiguous_format) for key, tensor in state.items()}
    try:
        with new_folder(folder) as work:
            safetensors.torch.save_file(state, work / WEIGHTS_FILE)
            card = replace(model.card, sha256=sha256_of(work / WEIGHTS_FILE))
            if features is not None:
                _write_features(features, work / FEATURES_FILE)
                card = replace(card, features_sha256=sha256_of(work / FEATURES_FILE))
            if model.mean_mask is not None:
                write_mean_mask(model.mean_mask, work / MEAN_MASK_FILE)
                card = replace(card, mean_mask_sha256=sha256_of(work / MEAN_MASK_FILE))
            (work / CARD_FILE).write_text(json.dumps(card.to_json(), indent=2) + "\n", encoding="utf-8")
            # safetensors keeps its files to their owner; the card has the mode that the umask allows.
            for path in work.iterdir():
                path.chmod((work / CARD_FILE).stat().st_mode & 0o777)
    except (safetensors.SafetensorError, OSError) as error:
        needed = sum(tensor.nbytes for tensor in state.values())
        there = next(parent for parent in folder.absolute().parents if parent.exists())
        raise WeightsError(
            f"{folder} cannot be written: {error}. It takes {needed:,} bytes; {there} has "
            f"{shutil.disk_usage(there).free:,} free. Free some space, check the permissions, or choose another --out. "
            "Nothing was left there."
        ) from error
    return card


def _write_features(features: FeatureStatistics, path: Path) -> None:
    arrays = {"mean": features.mean, "covariance": features.covariance, "n": np.array(features.n)}
    stored = {key: torch.from_numpy(np.ascontiguousarray(array)) for key, array in arrays.items()}
    safetensors.torch.save_file(stored, path)


def write_mean_mask(mean_mask: np.ndarray, path: Path) -> None:
    """Write the mean ROI of a model (see `Model`)."""
    stored = torch.from_numpy(np.ascontiguousarray(mean_mask, dtype=np.float32)).half()
    safetensors.torch.save_file({"mean_mask": stored}, path)


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
    return softmax(logits, card.temperature)
