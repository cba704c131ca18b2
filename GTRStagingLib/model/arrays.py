"""Read and write the arrays beside a model's weights, after checking their hashes. Needs no torch.

They are the mean mask, the arrays of what the model learned from (`reference`), and the head that proposes key slices
(`proposal`).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy

from GTRStagingLib.errors import WeightsError
from GTRStagingLib.model.card import ModelCard
from GTRStagingLib.model.head import Head
from GTRStagingLib.model.proposal import ProposalHead
from GTRStagingLib.model.reference import PICTURE, VECTORS, Reference
from GTRStagingLib.model.registry import CARD_FILE
from GTRStagingLib.support.files import sha256_of

WEIGHTS_FILE, FEATURES_FILE, MEAN_MASK_FILE = "model.safetensors", "features.safetensors", "mean_mask.safetensors"
PROPOSAL_FILE = "proposal.safetensors"
GRAPH_FILE, GRADIENTS_FILE = "model.onnx", "gradients.onnx"

LAST = {"mean": "fc", "gated": "gate.fc"}
"""Kind of head -> name of the linear layer that gives the logits, in the file of the weights."""


@dataclass(frozen=True, eq=False)
class Beside:
    """What a model folder contains beside the weights; each is None where it lacks it (see `weights.Model`)."""

    mean_mask: np.ndarray | None = None
    reference: Reference | None = None
    proposal_head: ProposalHead | None = None


def read_beside(folder: Path, card: ModelCard, features: int) -> Beside:
    """Read the arrays beside the weights.

    Parameters
    ----------
    features
        Length of the network's penultimate features.

    Raises
    ------
    WeightsError
        If a file is missing, has another hash than the card gives, or its arrays have other shapes or values.
    """
    return Beside(
        read_mean_mask(folder, card), _reference(folder, card, features), _proposal_head(folder, card, features)
    )


def read_mean_mask(folder: Path, card: ModelCard) -> np.ndarray | None:
    """Read the mean mask of a model (see `weights.Model`); None if it has none."""
    if card.mean_mask_sha256 is None:
        return None
    stored = _arrays(folder / MEAN_MASK_FILE, card.mean_mask_sha256)
    try:
        mean_mask = stored["mean_mask"]
    except KeyError as error:
        raise WeightsError(f"{folder / MEAN_MASK_FILE} lacks {error}. Check the model again.") from error
    if mean_mask.ndim != 2 or not ((mean_mask >= 0) & (mean_mask <= 1)).all():
        raise WeightsError(
            f"{folder / MEAN_MASK_FILE} has shape {mean_mask.shape}, or values outside 0..1; expected shares in two "
            "dimensions. Check the model again."
        )
    return mean_mask


def _reference(folder: Path, card: ModelCard, features: int) -> Reference | None:
    if card.familiarity is None or card.features_sha256 is None:
        return None
    stored = _arrays(folder / FEATURES_FILE, card.features_sha256)
    lengths = {"features": features, "picture": PICTURE**2, **{part: len(names) for part, names in VECTORS.items()}}
    return Reference.from_stored(card.familiarity, stored, lengths)


def _proposal_head(folder: Path, card: ModelCard, features: int) -> ProposalHead | None:
    if card.proposal is None or card.proposal_sha256 is None:
        return None
    return ProposalHead.from_stored(card.proposal, _arrays(folder / PROPOSAL_FILE, card.proposal_sha256), features)


def read_head(folder: Path, card: ModelCard) -> Head:
    """Read the last linear layer from the weights, whose hash the caller has checked."""
    name = LAST[card.head]
    try:
        with safetensors.safe_open(folder / WEIGHTS_FILE, "numpy") as stored:
            weight, bias = (stored.get_tensor(f"{name}.{part}").astype(np.float32) for part in ("weight", "bias"))
    except Exception as error:  # keys that are missing, and number types that numpy lacks
        raise WeightsError(
            f"{folder / WEIGHTS_FILE} has no layer {name!r} that numpy can read ({error}); expected float32 or "
            "float16. Import the model again."
        ) from error
    return Head(weight, bias)


def require_hash(path: Path, sha256: str) -> None:
    """Raise `WeightsError` unless a file exists and has the hash that the card gives."""
    if not path.is_file():
        raise WeightsError(f"{path} is missing; expected it beside {CARD_FILE}. Import the model again.")
    if (found := sha256_of(path)) != sha256:
        raise WeightsError(
            f"{path} has sha256 {found}; its card gives {sha256}. The file was changed or damaged: import it again."
        )


def _arrays(path: Path, sha256: str) -> dict[str, np.ndarray]:
    """Load the arrays of a safetensors file as float32 after checking its hash."""
    require_hash(path, sha256)
    try:
        return {name: one.astype(np.float32) for name, one in safetensors.numpy.load_file(path).items()}
    except Exception as error:  # a header with other number types raises KeyError, for example
        raise unreadable(path) from error


def unreadable(path: Path) -> WeightsError:
    """Return the error of a file with the expected hash that is no safetensors file."""
    return WeightsError(f"{path.name} cannot be read; expected safetensors. Import the model again.")


def write_reference(reference: Reference, path: Path) -> None:
    """Write the arrays of what a model learned from."""
    safetensors.numpy.save_file(dict(reference.arrays()), path)


def write_proposal_head(head: ProposalHead, path: Path) -> None:
    """Write the arrays of the head that proposes key slices."""
    safetensors.numpy.save_file(dict(head.arrays()), path)


def write_mean_mask(mean_mask: np.ndarray, path: Path) -> None:
    """Write the mean mask of a model (see `weights.Model`)."""
    safetensors.numpy.save_file({"mean_mask": np.ascontiguousarray(mean_mask, dtype=np.float16)}, path)


__all__ = [
    "FEATURES_FILE", "GRADIENTS_FILE", "GRAPH_FILE", "MEAN_MASK_FILE", "PROPOSAL_FILE", "WEIGHTS_FILE", "Beside",
    "read_beside", "read_head", "read_mean_mask", "require_hash", "unreadable", "write_mean_mask",
    "write_proposal_head", "write_reference",
]  # fmt: skip
