"""Recipes: the preprocessing that a model was trained with, as data. Each model card contains one."""

from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any, Literal

from GTRStagingLib.errors import InputError
from GTRStagingLib.support.fields import Fields, is_number

HU_LIMITS = (-32768.0, 32767.0)
"""Ends of plausible HU ranges and windows: the values that a CT can store."""

HU_WIDTHS = (20.0, 10_000.0)
"""Plausible widths of windows, and least width of HU ranges and of their overlap: narrower, and tissue is one grey."""

SPACINGS_MM = (0.1, 10.0)
"""Plausible in-plane spacings of the network's input: finer than any CT, and a tumour of a few pixels."""

INPUT_SIZES = (32, 2048)
"""Plausible sizes of the network's input, in pixels."""


def _is_pair(value: object) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and all(map(is_number, value))


@dataclass(frozen=True)
class Recipe:
    """Preprocessing of a CT slice to the network's input.

    Attributes
    ----------
    spacing_mm
        In-plane spacing to which slices are resampled before resizing, over a centred square field filled with air;
        None keeps the acquired pixels and their aspect.
    hu_range
        HU are clipped to this range first, which removes padding values outside the scanner's field.
    window
        Level and width, HU.
    n4
        N4 bias-field correction of each windowed, positive slice.
    input_size
        Pixels of the network's input: the side of the square, or the shorter side if the aspect is kept.
    quantised
        Round the windowed slice to 8 bits before resizing, as a PNG file does.
    normalisation
        'zscore': each slice to mean 0 and standard deviation 1; 'imagenet': by torchvision's constants.
    channels
        Number of channels in which the slice is repeated.
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
            raise InputError(f"Recipe name {self.name!r}; expected a non-empty text.")
        if not (_is_pair(self.hu_range) and _is_pair(self.window)) or not self._sees_tissue():
            raise InputError(
                f"Recipe {self.name!r}: HU range {self.hu_range}, window {self.window}; expected two finite numbers "
                f"each: low < high, and a level and a positive width of {HU_WIDTHS[0]:g} to {HU_WIDTHS[1]:g} HU, which "
                f"overlap by {HU_WIDTHS[0]:g} HU or more, within {HU_LIMITS[0]:g} to {HU_LIMITS[1]:g}."
            )
        if self.spacing_mm is not None and not (
            is_number(self.spacing_mm) and SPACINGS_MM[0] <= self.spacing_mm <= SPACINGS_MM[1]
        ):
            raise InputError(
                f"Recipe {self.name!r}: spacing {self.spacing_mm} mm; expected {SPACINGS_MM[0]:g} to "
                f"{SPACINGS_MM[1]:g} mm, or None."
            )
        if (
            type(self.input_size) is not int
            or self.input_size % 32
            or not INPUT_SIZES[0] <= self.input_size <= INPUT_SIZES[1]
        ):
            raise InputError(
                f"Recipe {self.name!r}: input of {self.input_size!r} pixels; expected a whole multiple of 32, from "
                f"{INPUT_SIZES[0]} to {INPUT_SIZES[1]}."
            )
        if type(self.n4) is not bool or type(self.quantised) is not bool:
            raise InputError(
                f"Recipe {self.name!r}: n4 {self.n4!r}, quantised {self.quantised!r}; expected true or false."
            )
        if self.normalisation not in ("zscore", "imagenet") or type(self.channels) is not int or self.channels != 3:
            raise InputError(
                f"Recipe {self.name!r}: normalisation {self.normalisation!r}, {self.channels!r} channels; expected "
                "'zscore' or 'imagenet', and 3 channels."
            )

    def _sees_tissue(self) -> bool:
        """Return whether HU range and window have plausible ends and widths, and overlap."""
        (low, high), ends = self.hu_range, self.window_hu
        width, overlap = self.window[1], min(high, ends[1]) - max(low, ends[0])
        return (
            all(HU_LIMITS[0] <= end <= HU_LIMITS[1] for end in (low, high, *ends))
            and HU_WIDTHS[0] <= width <= HU_WIDTHS[1]
            and overlap >= HU_WIDTHS[0]
        )

    @property
    def window_hu(self) -> tuple[float, float]:
        """Lower and upper end of the window, HU."""
        level, width = self.window
        return level - width / 2, level + width / 2

    @property
    def takes_windowed(self) -> bool:
        """Whether the recipe accepts slices that are already windowed to 8 bits."""
        return self.quantised and self.spacing_mm is None

    def to_json(self) -> dict[str, Any]:
        """Return plain data for model cards and results."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: object) -> "Recipe":
        """Make the recipe of a model card from plain data.

        Raises
        ------
        InputError
            If a field is missing, unknown, of another type or out of range.
        """
        needed = [field.name for field in fields(cls) if field.default is MISSING]
        recipe = Fields(data, "recipe").only([field.name for field in fields(cls)], needed)
        recipe.name("name")
        pairs = {key: recipe.numbers(key, 2) for key in ("hu_range", "window") if key in recipe.data}
        return cls(**{**recipe.data, **pairs})


GTR = Recipe("gtr", spacing_mm=1.0)
PAPER = Recipe("paper", spacing_mm=1.0, n4=True)
RELEASED = Recipe("released", spacing_mm=None, quantised=True, normalisation="imagenet")

RECIPES: Mapping[str, Recipe] = {recipe.name: recipe for recipe in (GTR, PAPER, RELEASED)}
"""The named recipes.

`gtr` is the default. `paper` follows the article where it is specific: HU range, window, N4 and z-score. This project
chose 1 mm in plane only (the voting slices are acquired slices), the square field, the order of windowing and resizing,
and N4 on the windowed slice plus 1, fitted to tissue alone. `released` is the preprocessing of the authors' released
code.
"""


def find_recipe(name: str) -> Recipe:
    """Return a recipe by its name.

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
