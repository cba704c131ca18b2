"""Import checkpoints as model folders: files of the published training script, and torchvision's ImageNet weights.

A checkpoint is imported once, with `weights_only=True`, so that no code of it runs, and then used as a model folder.
"""

import contextlib
import pickle
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
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
from GTRStagingLib.model.registry import folder_for
from GTRStagingLib.model.weights import UNTRAINED_SEED, Model, network_with, save, untrained
from GTRStagingLib.support.files import sha256_of

PUBLISHED_FILES: Mapping[str, str] = {
    "df3fc8e82b45d387254c3502f0cea81a6f1163d4adbdeddd4dd6bc5e10999561": (
        "models.pth as published by the authors of doi:10.1038/s41746-025-02002-5 (233,519,033 bytes)"
    ),
}
"""sha256 -> description of known published files."""

WRAPPERS = ("model_state_dict", "state_dict", "model_state", "model", "net", "network")
"""Keys under which training scripts store a state dict, also inside each other."""

MOST_WRAPPERS = 5

PREFIXES = ("module.", "model.", "net.", "network.")
"""Beginnings of all names: of DataParallel, and of the attribute of a LightningModule that is the network."""

COMPILED = "_orig_mod"
"""Part of the names in a network, or a part of it, that torch.compile has wrapped."""

LOSSES = re.compile(r"(criterion|loss|loss_fn|loss_function)\.")
"""Names of a loss function's weights beside the network in a LightningModule; they are not imported."""


def import_checkpoint(
    path: Path, *, recipe: Recipe, name: str, out: Path | None = None, sha256: str | None = None
) -> tuple[ModelCard, Path]:
    """Import a `.pth` file as a model folder.

    Accepts a bare state dict, as of the published training script, or one under `WRAPPERS`, with or without
    `PREFIXES` in its names, as of DataParallel, torch.compile and Lightning. Depth and fusion are derived from the
    weights.

    Parameters
    ----------
    path
        The file; no code of it runs.
    recipe
        Preprocessing of its training, which the file does not contain.
    out
        Parent of the model's folder; `models_folder()` if not given.
    sha256
        Expected hash of the file.

    Returns
    -------
    The card, and the folder that was written.

    Raises
    ------
    WeightsError
        If the hash differs, the file is damaged or contains code, or is another network. Nothing is written then.
    """
    folder = folder_for(name, out)
    if not path.is_file():
        raise WeightsError(f"{path} is not a file; expected a checkpoint (.pth).")
    found = sha256_of(path)
    if sha256 is not None and found != sha256.strip().lower():
        raise WeightsError(
            f"{path.name} has sha256 {found}; expected {sha256.strip().lower()}. The download is incomplete or another "
            f"file{'' if found not in PUBLISHED_FILES else f': {PUBLISHED_FILES[found]}'}. Nothing was written."
        )
    stored = find_state_dict(load_plain(path), path)
    state = {key: tensor for key, tensor in stored.items() if not LOSSES.match(key)}
    losses = ", ".join(sorted(set(stored) - set(state)))
    left_out = f"; without {losses[:200]} of its loss function" if losses else ""
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
        provenance=f"imported from {path.name}, sha256 {found}: {known or 'a file of unknown hash'}{left_out}",
        trained_on="not stated in the file" if known is None else "the authors' 1,192 slices of 358 studies",
        licence="not stated in the file" if known is None else "MIT, as stated by the authors",
    )
    return save(Model(card, network), folder), folder


def import_imagenet(*, recipe: Recipe, name: str, depth: int = 152, out: Path | None = None) -> tuple[ModelCard, Path]:
    """Write a model folder with torchvision's ImageNet weights under an untrained four-class head, to train from.

    Raises
    ------
    WeightsError
        If the weights are not cached and cannot be downloaded, or fail torchvision's hash check.
    """
    folder = folder_for(name, out)
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
    """Load ImageNet weights by torchvision's loader with its hash check.

    torchvision compares a download with the beginning of the hash in the file's name; this function checks a cached
    copy in the same way.
    """
    from torchvision.models import get_weight

    if depth == 10:
        raise WeightsError(
            "There are no ImageNet weights of ResNet-10; expected a depth of 18, 50 or 152. Use one of these, or start "
            "from random weights."
        )
    weights = get_weight(f"ResNet{depth}_Weights.IMAGENET1K_V1")
    cached = Path(torch.hub.get_dir()) / "checkpoints" / Path(weights.url).name
    beginning = cached.stem.rpartition("-")[2]
    if cached.is_file() and not (found := sha256_of(cached)).startswith(beginning):
        raise WeightsError(
            f"{cached} has sha256 {found}; expected one that begins with {beginning}. It is damaged or another file: "
            "remove it to download it again."
        )
    try:
        return dict(weights.get_state_dict(progress=False, check_hash=True, weights_only=True))
    except (OSError, RuntimeError) as error:
        raise WeightsError(
            f"torchvision's ImageNet weights of ResNet-{depth} cannot be downloaded ({error}). Expected a network "
            f"connection, or the file {cached.name} in {cached.parent}: copy it there."
        ) from error


def load_plain(path: Path) -> Any:
    """Load a file of `torch.save` with tensors and numbers only; raise `WeightsError` for any other content."""
    try:
        with _numbers_allowed():
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL ([\w.]{1,200})", str(error))
        raise WeightsError(
            f"{path.name} is not a plain file of weights: it is not a checkpoint, or it contains code"
            f"{f' (an object of {found[1]})' if found else ''}. Expected tensors and numbers only; save "
            "model.state_dict() alone. No code was run, and nothing was written."
        ) from error
    # All exceptions: a damaged file can raise any of them in the unpickler.
    except Exception as error:
        raise WeightsError(
            f"{path.name} ({path.stat().st_size:,} bytes) cannot be read: it is damaged, truncated or not a "
            "checkpoint. Expected a file of torch.save: download or copy it again, and compare its sha256. Nothing "
            "was written."
        ) from error


@contextlib.contextmanager
def _numbers_allowed() -> Iterator[None]:
    """Allow numpy's numbers in a checkpoint: training scripts may save their accuracy as one. They run no code.

    Both of their module names are allowed: numpy 2 moved `numpy.core` to `numpy._core`.
    """
    scalar: Any = np.float64(0).__reduce__()[0]
    names = [(scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]
    kinds = [type(np.dtype(kind)) for kind in ("float64", "float32", "int64")]
    with torch.serialization.safe_globals([*names, np.dtype, *kinds]):
        yield


def find_state_dict(loaded: Any, path: Path) -> dict[str, Tensor]:
    """Return the state dict of a checkpoint, under any nesting of `WRAPPERS`, by names without `PREFIXES`.

    A prefix is removed if all names have it, except those of `LOSSES`; torch.compile's also from inside a name.
    """
    for _ in range(MOST_WRAPPERS):
        inner = [key for key in WRAPPERS if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping)
                 and loaded[key]]  # fmt: skip
        if len(inner) > 1:
            raise WeightsError(
                f"{path.name} contains several state dicts, under {', '.join(map(repr, inner))}; expected one. Save "
                "the one to import in a separate file."
            )
        if not inner:
            break
        loaded = loaded[inner[0]]
    if not isinstance(loaded, Mapping) or not loaded or not all(isinstance(v, Tensor) for v in loaded.values()):
        raise WeightsError(
            f"{path.name} contains a {type(loaded).__name__} without weights; expected a state dict, or one under "
            f"{', '.join(map(repr, WRAPPERS))}. Nothing was written."
        )
    tensors = {str(key): tensor.detach() for key, tensor in loaded.items()}
    names = {key: ".".join(part for part in key.split(".") if part != COMPILED) for key in tensors}
    while prefix := next((p for p in PREFIXES if _all_begin_with(p, names.values())), None):
        names = {key: name.removeprefix(prefix) for key, name in names.items()}
    if len(set(names.values())) < len(names):
        twice = next(name for name, count in Counter(names.values()).items() if count > 1)
        raise WeightsError(
            f"{path.name} contains {twice} twice, with and without {COMPILED}; expected each name once. Save the state "
            "dict of one network."
        )
    return {names[key]: tensor for key, tensor in tensors.items()}


def _all_begin_with(prefix: str, names: Collection[str]) -> bool:
    own = [name for name in names if not LOSSES.match(name)]
    return bool(own) and all(name.startswith(prefix) for name in own)


def count_blocks(state: Mapping[str, Tensor]) -> tuple[list[int], bool]:
    """Return the number of blocks in layer1 to layer4, and whether they are bottlenecks."""
    numbers = [len({k.split(".")[1] for k in state if k.startswith(f"layer{stage}.")}) for stage in (1, 2, 3, 4)]
    return numbers, "layer1.0.conv3.weight" in state


def _architecture(state: Mapping[str, Tensor], path: Path) -> tuple[int, Fusion]:
    """Derive depth and fusion from the number of blocks and the keys of the stem."""
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
        f"{path.name} has another architecture: blocks {found} in layer1 to layer4, first keys "
        f"{', '.join(sorted(state)[:3])}. "
        f"Expected torchvision's ResNet-{', '.join(map(str, BLOCKS))} ({BLOCKS[152][1]} for 152). Nothing was written."
    )
