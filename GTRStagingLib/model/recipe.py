"""Recipes: the preprocessing that a model was trained with, as data. A model card names its own."""

import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from GTRStagingLib.errors import InputError


def is_finite(value: object) -> bool:
    """Whether it is a number that a float can hold; True and False are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _is_pair(value: object) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and all(map(is_finite, value))


@dataclass(frozen=True)
class Recipe:
    """How a CT slice becomes the network's input.

    Attributes
    ----------
    spacing_mm
        In-plane spacing that slices are resampled to before resizing, over a centred square field filled up
        with air; None leaves the acquired pixels and their aspect as they are.
    hu_range
        HU are clipped to this first, which takes care of padding values outside the scanner's field.
    window
        Level and width, HU.
    n4
        N4 bias-field correction of each windowed, positive slice.
    input_size
        Pixels of the network's input: the square's side, or of the shorter side where the aspect is kept.
    quantised
        Round the windowed slice to 8 bits before resizing, as a PNG file does.
    normalisation
        'zscore': each slice to mean 0 and standard deviation 1; 'imagenet': by torchvision's constants.
    channels
        The slice is repeated in so many channels.
    """

    name: str
    spacing_mm: float | None
    hu_range: tuple[float, float] = (-1024.0, 1024.0)
    window: tuple[float, float] = (50.0, 350.0)
    n4: bool = False
    input_size: int = 224
    quantised: bool = False
    normalisation: Literal["zscore", "imagenet"] = "zscore"
    channels: int = 3

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise InputError(f"Recipe name {self.name!r}; expected a text that is not empty.")
        if not (_is_pair(self.hu_range) and _is_pair(self.window)) or not (
            self.hu_range[0] < self.hu_range[1] and self.window[1] > 0
        ):
            raise InputError(
                f"Recipe {self.name!r}: HU range {self.hu_range}, window {self.window}; expected two finite numbers "
                "each: low < high, and a level with a positive width."
            )
        if self.spacing_mm is not None and not (is_finite(self.spacing_mm) and self.spacing_mm > 0):
            raise InputError(f"Recipe {self.name!r}: spacing {self.spacing_mm} mm; expected a positive one, or none.")
        if type(self.input_size) is not int or self.input_size % 32 or self.input_size <= 0:
            raise InputError(
                f"Recipe {self.name!r}: input of {self.input_size!r} pixels; expected a whole multiple of 32."
            )
        if type(self.n4) is not bool or type(self.quantised) is not bool:
            raise InputError(
                f"Recipe {self.name!r}: n4 {self.n4!r}, quantised {self.quantised!r}; expected true or false."
            )
        if self.normalisation not in ("zscore", "imagenet") or type(self.channels) is not int or self.channels != 3:
            raise InputError(
                f"Recipe {self.name!r}: normalisation {self.normalisation!r}, {self.channels!r} channels; expected "
                "'zscore' or 'imagenet', and 3."
            )

    @property
    def window_hu(self) -> tuple[float, float]:
        """The window's lower and upper end, HU."""
        level, width = self.window
        return level - width / 2, level + width / 2

    @property
    def takes_windowed(self) -> bool:
        """Whether slices that were windowed to 8 bits elsewhere fit this recipe."""
        return self.quantised and self.spacing_mm is None

    def to_json(self) -> dict[str, Any]:
        """Plain data, for model cards and results."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: object) -> "Recipe":
        """The recipe of a model card.

        Raises
        ------
        InputError
            If a field is missing, unknown, of another type or out of range.
        """
        if not isinstance(data, Mapping):
            raise InputError(f"A recipe that is a {type(data).__name__}; expected an object with its fields.")
        known = {field.name for field in fields(cls)}
        if unknown := sorted(set(data) - known):
            raise InputError(f"Recipe with unknown fields {unknown}; expected among {sorted(known)}.")
        try:
            pairs = {key: tuple(data[key]) for key in ("hu_range", "window") if key in data}
            return cls(**{**data, **pairs})
        except TypeError as error:
            raise InputError(f"Recipe {dict(data)} is not valid: {error}.") from error


GTR = Recipe("gtr", spacing_mm=1.0)
PAPER = Recipe("paper", spacing_mm=1.0, n4=True)
RELEASED = Recipe("released", spacing_mm=None, quantised=True, normalisation="imagenet")

RECIPES: Mapping[str, Recipe] = {recipe.name: recipe for recipe in (GTR, PAPER, RELEASED)}
"""The named recipes.

`gtr` is our default. `paper` is as the article has it where it says how: its HU range, window, N4 and z-score. Ours are
1 mm in plane only (the slices that vote are acquired ones), the square field, the order of windowing and resizing, and
N4 on the windowed slice, lifted by 1 and fitted to tissue alone. `released` is what the authors' released code does.
"""


def find_recipe(name: str) -> Recipe:
    """A recipe by its name.

    Examples
    --------
    The window L50 W350 reaches from 50 - 175 to 50 + 175 HU.

    >>> from GTRStagingLib.model.recipe import find_recipe
    >>> find_recipe("gtr").window_hu
    (-125.0, 225.0)
    """
    if name not in RECIPES:
        raise InputError(f"Recipe {name!r}; expected one of {', '.join(RECIPES)}.")
    return RECIPES[name]
