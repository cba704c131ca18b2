"""Make a model's weights random part by part, from the head down (Adebayo 2018, arXiv:1810.03292).

An explanation of what a network has learned cannot survive that what it has learned is gone.
"""

from collections.abc import Collection
from copy import deepcopy
from dataclasses import replace

from GTRStagingLib.errors import InputError
from GTRStagingLib.model.card import HeadKind
from GTRStagingLib.model.network import LAYERS
from GTRStagingLib.model.weights import Model, scale_residuals, seeded_network

UNUSED = 2_026_000_000
"""Added to the seed. Trainings start from the random weights of small seeds; those weights are no random ones for the
model that a training made of them: its last layer has hardly moved away from them."""

_MODULES = {"stem": ("conv1", "bn1", "detail")}
"""Parts of the network that have another name there than here."""


def parts_of(head: HeadKind) -> tuple[str, ...]:
    """Name the parts of a network from the head down.

    Examples
    --------
    >>> from GTRStagingLib.model.randomised import parts_of
    >>> parts_of("gated")
    ('gate', 'layer4', 'layer3', 'layer2', 'layer1', 'stem')
    """
    return ("gate" if head == "gated" else "fc", *reversed(LAYERS))


def randomised(model: Model, parts: Collection[str], seed: int) -> Model:
    """Copy a model with some of its parts as they would be before any training.

    The statistics of the batch norms there are forgotten with the weights that they were of: those of other weights
    would make a deep network's numbers overflow.

    Parameters
    ----------
    parts
        Among `parts_of`.
    seed
        Of the random weights; they are not those that a training with this seed would start from.

    Raises
    ------
    InputError
        If there is no such part.
    """
    known = parts_of(model.network.head_kind)
    if unknown := set(parts) - set(known):
        raise InputError(f"Parts {sorted(unknown)} of a network; expected among {', '.join(known)}.")
    heads = tuple(f"{module}." for part in parts for module in _MODULES.get(part, (part,)))
    network = deepcopy(model.network)
    fresh = scale_residuals(
        seeded_network(network.depth, network.fusion, UNUSED + seed, network.head_kind)
    ).state_dict()
    network.load_state_dict({key: fresh[key] for key in fresh if key.startswith(heads)}, strict=False)
    return replace(model, network=network.eval().requires_grad_(False))


__all__ = ["parts_of", "randomised"]
