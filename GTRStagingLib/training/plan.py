"""Plan and hardware of a training run. The plan is recorded at the start, and compared when the run is resumed."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from GTRStagingLib.errors import InputError
from GTRStagingLib.model.card import DEPTHS, Fusion, HeadKind
from GTRStagingLib.model.recipe import GTR, Recipe
from GTRStagingLib.support.fields import Fields

Schedule = Literal["constant", "cosine"]


@dataclass(frozen=True)
class Plan:
    """Options that determine the result of a training: equal plan, data and device give equal numbers.

    Attributes
    ----------
    depth, fusion, head
        Of `GTRNet`.
    recipe
        Preprocessing, which becomes part of the model.
    init
        'auto': ImageNet's weights if available, else random weights; 'imagenet', 'random'; or a model's name or folder,
        to fine-tune it (without its head if the heads differ). For a training from a file of weights, 'backbone:' and
        the file's sha256.
    freeze_backbone
        Train the head alone: all other weights and the batch norms' statistics stay.
    mask_weight
        Weight of a gated head's mask loss relative to the cross-entropy.
    learning_rate
        Of Adam; with a schedule, the highest rate.
    schedule
        'constant', as in the article; 'cosine': up from a small rate in the first fifth, then down to nearly 0 by the
        last epoch (one cycle), for training from random weights.
    patience
        Number of epochs without a lower validation loss after which the training stops.
    augment
        Flip, rotate, scale and change intensities of the training slices.
    half
        Store the weights as float16.
    demonstration
        The data are phantoms: the model's status becomes 'demonstration'.
    allow_leakage
        Train although patients are in two splits; the model's card records this permanently.
    """

    depth: int = 152
    fusion: Fusion = "none"
    head: HeadKind = "mean"
    recipe: Recipe = GTR
    init: str = "auto"
    max_epochs: int = 100
    batch_size: int = 32
    learning_rate: float = 1e-4
    schedule: Schedule = "constant"
    patience: int = 10
    seed: int = 0
    augment: bool = True
    half: bool = False
    demonstration: bool = False
    allow_leakage: bool = False
    freeze_backbone: bool = False
    mask_weight: float = 1.0

    def __post_init__(self) -> None:
        kinds = get_args(HeadKind)
        if self.depth not in DEPTHS or self.fusion not in get_args(Fusion) or self.head not in kinds:
            raise InputError(
                f"Depth {self.depth!r}, fusion {self.fusion!r} and head {self.head!r}; expected a depth of "
                f"{', '.join(map(str, DEPTHS))}, a fusion of {', '.join(get_args(Fusion))} and a head of "
                f"{', '.join(kinds)}."
            )
        if self.freeze_backbone and self.init == "random":
            raise InputError(
                "A frozen backbone keeps its random weights; expected trained weights. Set `init` to a model."
            )
        if self.schedule not in get_args(Schedule):
            raise InputError(f"Schedule {self.schedule!r}; expected {' or '.join(get_args(Schedule))}.")
        for name in ("max_epochs", "batch_size", "patience", "learning_rate", "mask_weight"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} {getattr(self, name)!r}; expected a positive number.")
        if self.batch_size == 1 or not 0 <= self.seed < 2**32:
            raise InputError(
                f"Batches of {self.batch_size}, seed {self.seed}; expected at least 2 slices, which batch norms need, "
                "and a seed from 0 to 2^32 - 1."
            )

    def to_json(self) -> dict[str, Any]:
        """Return plain data, equal to the data read back from JSON."""
        recipe = {name: list(v) if isinstance(v, tuple) else v for name, v in self.recipe.to_json().items()}
        return {**asdict(self), "recipe": recipe}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Plan":
        """Make the plan of a run folder from plain data; raise `InputError` if they are not valid."""
        names = [field.name for field in fields(cls)]
        plan = Fields(data, "plan").only(names, names)
        for field in fields(cls):
            for kind, read in ((int, plan.whole), (float, plan.number), (bool, plan.flag)):
                if field.type is kind:
                    read(field.name)
        return cls(**{**data, "recipe": Recipe.from_json(plan.plain_object("recipe"))})

    def differences(self, other: "Plan") -> list[str]:
        """Return the differences from another plan, as 'option: here, there'.

        Examples
        --------
        >>> from GTRStagingLib.training.plan import Plan
        >>> Plan().differences(Plan(depth=10, seed=3))
        ['depth: 152, 10', 'seed: 0, 3']
        """
        pairs = [(f.name, getattr(self, f.name), getattr(other, f.name)) for f in fields(self)]
        return [
            f"{name}: {getattr(mine, 'name', mine)}, {getattr(its, 'name', its)}"
            for name, mine, its in pairs
            if mine != its
        ]


@dataclass(frozen=True)
class Hardware:
    """Hardware of a training; passed to Lightning's `Trainer`, which checks the values.

    Attributes
    ----------
    accelerator, devices, num_nodes, strategy, precision
        As in `Trainer`.
    workers
        Workers that read volumes, and that load and augment slices; None: one per core to read, and to load one with a
        CPU and up to eight with a GPU.
    """

    accelerator: str = "auto"
    devices: str = "1"
    num_nodes: int = 1
    strategy: str = "auto"
    precision: str = "32-true"
    workers: int | None = None


__all__ = ["Hardware", "Plan", "Schedule"]
