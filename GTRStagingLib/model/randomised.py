"""Make a model's weights random part by part, from the head down (Adebayo 2018, arXiv:1810.03292).

A map that explains the learned weights must change when these weights are replaced by random ones.
"""

from collections.abc import Collection
from copy import deepcopy
from dataclasses import replace

from GTRStagingLib.errors import InputError
from GTRStagingLib.model.card import HeadKind
from GTRStagingLib.model.network import LAYERS
from GTRStagingLib.model.weights import Model, scale_residuals, seeded_network

UNUSED = 2_026_000_000
"""Added to the seed. Trainings start from the random weights of small seeds, and a trained last layer is still close to
them: the same seed would not make its weights random."""

_MODULES = {"stem": ("conv1", "bn1", "detail")}
"""Modules of the parts that have other names in the network."""


def parts_of(head: HeadKind) -> tuple[str, ...]:
    """Return the names of the parts of a network from the head down.

    Examples
    --------
    >>> from GTRStagingLib.model.randomised import parts_of
    >>> parts_of("gated")
    ('gate', 'layer4', 'layer3', 'layer2', 'layer1', 'stem')
    """
    return ("gate" if head == "gated" else "fc", *reversed(LAYERS))


def randomised(model: Model, parts: Collection[str], seed: int) -> Model:
    """Return a copy of a model with random weights in some of its parts.

    The batch norms' statistics in these parts are reset too: statistics of other weights would make the numbers of a
    deep network overflow.

    Parameters
    ----------
    parts
        Among `parts_of`.
    seed
        Of the random weights, which differ from those that a training with this seed starts from.

    Raises
    ------
    InputError
        If a part is unknown.
    """
    known = parts_of(model.network.head_kind)
    if unknown := set(parts) - set(known):
        raise InputError(f"Parts {sorted(unknown)} of a network are unknown; expected some of {', '.join(known)}.")
    heads = tuple(f"{module}." for part in parts for module in _MODULES.get(part, (part,)))
    network = deepcopy(model.network)
    fresh = scale_residuals(
        seeded_network(network.depth, network.fusion, UNUSED + seed, network.head_kind)
    ).state_dict()
    network.load_state_dict({key: fresh[key] for key in fresh if key.startswith(heads)}, strict=False)
    return replace(model, network=network.eval().requires_grad_(False))


__all__ = ["parts_of", "randomised"]
