"""Keep the last linear layer of a network as arrays. Needs no torch."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from GTRStagingLib.errors import WeightsError
from GTRStagingLib.stages import TStage

if TYPE_CHECKING:
    from GTRStagingLib.model.network import GTRNet


@dataclass(frozen=True, eq=False)
class Head:
    """Linear layer between the features and the logits, as arrays that other processes can use.

    Attributes
    ----------
    weight, bias
        (4, features) and (4,) float32.
    """

    weight: np.ndarray
    bias: np.ndarray

    def __post_init__(self) -> None:
        if self.weight.ndim != 2 or len(self.weight) != len(TStage) or self.bias.shape != (len(TStage),):
            raise WeightsError(
                f"The head has weights {self.weight.shape} and bias {self.bias.shape}; expected ({len(TStage)}, "
                f"features) and ({len(TStage)},)."
            )

    @classmethod
    def of(cls, network: "GTRNet") -> "Head":
        """Return a copy of the network's last linear layer."""
        last = network.last
        weight, bias = (parameter.numpy(force=True).copy() for parameter in (last.weight, last.bias))
        return cls(weight, bias)


__all__ = ["Head"]
