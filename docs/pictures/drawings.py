"""Draw the rooms of the library and the flow of data through it, as SVG with text that stays text."""

import ast
import tomllib
from collections.abc import Iterable, Iterator
from html import escape
from pathlib import Path
from typing import Any

import matplotlib
from PIL import ImageFont

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ROOT / "GTRStagingLib"
WIDTH = 720
"""Of a drawing. A page shows it at 700 to 740 pixels, hence letters of 11 and more."""

# The card has its own background, so that a page of any colour can carry it; it turns dark where the page is dark.
STYLE = """
svg { --card: #fbfcfe; --edge: #c9d1db; --box: #ffffff; --line: #8793a1; --ink: #17212b; --soft: #4a5865;
      --a: #e3eefb; --b: #e6f4ea; --c: #fdf1dc; }
@media (prefers-color-scheme: dark) {
  svg { --card: #171c22; --edge: #3a4653; --box: #222a33; --line: #7d8b99; --ink: #eef3f8; --soft: #b4c0cc;
        --a: #1d3247; --b: #1e3a2b; --c: #40331a; }
}
text { font-family: system-ui, -apple-system, "Segoe UI", Roboto, Arial, "DejaVu Sans", sans-serif; fill: var(--ink);
       font-size: 12px; }
.name { font-weight: 600; font-size: 14px; }
.small { font-size: 11.5px; fill: var(--soft); }
.card { fill: var(--card); stroke: var(--edge); }
.frame { fill: none; stroke: var(--line); stroke-dasharray: 5 4; }
.box { fill: var(--box); stroke: var(--line); }
.a { fill: var(--a); } .b { fill: var(--b); } .c { fill: var(--c); }
.arrow { fill: none; stroke: var(--ink); stroke-width: 1.4; marker-end: url(#head); }
#head path { fill: var(--ink); }
"""
NAME, SMALL = 14.0, 11.5


def _length(text: str, size: float, bold: bool = False) -> float:
    """Return how wide a text is in DejaVu Sans, the widest of the fonts that a page may take."""
    fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    # Of a large size, so that hinting does not matter, and by the layout that every build of Pillow has.
    font = ImageFont.truetype(fonts / name, 100, layout_engine=ImageFont.Layout.BASIC)
    return font.getlength(text) * size / 100


def wrapped(text: str, width: float, size: float) -> list[str]:
    """Break a text into lines that fit a width."""
    lines: list[str] = []
    for word in text.split():
        if lines and _length(f"{lines[-1]} {word}", size) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


class Drawing:
    """A card of a height, and what stands on it."""

    def __init__(self, title: str, description: str) -> None:
        self._about = f"<title>{escape(title)}</title>\n<desc>{escape(description)}</desc>"
        self._parts: list[str] = []

    def rectangle(self, x: float, y: float, width: float, height: float, look: str, name: str = "") -> None:
        """Add a rectangle with round corners."""
        called = f' id="{name}"' if name else ""
        self._parts.append(
            f'<rect{called} class="{look}" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="6"/>'
        )

    def text(self, x: float, y: float, text: str, look: str = "", anchor: str = "start") -> None:
        """Add a line of text; `y` is where its letters stand."""
        self._parts.append(f'<text class="{look}" x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(text)}</text>')

    def box(self, x: float, y: float, width: float, height: float, name: str, lines: Iterable[str], tint: str) -> None:
        """Add a box with its name and small lines, centred."""
        self.rectangle(x, y, width, height, f"box {tint}")
        lines = list(lines)
        top = y + (height - 18 - 15 * len(lines)) / 2 + 14
        self.text(x + width / 2, top, name, "name", "middle")
        for i, line in enumerate(lines):
            self.text(x + width / 2, top + 17 + 15 * i, line, "small", "middle")

    def arrow(self, *points: tuple[float, float]) -> None:
        """Add a line through points, with a head at the last."""
        path = " L ".join(f"{x:g} {y:g}" for x, y in points)
        self._parts.append(f'<path class="arrow" d="M {path}"/>')

    def svg(self, height: float) -> str:
        """Return the whole drawing."""
        head = (
            '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
            'orient="auto"><path d="M 0 0 L 8 4 L 0 8 Z"/></marker></defs>'
        )
        card = f'<rect class="card" x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1:g}" rx="10"/>'
        return "\n".join(
            (
                f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height:g}" '
                f'viewBox="0 0 {WIDTH} {height:g}" role="img">',
                self._about,
                f"<style>{STYLE}</style>",
                head,
                card,
                *self._parts,
                "</svg>\n",
            )
        )


# -- the rooms -------------------------------------------------------------------------------------------------------


def floors() -> list[list[str]]:
    """Return the rooms, floor by floor from the top, as the contract of import-linter in pyproject.toml has them."""
    (layers,) = (one["layers"] for one in _contracts() if one["type"] == "layers")
    return [[room.strip() for room in floor.split("|")] for floor in layers]


def with_torch() -> set[str]:
    """Return the rooms that may import torch, by another of those contracts."""
    (free,) = (one["source_modules"] for one in _contracts() if "torch" in one.get("forbidden_modules", ()))
    every = {room for floor in floors() for room in floor}
    return every - {name.removeprefix("GTRStagingLib.") for name in free} - {"__main__"}


def _contracts() -> list[dict[str, Any]]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]


def purpose(room: str) -> str:
    """Return the first line of a room's docstring."""
    package = LIBRARY / room / "__init__.py"
    source = package if package.exists() else LIBRARY / f"{room}.py"
    return (ast.get_docstring(ast.parse(source.read_text("utf-8"))) or "").partition("\n")[0].replace("`", "")


def rooms() -> str:
    """Draw the rooms as floors: a room imports only from the floors below its own."""
    plan = floors()
    drawing = Drawing(
        "The rooms of GTRStagingLib",
        "Floors from top to bottom: " + "; ".join(", ".join(floor) for floor in plan) + ".",
    )
    left, gap, pad = 16, 10, 10
    drawing.text(left, 28, "GTRStagingLib", "name")
    drawing.text(WIDTH - left, 28, "A room imports only from the floors below it.", "small", "end")
    drawing.rectangle(left, 42, WIDTH - 2 * left, 34, "frame")
    drawing.text(left + pad, 63, "GTRStaging, the extension of 3D Slicer", "")
    drawing.text(WIDTH - left - pad, 63, "imports the library; the library does not import it", "small", "end")
    y = 88.0
    torch = with_torch()
    for floor in plan:
        width = (WIDTH - 2 * left - gap * (len(floor) - 1)) / len(floor)
        # Alone on its floor a room has its name beside its purpose.
        indent = 120 if len(floor) == 1 else 0
        texts = [wrapped(purpose(room), width - 2 * pad - indent, SMALL) for room in floor]
        tall = max(map(len, texts))
        height = 16 + 15 * tall if indent else 32 + 15 * tall
        for i, (room, lines) in enumerate(zip(floor, texts, strict=True)):
            x = left + i * (width + gap)
            drawing.rectangle(x, y, width, height, f"box {'c' if room in torch else 'a'}", f"room-{room}")
            drawing.text(x + pad, y + (height / 2 + 5 if indent else 20), room, "name")
            start = y + (20 if indent else 38)
            for j, line in enumerate(lines):
                drawing.text(x + pad + indent, start + 15 * j, line, "small")
        y += height + gap
    drawing.rectangle(left, y + 2, 14, 14, "box c")
    drawing.text(left + 22, y + 13, "may import torch; the other rooms work where torch is not installed", "small")
    return drawing.svg(y + 30)


# -- the flow of data ------------------------------------------------------------------------------------------------


def _columns(*widths: float) -> Iterator[tuple[float, float]]:
    """Yield the left side and the width of boxes side by side, centred on the card."""
    gap = 24
    x = (WIDTH - sum(widths) - gap * (len(widths) - 1)) / 2
    for width in widths:
        yield x, width
        x += width + gap


def data_flow() -> str:
    """Draw how a case goes from its files to its results, and the batch around it."""
    drawing = Drawing(
        "The flow of data",
        "CT and ROI give a scan, the key slice and three voting slices; these are preprocessed and go through the "
        "network in one pass; the logits give the vote and the attention maps; the agreement compares a map with the "
        "ROI; all of it is written to the result files. A batch does this for each case of a table, and evaluates.",
    )
    (x1, w1), (x2, w2), (x3, w3) = _columns(200, 200, 200)
    m1, m2, m3 = x1 + w1 / 2, x2 + w2 / 2, x3 + w3 / 2

    # A batch has a table of cases; each case has files.
    drawing.box(x1, 16, w1, 52, "Case table", ["paths of CT, ROI; stage, if known"], "c")
    drawing.box(x2, 16, w2, 52, "CT", ["DICOM, NIfTI, NRRD, MetaImage"], "c")
    drawing.box(x3, 16, w3, 52, "ROI (optional)", ["SEG, RTSTRUCT, label map"], "c")
    drawing.rectangle(16, 92, WIDTH - 32, 536, "frame")
    drawing.text(28, 112, "One case", "name")
    drawing.text(28, 130, "gtrstaging stage, the panel,", "small")
    drawing.text(28, 145, "or each case of a batch", "small")

    drawing.box(x2, 108, w2, 52, "Scan", ["voxels in HU on a known grid"], "a")
    drawing.box(x3, 108, w3, 52, "Key slice", ["chosen, or largest ROI area"], "a")
    drawing.box(x2, 188, w2, 52, "Three voting slices", ["key slice, one below, one above"], "a")
    drawing.box(x2, 268, w2, 66, "Preprocessing", ["clip, window, resample,", "normalise: the model's recipe"], "a")
    drawing.box(x1, 362, w1, 52, "Model folder", ["card, recipe, weights"], "c")
    drawing.box(x2, 362, w2, 52, "Network", ["one pass for all three slices"], "a")
    drawing.box(x1, 446, w1, 66, "Vote", ["majority of the slices; a tie", "goes to the mean probability"], "b")
    drawing.box(x2, 446, w2, 66, "Attention map", ["gated decision, fine map", "or Grad-CAM"], "b")
    drawing.box(x3, 446, w3, 66, "Agreement", ["Dice and others, beside chance,", "centred blob and mean mask"], "b")
    files = "result.json · attention.nrrd · overlay.png · report.html · with --mrb a scene for 3D Slicer"
    drawing.box(x1, 554, x3 + w3 - x1, 56, "Case folder", [files], "b")

    drawing.arrow((m2, 68), (m2, 108))
    drawing.arrow((m3, 68), (m3, 108))
    drawing.arrow((x2 + w2, 134), (x3, 134))
    drawing.arrow((m2, 160), (m2, 188))
    drawing.arrow((m3 - 40, 160), (m3 - 40, 214), (x2 + w2, 214))
    drawing.arrow((m2, 240), (m2, 268))
    drawing.arrow((m2, 334), (m2, 362))
    drawing.arrow((x1 + w1, 388), (x2, 388))
    drawing.arrow((m1, 362), (m1, 301), (x2, 301))
    drawing.arrow((m2 - 50, 414), (m2 - 50, 430), (m1, 430), (m1, 446))
    drawing.arrow((m2, 414), (m2, 446))
    drawing.arrow((x2 + w2, 479), (x3, 479))
    drawing.arrow((x3 + w3, 42), (x3 + w3 + 16, 42), (x3 + w3 + 16, 479), (x3 + w3, 479))
    for middle in (m1, m2, m3):
        drawing.arrow((middle, 512), (middle, 554))

    drawing.arrow((x1, 42), (8, 42), (8, 696), (x1, 696))
    drawing.arrow((m1, 610), (m1, 664))
    drawing.box(x1, 664, w1, 66, "Batch", ["workers prepare and write,", "one process runs the network"], "a")
    drawing.box(x2, 664, w2, 66, "predictions.csv", ["a row for each case:", "done, failed or skipped"], "b")
    drawing.box(x3, 664, w3, 66, "Evaluation", ["metrics with 95 % intervals,", "figures, report.html"], "b")
    drawing.arrow((x1 + w1, 697), (x2, 697))
    drawing.arrow((x2 + w2, 697), (x3, 697))
    return drawing.svg(746)
