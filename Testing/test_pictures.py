"""Every picture of the documents is made by a command, and every picture that is made is shown."""

import importlib.util
import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PICTURES = ROOT / "docs" / "pictures"
SHOWN = re.compile(
    r"""!\[[^\]]*\]\(\s*([^)\s]+)"""  # Markdown
    r"""|\{(?:image|figure)\}\s+(\S+)"""  # MyST
    r"""|\b(?:src|srcset)=["']([^"'\s]+)""",  # HTML
)


def script(name):
    spec = importlib.util.spec_from_file_location(name, PICTURES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


draw, drawings = script("draw"), script("drawings")


def pages():
    inside = (page for page in (ROOT / "docs").rglob("*.md") if "_build" not in page.parts)
    return [ROOT / "README.md", ROOT / "ARCHITECTURE.md", *inside]


def shown():
    """Page -> the files that it shows, where they are named as files of the repository."""
    found = {}
    for page in pages():
        named = ("".join(groups) for groups in SHOWN.findall(page.read_text(encoding="utf-8")))
        found[page] = [(page.parent / name).resolve() for name in named if "://" not in name]
    return found


def drawn(options, folder):
    command = [sys.executable, PICTURES / "draw.py", "--out", folder, *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_every_picture_that_is_shown_is_made_by_the_script_or_says_why_not():
    made = {PICTURES / name for name in (*draw.PICTURES, *draw.ELSEWHERE)}
    for page, files in shown().items():
        for file in files:
            assert file.is_file(), f"{page.relative_to(ROOT)} shows {file}, which does not exist"
            assert file in made, f"{page.relative_to(ROOT)} shows {file}, which docs/pictures/draw.py does not make"


def test_the_folder_holds_what_the_script_makes_and_no_more():
    there = {path.relative_to(PICTURES).as_posix() for path in PICTURES.rglob("*") if path.suffix in (".png", ".svg")}
    assert there == {*draw.PICTURES, *draw.ELSEWHERE}


def test_every_picture_that_is_made_is_shown():
    seen = {file for files in shown().values() for file in files}
    assert [name for name in (*draw.PICTURES, *draw.ELSEWHERE) if PICTURES / name not in seen] == []


def test_pictures_are_small():
    sizes = {path.name: path.stat().st_size for path in PICTURES.rglob("*.png")}
    assert {name: size for name, size in sizes.items() if size > 250_000} == {}
    assert sum(sizes.values()) < 4_000_000


def test_the_list_names_every_picture(tmp_path):
    listed = drawn(["--list"], tmp_path)
    assert [line.split()[0] for line in listed.splitlines()] == [*draw.PICTURES, *draw.ELSEWHERE]
    assert list(tmp_path.iterdir()) == []


def test_every_kind_is_made_by_a_function():
    assert {picture.kind for picture in draw.PICTURES.values()} == set(draw.KINDS)


# -- the drawings ----------------------------------------------------------------------------------------------------


def test_the_drawn_rooms_are_those_of_the_contract():
    svg = ElementTree.fromstring((PICTURES / "rooms.svg").read_text(encoding="utf-8"))
    boxes = {
        one.get("id").removeprefix("room-"): one for one in svg.iter() if (one.get("id") or "").startswith("room-")
    }
    floors = drawings.floors()
    assert list(boxes) == [room for floor in floors for room in floor]
    tops = [{float(boxes[room].get("y")) for room in floor} for floor in floors]
    assert all(len(top) == 1 for top in tops)
    assert tops == sorted(tops, key=min)


def test_the_drawn_rooms_say_what_their_docstrings_say():
    svg = ElementTree.fromstring((PICTURES / "rooms.svg").read_text(encoding="utf-8"))
    written = " ".join(text.text for text in svg.iter("{http://www.w3.org/2000/svg}text"))
    for floor in drawings.floors():
        for room in floor:
            assert drawings.purpose(room) in written, f"{room}: run `make pictures`"


def test_rooms_with_torch_are_those_that_the_contract_leaves_free():
    assert drawings.with_torch() == {"model", "training"}


@pytest.mark.parametrize("drawing", [drawings.rooms, drawings.data_flow])
def test_no_text_of_a_drawing_leaves_its_box(drawing):
    """In the widest of the fonts that a page may take."""
    namespace = "{http://www.w3.org/2000/svg}"
    svg = ElementTree.fromstring(drawing())
    rectangles = (
        [float(one.get(key)) for key in ("x", "y", "width", "height")] for one in svg.iter(f"{namespace}rect")
    )
    boxes = [one for one in rectangles if one[2] > 20]  # the rest are colours of a legend
    for text in svg.iter(f"{namespace}text"):
        bold = text.get("class") == "name"
        size = {"name": drawings.NAME, "small": drawings.SMALL}.get(text.get("class"), 12.0)
        length = drawings._length(text.text, size, bold)
        left = float(text.get("x")) - {"start": 0, "middle": length / 2, "end": length}[text.get("text-anchor")]
        y = float(text.get("y"))
        around = [(x, width) for x, top, width, height in boxes if x <= left + 1 and top < y < top + height]
        x, width = max(around)  # the innermost
        assert left >= x
        assert left + length <= x + width + 1, text.text


# -- the cheap ones, made ----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_drawings_and_nomogram_come_out_as_they_are_kept(tmp_path):
    from PIL import Image

    drawn(["--only", "drawings", "nomogram"], tmp_path)
    for name in ("rooms.svg", "data-flow.svg"):
        assert (tmp_path / name).read_text("utf-8") == (PICTURES / name).read_text("utf-8"), "run `make pictures`"
    with Image.open(tmp_path / "nomogram.png") as new, Image.open(PICTURES / "nomogram.png") as kept:
        assert new.size == kept.size


def test_the_pictures_of_the_panel_are_of_the_panel_as_it_is():
    kept = json.loads((PICTURES / draw.PANEL_RECORD).read_text("utf-8"))
    assert list(kept.items()) == list(draw.panel_in_words().items()), "run `python docs/pictures/draw.py --only panel`"
    assert len(kept) >= 8
    assert all(kept.values())
