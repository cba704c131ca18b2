"""Place the cells of a feature map on the pixels of the network's input. Needs no torch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class CellGrid:
    """Where the cells of a feature map are centred: cell k at input pixel `first + k * step`, on both axes."""

    step: float
    first: float


def half_pixel_centres(cells: int, pixels: int) -> CellGrid:
    """Where every common upsampler puts the cells of a map of `cells` that is stretched to `pixels`."""
    step = pixels / cells
    return CellGrid(step, (step - 1) / 2)


__all__ = ["CellGrid", "half_pixel_centres"]
