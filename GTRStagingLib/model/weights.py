"""Load and save model folders: weights and card. Loading runs no code of a file.

A model folder contains `model.safetensors` and `card.json`; `features.safetensors`, the arrays of what the model
learned from (`reference`); and with known ROIs `mean_mask.safetensors` and `proposal.safetensors`, the head that
proposes key slices (`proposal`). `checkpoints` makes model folders of published files.
"""

import hashlib
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from weakref import WeakSet

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor
from torchvision.models.resnet import BasicBlock

from GTRStagingLib.errors import WeightsError
from GTRStagingLib.model.arrays import (
    MEAN_MASK_FILE,
    WEIGHTS_FILE,
    read_beside,
    require_hash,
    unreadable,
    write_mean_mask,
)
from GTRStagingLib.model.card import Fusion, HeadKind, ModelCard
from GTRStagingLib.model.logits import require_plausible
from GTRStagingLib.model.network import BLOCKS, GTRNet
from GTRStagingLib.model.proposal import ProposalHead
from GTRStagingLib.model.recipe import GTR
from GTRStagingLib.model.reference import Reference
from GTRStagingLib.model.registry import CARD_FILE, UNTRAINED, locate, read_card
from GTRStagingLib.stages import TStage
from GTRStagingLib.support.files import new_folder, sha256_of

UNTRAINED_SEED = 20251

FLOATS = frozenset({torch.float16, torch.bfloat16, torch.float32, torch.float64})
INTEGERS = frozenset({torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64})
"""Number types of stored weights; the network computes in its own type."""

LARGEST_WEIGHT = 1e6
"""Largest plausible weight or mean of a batch norm; variances may have its square. Those of trained networks are below
1e4."""


@dataclass(frozen=True, eq=False)
class Model:
    """Network (in evaluation mode, without gradients) and its card; `backbone.ready` prepares it to run.

    Attributes
    ----------
    mean_mask
        Mean of the ROIs of the training or checked cases: (h, w) float32 in 0..1, the mean share of each cell of
        `card.GATE_STRIDE` pixels of the network's input; None without ROIs. It is a baseline of attention maps that
        uses location alone.
    reference
        What the model learned from; None if nobody recorded it.
    proposal_head
        Head that proposes key slices; None if none was fitted.
    """

    card: ModelCard
    network: GTRNet
    mean_mask: np.ndarray | None = None
    reference: Reference | None = None
    proposal_head: ProposalHead | None = None


# -- finding and loading ------------------------------------------------------------------------------------------


def load(name_or_folder: str) -> Model:
    """Load a model by name or folder after checking its hash; the weights become float32.

    Raises
    ------
    WeightsError
        If the model is unknown, the file's sha256 differs from the card's, or keys and shapes do not fit the network.
    """
    folder = locate(name_or_folder)
    if folder is None:
        return untrained()
    card = read_card(folder)
    state = _tensors(folder / WEIGHTS_FILE, card.sha256)
    network = network_with(state, card.depth, card.fusion, card.head)
    beside = read_beside(folder, card, network.features)
    return Model(card, network, beside.mean_mask, beside.reference, beside.proposal_head)


def _tensors(path: Path, sha256: str) -> dict[str, Tensor]:
    """Load the tensors of a safetensors file after checking its hash."""
    require_hash(path, sha256)
    try:
        return safetensors.torch.load_file(path)
    except Exception as error:  # a header with other number types raises KeyError, for example
        raise unreadable(path) from error


def network_with(state: Mapping[str, Tensor], depth: int, fusion: Fusion, head: HeadKind = "mean") -> GTRNet:
    """Make a network with these weights, in evaluation mode and in its own number types (float32).

    Only the stem's own keys (`detail.*`) and batch-norm counters may be missing: they keep the initial values of the
    untrained model, with which the output equals the plain ResNet's.

    Raises
    ------
    WeightsError
        If other keys are missing, keys are unknown, shapes or values do not fit this network, or its logits are not
        finite or the same for any input.
    """
    with torch.device("meta"):
        network = GTRNet(depth, fusion, head)
    complete = cast_state(state, network)
    if missing := set(network.state_dict()) - set(complete):
        initial = seeded_network(depth, fusion, UNTRAINED_SEED, head).state_dict()
        complete.update((key, initial[key]) for key in missing)
    network.load_state_dict(complete, strict=True, assign=True)
    network.eval().requires_grad_(False)
    require_live(network)
    return network


_LIVE: WeakSet[GTRNet] = WeakSet()
"""Networks that `require_live` has tried."""


def require_live(network: GTRNet) -> None:
    """Raise `WeightsError` unless the logits of two small pictures are finite and differ; once for each network.

    Weights of 0, or scaled ones, can have the right keys and shapes, and would give the same stage for any slice.
    """
    if network in _LIVE:
        return
    rng = np.random.default_rng(0)
    # Blocks as large as organs, the same in all channels, as of a slice with mean 0.
    blocks = np.kron(2 * rng.standard_normal((2, 1, 4, 4)), np.ones((8, 8))).repeat(3, axis=1)
    with torch.no_grad():
        logits = network(torch.from_numpy(blocks.astype(np.float32)).to(network.conv1.weight.device)).cpu().numpy()
    require_plausible(logits, "The network of these weights")
    if (logits[0] == logits[1]).all():
        raise WeightsError(
            f"The network of these weights gives the same logits for any slice ({logits[0].tolist()}); expected logits "
            "that depend on the slice. Its weights are 0 or damaged: use another checkpoint."
        )
    _LIVE.add(network)


def cast_state(state: Mapping[str, Tensor], network: GTRNet) -> dict[str, Tensor]:
    """Return the weights in the network's own number types; raise `WeightsError` unless they fit the network."""
    expected = network.state_dict()
    gated = network.head_kind == "gated"
    kind = (
        f"a ResNet-{network.depth} with {len(TStage)} classes (fusion {network.fusion!r}, head {network.head_kind!r})"
    )
    classes = state.get("gate.fc.weight" if gated else "fc.weight")
    if classes is not None and classes.ndim == 2 and len(classes) != len(TStage):
        raise WeightsError(
            f"The weights have {len(classes)} classes; expected {len(TStage)}, T1 to T4. The network is "
            "for another task (ImageNet has 1000 classes): use weights for T stages."
        )
    missing = {k for k in expected if k not in state and not re.search(r"^detail\.|num_batches_tracked$", k)}
    extra = set(state) - set(expected)
    if missing or extra:
        raise WeightsError(
            f"The weights are not those of {kind}: {len(missing)} keys missing ({_some(missing)}), {len(extra)} "
            f"unknown ({_some(extra)}). Expected torchvision's names; other architectures are not supported."
        )
    return {key: _cast(key, tensor, expected[key], kind) for key, tensor in state.items()}


def _cast(key: str, tensor: Tensor, expected: Tensor, kind: str) -> Tensor:
    plain = tensor.layout == torch.strided and tensor.device.type == "cpu" and not tensor.is_nested
    counter = not expected.is_floating_point()
    if not plain or tensor.dtype not in (FLOATS | INTEGERS if counter else FLOATS):
        raise WeightsError(
            f"The weights contain {key} as {tensor.dtype}, {tensor.layout}, on {tensor.device}; expected a dense "
            f"tensor of {'whole numbers' if counter else 'floating-point numbers'} on the CPU. Save the model's plain "
            "float32 state dict, neither quantised nor sparse."
        )
    if tensor.shape != expected.shape:
        raise WeightsError(
            f"The weights are not those of {kind}: {key} has shape {tuple(tensor.shape)}, expected "
            f"{tuple(expected.shape)}. Other architectures are not supported."
        )
    # Checked after the cast: a float64 can exceed the range of a float32. Counters may overflow in half precision;
    # they are not used here.
    cast = tensor.to(expected.dtype)
    if not counter and not torch.isfinite(cast).all():
        raise WeightsError(
            f"The weights contain NaN or infinite values in {key}; expected finite float32 values. Use a checkpoint "
            "from before the training diverged."
        )
    variance = key.endswith("running_var")
    most = LARGEST_WEIGHT**2 if variance else LARGEST_WEIGHT
    if not counter and (largest := float(cast.abs().max())) > most:
        raise WeightsError(
            f"The weights contain values up to {largest:g} in {key}; expected at most {most:g}. The file is damaged or "
            "its numbers were scaled: copy or download it again."
        )
    if variance and (cast < 0).any():
        raise WeightsError(
            f"The weights contain {float(cast.min()):g} in {key}; expected variances of 0 or more. The file is "
            "damaged: copy or download it again."
        )
    return cast


def _some(keys: set[str]) -> str:
    return ", ".join(sorted(keys)[:3]) + (", …" if len(keys) > 3 else "") if keys else "none"


# -- making --------------------------------------------------------------------------------------------------------


def untrained(depth: int = 152, fusion: Fusion = "add", seed: int = UNTRAINED_SEED) -> Model:
    """Make a model of seeded random weights for tests and smoke runs: equal bits for the same seed and torch.

    It has the stem's second stream, so that a smoke run covers all of the network.
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
    """Make a network with its usual random weights; the random generators of the process and of GPUs do not change."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return GTRNet(depth, fusion, head)


def scale_residuals(network: GTRNet) -> GTRNet:
    """Scale down the last batch norm of each block of a network, and return the network.

    With the usual initial weights, 50 untrained residual blocks amplify their input until the softmax saturates.
    """
    last_norm = rf"layer\d\.\d+\.bn{2 if BLOCKS[network.depth][0] is BasicBlock else 3}\.weight"
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if re.search(last_norm, name):
                weight.fill_(0.2)
    return network


def save(model: Model, folder: Path, *, half: bool = False) -> ModelCard:
    """Write a model's folder with its mean mask, completely or not at all; return its card with the files' hashes.

    Parameters
    ----------
    half
        Store the weights as float16, in half the space, with a relative error of up to 1/2048.

    Raises
    ------
    WeightsError
        If the folder exists or cannot be written, or a weight is too large for float16.
    """
    if folder.exists():
        raise WeightsError(f"{folder} exists; expected a new folder. Choose another `name` or `out`, or remove it.")
    # Copies: tensors that share memory, as tied or expanded ones do, are refused by safetensors.
    state = halved(model.network) if half else model.network.state_dict()
    state = {key: tensor.clone(memory_format=torch.contiguous_format) for key, tensor in state.items()}
    try:
        with new_folder(folder) as work:
            safetensors.torch.save_file(state, work / WEIGHTS_FILE)
            card = replace(model.card, sha256=sha256_of(work / WEIGHTS_FILE))
            if model.mean_mask is not None:
                write_mean_mask(model.mean_mask, work / MEAN_MASK_FILE)
                card = replace(card, mean_mask_sha256=sha256_of(work / MEAN_MASK_FILE))
            (work / CARD_FILE).write_text(card.to_text(), encoding="utf-8")
            # safetensors keeps its files to their owner; the card has the mode that the umask allows.
            for path in work.iterdir():
                path.chmod((work / CARD_FILE).stat().st_mode & 0o777)
    except (safetensors.SafetensorError, OSError) as error:
        needed = sum(tensor.nbytes for tensor in state.values())
        there = next(parent for parent in folder.absolute().parents if parent.exists())
        raise WeightsError(
            f"{folder} cannot be written: {error}. It needs {needed:,} bytes; {there} has "
            f"{shutil.disk_usage(there).free:,} free. Free some space, check the permissions, or choose another `out`. "
            "Nothing was written."
        ) from error
    return card


def halved(network: GTRNet) -> dict[str, Tensor]:
    """Return the network's weights as float16, counters unchanged; raise `WeightsError` if a weight is too large."""
    state = {k: tensor.half() if tensor.is_floating_point() else tensor for k, tensor in network.state_dict().items()}
    if large := {key for key, tensor in state.items() if not torch.isfinite(tensor).all()}:
        raise WeightsError(
            f"{_some(large)} contain weights above 65,504; expected ones in the range of float16. Do not use `half`."
        )
    return state
