"""Find what makes a matplotlib figure hard to read: text cut off, too small, over other text, or over data."""

from itertools import combinations

from matplotlib.legend import Legend
from matplotlib.text import Annotation, Text
from matplotlib.transforms import Bbox

COLUMN_MM = 88
SMALLEST_POINTS = 6.5


def faults(figure):
    """Return what is wrong with a figure that is printed one column wide, as sentences."""
    figure.canvas.draw()
    texts = shown_texts(figure)
    return [*_cut_off(figure, texts), *_small(figure, texts), *_over_texts(texts), *_over_data(figure, texts)]


def shown_texts(figure):
    """(text, extent in pixels) of every text that is drawn."""
    hidden = {id(text) for axis in figure.axes for one in (axis.xaxis, axis.yaxis) for text in _not_drawn(axis, one)}
    texts = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    return [(text, text.get_window_extent()) for text in texts if id(text) not in hidden]


def _not_drawn(axis, one):
    """All texts of an axis that is off, and the labels of ticks beyond its limits."""
    if not axis.axison:
        yield from one.findobj(Text)
    low, high = sorted(one.get_view_interval())
    for tick in (*one.get_major_ticks(), *one.get_minor_ticks()):
        if not low - 1e-9 <= tick.get_loc() <= high + 1e-9:
            yield from (tick.label1, tick.label2)


def _cut_off(figure, texts):
    for text, extent in texts:
        if extent.x0 < -0.5 or extent.y0 < -0.5 or extent.x1 > figure.bbox.x1 + 0.5 or extent.y1 > figure.bbox.y1 + 0.5:
            yield f"{text.get_text()!r} is cut off at the figure's edge"


def _small(figure, texts):
    scale = COLUMN_MM / 25.4 / figure.get_figwidth()
    for text, _ in texts:
        if text.get_fontsize() * scale < SMALLEST_POINTS - 1e-6:
            yield f"{text.get_text()!r} is {text.get_fontsize() * scale:.1f} points high in a column"


def _over_texts(texts):
    for (first, one), (second, other) in combinations(texts, 2):
        if _overlap(one, other):
            yield f"{first.get_text()!r} is over {second.get_text()!r}"


def _over_data(figure, texts):
    boxes = [(repr(text.get_text()), extent) for text, extent in texts]
    boxes += [("the legend", legend.get_window_extent()) for legend in figure.findobj(Legend)]
    for axis in figure.axes:
        lines = [line for line in axis.lines if line.get_visible() and line.zorder > 0]
        paths = [
            (line.get_path().transformed(line.get_transform()), False, line.get_markersize() / 2) for line in lines
        ]
        for area in axis.collections:
            paths += [(path.transformed(area.get_transform()), True, 0) for path in area.get_paths()]
        inside = axis.get_window_extent()
        for name, extent in boxes:
            shared = Bbox.intersection(extent, inside)
            if shared is None or shared.width <= 1 or shared.height <= 1:
                continue
            if any(len(path.vertices) and path.intersects_bbox(shared.padded(pad), filled=filled)
                   for path, filled, pad in paths):  # fmt: skip
                yield f"{name} is over data"
            if name == "the legend" and axis.has_data():
                yield "the legend is over the axes of data"
        yield from _over_patches(axis, texts)


def _over_patches(axis, texts):
    """A text is within a bar or a box, or beside it; it is never over an arrow."""
    arrows = [
        one.arrow_patch.get_window_extent() for one in axis.texts if isinstance(one, Annotation) and one.arrow_patch
    ]
    for text, extent in texts:
        if any(_overlap(extent, arrow) for arrow in arrows):
            yield f"{text.get_text()!r} is over an arrow"
        for patch in axis.patches:
            box = patch.get_window_extent()
            within = box.x0 <= extent.x0 and box.x1 >= extent.x1 and box.y0 <= extent.y0 and box.y1 >= extent.y1
            if _overlap(extent, box) and not within:
                yield f"{text.get_text()!r} leaves its box"


def _overlap(one, other, slack=0.75):
    """Whether two boxes share more than the edge of a letter, in pixels."""
    shared = Bbox.intersection(one, other)
    return shared is not None and shared.width > slack and shared.height > slack
