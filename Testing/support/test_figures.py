"""Write figures reproducibly, without changes to matplotlib's settings."""

import io
import sys
import warnings

import matplotlib
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from GTRStagingLib.errors import MissingDependencyError
from GTRStagingLib.support import figures
from GTRStagingLib.support.figures import figure_bytes, new_figure, without_spines, write_figure


def drawn(**how):
    figure = new_figure(3, 2, **how)
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], marker="o", label="a line")
    axes.fill_between([0, 1], [0, 1], hatch="//")
    axes.legend()
    return figure


@pytest.mark.parametrize("kind", ["pdf", "png", "svg"])
def test_the_same_figure_is_the_same_file(kind, tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    first = figure_bytes(drawn(), kind)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1000000000")
    write_figure(drawn(), tmp_path / "again", kind)
    assert (tmp_path / "again").read_bytes() == first


def test_figures_with_two_salts_have_different_ids():
    one, other = (figure_bytes(drawn(), "svg", salt=salt) for salt in "ab")
    assert one != other
    assert len(one) == len(other)


def test_an_svg_has_its_text_as_paths_and_no_date():
    text = figure_bytes(drawn(), "svg", about={"Title": "A title"}).decode()
    assert "<text" not in text
    assert "dc:date" not in text
    assert "A title" in text


def test_a_png_has_its_size_and_metadata():
    with Image.open(io.BytesIO(figure_bytes(drawn(), "png", dpi=50, about={"Description": "words"}))) as picture:
        assert picture.size == (150, 100)
        assert picture.info["Description"] == "words"
        assert picture.getpixel((0, 0)) == (255, 255, 255, 255)


def test_drawing_a_figure_changes_no_setting():
    before = dict(matplotlib.rcParams)
    figure = drawn(layout="constrained")
    assert isinstance(figure.canvas, FigureCanvasAgg)
    figure_bytes(figure, "svg")
    assert dict(matplotlib.rcParams) == before
    assert "matplotlib.pyplot" not in sys.modules or not matplotlib.pyplot.get_fignums()


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_a_letter_that_the_usual_font_lacks_is_drawn_with_an_installed_one(kind, monkeypatch):
    """STIX comes with matplotlib and has the letter, in the place of a Chinese font, which a system may have."""
    figure = new_figure(2, 1)
    figure.text(0.1, 0.1, "site ⌖")
    monkeypatch.setattr(figures, "FALLBACKS", ())
    with pytest.warns(UserWarning, match="missing from font"):
        boxes = figure_bytes(figure, kind)
    monkeypatch.setattr(figures, "FALLBACKS", ("No Such Font", "STIXGeneral"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert figure_bytes(figure, kind) != boxes


def test_sides_of_a_frame_are_hidden():
    axes = new_figure(1, 1).add_subplot()
    without_spines(axes, "top", "right")
    assert {side for side, spine in axes.spines.items() if not spine.get_visible()} == {"top", "right"}


def test_without_matplotlib_the_error_names_the_callers_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingDependencyError, match=r"Drawings need matplotlib.*gtrstaging\[evaluate\]"):
        new_figure(1, 1, what="Drawings need", extra="evaluate")


def test_all_exported_names_exist():
    assert all(hasattr(figures, name) for name in figures.__all__)
