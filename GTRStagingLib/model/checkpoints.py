"""Checkpoints of others as models: what the published training script writes, and torchvision's ImageNet weights.

They are imported once, with `weights_only=True`, and kept as a model's folder from then on: none of their code runs.
"""

import contextlib
import pickle
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision.models.resnet import BasicBlock

from GTRStagingLib.errors import WeightsError
from GTRStagingLib.model.card import Fusion, ModelCard
from GTRStagingLib.model.network import BLOCKS
from GTRStagingLib.model.recipe import Recipe
from GTRStagingLib.model.registry import UNTRAINED, models_folder
from GTRStagingLib.model.weights import UNTRAINED_SEED, Model, network_with, save, untrained
from GTRStagingLib.support.files import sha256_of

PUBLISHED_FILES: Mapping[str, str] = {
    "df3fc8e82b45d387254c3502f0cea81a6f1163d4adbdeddd4dd6bc5e10999561": (
        "models.pth as published by the authors of doi:10.1038/s41746-025-02002-5 (233,519,033 bytes)"
    ),
}
"""sha256 of the files that are known by name."""

WRAPPERS = ("model_state_dict", "state_dict", "model_state", "model")
"""Where training scripts keep a state dict among their other records."""


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
    state = find_state_dict(load_plain(path), path)
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
    own = {k: tensor for k, tensor in start.network.state_dict().items() if k.startswith(("fc.", "detail."))}
    backbone = {key: tensor for key, tensor in imagenet_state(depth).items() if not key.startswith("fc.")}
    card = replace(
        start.card,
        name=name,
        recipe=recipe,
        provenance="backbone: torchvision's IMAGENET1K_V1, hash checked; head and detail stream: random, "
        f"seed {UNTRAINED_SEED}, torch {torch.__version__}",
        trained_on="ImageNet-1k (backbone only)",
        licence="BSD-3-Clause (torchvision)",
    )
    return save(Model(card, network_with({**backbone, **own}, depth, start.card.fusion)), folder), folder


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
    home = out or models_folder()
    if home is None:
        raise WeightsError(
            "There is no home directory to keep models in; expected GTRSTAGING_MODELS to name a folder, or --out."
        )
    folder = home / name
    if folder.exists():
        raise WeightsError(f"{folder} exists; choose another --name or --out, or remove it.")
    return folder


def load_plain(path: Path) -> Any:
    """What `torch.save` wrote there, of tensors and numbers alone; a `WeightsError` for anything else."""
    try:
        with _numbers_allowed():
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path.name} is not a plain file of weights: it is no checkpoint, or would run code when loaded. Expected "
            f"tensors and numbers only; nothing of it was run or written. ({_in_short(error)})"
        ) from error
    # All of them: a damaged file takes the unpickler to whatever its bytes happen to ask for.
    except Exception as error:
        raise WeightsError(
            f"{path.name} ({path.stat().st_size:,} bytes) cannot be read: it is damaged, cut short or no checkpoint. "
            f"Download or copy it again, and compare its sha256. Nothing was written. ({_in_short(error)})"
        ) from error


def _in_short(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip()[:200]}".partition("\n")[0]


@contextlib.contextmanager
def _numbers_allowed() -> Iterator[None]:
    """Let numpy's numbers through: a training script may save its accuracy as one. They run nothing.

    Under both of their names: numpy 2 moved `numpy.core` to `numpy._core`.
    """
    scalar: Any = np.float64(0).__reduce__()[0]
    names = [(scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]
    kinds = [type(np.dtype(kind)) for kind in ("float64", "float32", "int64")]
    with torch.serialization.safe_globals([*names, np.dtype, *kinds]):
        yield


def find_state_dict(loaded: Any, path: Path) -> dict[str, Tensor]:
    """The state dict in whatever training scripts wrap it in."""
    for key in WRAPPERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
            break
    if not isinstance(loaded, Mapping) or not loaded or not all(isinstance(v, Tensor) for v in loaded.values()):
        raise WeightsError(
            f"{path.name} holds a {type(loaded).__name__} without weights; expected a state dict, or one under "
            f"{', '.join(map(repr, WRAPPERS))}. Nothing was written."
        )
    return {str(key).removeprefix("module."): tensor.detach() for key, tensor in loaded.items()}


def count_blocks(state: Mapping[str, Tensor]) -> tuple[list[int], bool]:
    """How many blocks layer1 to layer4 have, and whether these are bottlenecks."""
    numbers = [len({k.split(".")[1] for k in state if k.startswith(f"layer{stage}.")}) for stage in (1, 2, 3, 4)]
    return numbers, "layer1.0.conv3.weight" in state


def _architecture(state: Mapping[str, Tensor], path: Path) -> tuple[int, Fusion]:
    """Depth and fusion, from the number of blocks and the keys of the stem."""
    fusion: Fusion = "none"
    if "detail.1.weight" in state:  # the batch norm
        fusion = "add"
    elif "detail.0.weight" in state:
        fusion = "concat"
    found, bottleneck = count_blocks(state)
    for depth, (block, blocks) in BLOCKS.items():
        if blocks == found and bottleneck == (block is not BasicBlock):
            return depth, fusion
    raise WeightsError(
        f"{path.name} is of another architecture: blocks {found} in layer1 to layer4, first keys "
        f"{', '.join(sorted(state)[:3])}. "
        f"Expected torchvision's ResNet-{', '.join(map(str, BLOCKS))} ({BLOCKS[152][1]} for 152). Nothing was written."
    )
