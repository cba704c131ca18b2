"""The drawing: its scales match the model, and nothing is hidden or overlaps."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from PIL import Image

from GTRStagingLib.errors import InputError
from GTRStagingLib.nomogram.drawing import draw, figure, probability_at, stage_scale, total_points
from GTRStagingLib.nomogram.nomogram import PUBLISHED, Nomogram, Term, load
from GTRStagingLib.stages import RESEARCH_USE_ONLY, TStage

MADE_UP = Nomogram(
    name="made-up",
    source="written by hand",
    thresholds=(-0.7, 1.2, 3.0),
    terms=(
        Term("radscore", "Rad-score", "SD", 1.3, (-2.5, 2.2), 0.1),
        Term("size_cm", "Tumour size", "cm", 0.23, (0.8, 9.2), 3.9),
        Term("marker", "A marker that falls", "", -0.4, (0, 3), 1),
        Term(
            "site",
            "Site",
            levels={"antrum": 0, "body": 0.1, "cardia": 0.12, "fundus": 0.15, "all": 1.9},
            reference="antrum",
        ),
    ),
    warnings=("Made up for a test.",),
)
VALUES = {"radscore": -0.7, "size_cm": 4, "marker": 2, "site": "all"}


def texts(drawn):
    return [text.get_text() for text in drawn.axes[0].texts]


def test_the_scales_give_the_models_probabilities():
    reading = MADE_UP.read(VALUES)
    assert probability_at(MADE_UP, reading.total_points) == pytest.approx(reading.probabilities)
    for stage in TStage:
        scale = stage_scale(MADE_UP, stage)
        assert scale.ticks
        for points, probability in scale.ticks:
            # By the model's own formula: total points -> log odds -> P(T <= k) - P(T < k).
            lp = MADE_UP.base + points / MADE_UP.points_per_unit
            below = [0, *(1 / (1 + np.exp(lp - theta)) for theta in MADE_UP.thresholds), 1]
            assert below[stage + 1] - below[stage] == pytest.approx(probability, abs=1e-6)


@pytest.fixture(scope="module")
def drawing():
    return figure(MADE_UP)


def test_the_middle_stages_scales_rise_and_then_fall_and_have_their_highest_value_marked(drawing):
    for stage in (TStage.T2, TStage.T3):
        scale = stage_scale(MADE_UP, stage)
        peak, highest = scale.highest
        grid = [probability_at(MADE_UP, points)[stage] for points in np.linspace(0, total_points(MADE_UP), 2001)]
        assert highest == pytest.approx(max(grid), abs=1e-5)
        rising = [p for points, p in scale.ticks if points < peak]
        falling = [p for points, p in scale.ticks if points > peak]
        assert rising == sorted(rising)
        assert falling == sorted(falling, reverse=True)
        assert set(rising) & set(falling)  # such values stand on both sides
        assert f"highest {highest:.2f}" in texts(drawing)
    for stage, order in ((TStage.T1, -1), (TStage.T4, 1)):
        scale = stage_scale(MADE_UP, stage)
        assert scale.highest is None
        values = [p for _, p in scale.ticks]
        assert values == sorted(values)[::order]


def test_a_mark_lies_over_its_points_on_the_first_scale_and_the_total():
    reading = MADE_UP.read(VALUES)
    marked = figure(MADE_UP, reading=reading)
    axes = marked.axes[0]
    left, right = (next(t for t in axes.texts if t.get_text() == label).get_position()[0] for label in ("0", "100"))
    marks = [line.get_xdata()[0] for line in axes.lines if line.get_marker() == "o"]
    for points in reading.points.values():
        assert any(x == pytest.approx(left + (right - left) * points / 100) for x in marks)
    total = left + (right - left) * reading.total_points / total_points(MADE_UP)
    assert sum(x == pytest.approx(total) for x in marks) == 5  # on the total, and on each stage's scale
    found = texts(marked)
    assert f"{reading.total_points:.1f} points" in found
    assert all(f"{p:.3f}" in found for p in reading.probabilities)


def test_the_published_one_is_drawn_with_all_of_table_3():
    found = texts(figure(load(PUBLISHED)))
    for level in ("< 5 cm", "≥ 5 cm", "well", "moderate", "poor", "intestinal", "diffuse", "mixed"):
        assert sum(level in text.split(", ") for text in found) == 1, level
    whole = " ".join(found)
    for effect in ("Rad-score, per SD: 2.39 (1.80 to 3.20), p < 0.001", "Tumour size, ≥ 5 cm: 2.00 (1.45 to 2.75)",
                   "Differentiation, moderate: 1.25 (0.85 to 1.82), p = 0.26",
                   "Lauren type, mixed: 0.92 (0.65 to 1.30), p = 0.64", "reference levels are inferred"):  # fmt: skip
        assert effect in whole


@pytest.mark.parametrize("nomogram", [MADE_UP, load(PUBLISHED)], ids=lambda n: n.name)
def test_warnings_and_research_use_stand_on_it(nomogram):
    whole = " ".join(texts(figure(nomogram)))
    assert RESEARCH_USE_ONLY in whole
    for warning in nomogram.warnings:
        assert warning in whole


@pytest.mark.parametrize("nomogram", [MADE_UP, load(PUBLISHED)], ids=lambda n: n.name)
def test_no_text_overlaps_another_or_the_edge(nomogram):
    drawn = figure(nomogram)
    renderer = drawn.canvas.get_renderer()
    boxes = [(t.get_text(), t.get_window_extent(renderer)) for t in drawn.axes[0].texts]
    for (one, a), (other, b) in combinations(boxes, 2):
        assert not a.padded(-1).overlaps(b.padded(-1)), f"{one!r} and {other!r}"
    page = drawn.bbox
    for text, box in boxes:
        assert page.x0 <= box.x0, text
        assert box.x1 <= page.x1, text
        assert page.y0 <= box.y0, text
        assert box.y1 <= page.y1, text


@pytest.mark.parametrize("nomogram", [MADE_UP, load(PUBLISHED)], ids=lambda n: n.name)
def test_its_text_can_be_read_in_print(nomogram):
    """At the width of two columns of a journal, 180 mm, no text is below 6 points."""
    drawn = figure(nomogram)
    assert drawn.get_figwidth() * 25.4 == pytest.approx(180)
    assert min(text.get_size() for text in drawn.axes[0].texts) >= 6


def test_many_levels_close_together_are_all_named(drawing):
    found = " ".join(texts(drawing))
    for level in MADE_UP.term("site").levels:
        assert level in found


def test_a_patient_beyond_the_scales_is_marked_beside_them():
    reading = MADE_UP.read({**VALUES, "radscore": 9})
    drawn = figure(MADE_UP, reading=reading)
    marks = [line.get_xdata()[0] for line in drawn.axes[0].lines if line.get_marker() == "o"]
    assert max(marks) < drawn.get_size_inches()[0]
    assert "outside the range" in " ".join(texts(drawn))


def test_a_nomogram_that_hardly_moves_the_odds_still_tells_probabilities():
    flat = replace(MADE_UP, terms=(Term("a", "A", "", 0.01, (0, 1)),))
    assert f"{probability_at(flat, 0)[TStage.T3]:.2g}" in texts(figure(flat))


def test_a_nomogram_that_does_not_move_the_odds_cannot_be_drawn():
    with pytest.raises(InputError, match="No term of made-up changes the odds"):
        figure(replace(MADE_UP, terms=(Term("a", "A", coefficient=0.0),)))


@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_files_are_of_their_kind_and_the_same_each_time(tmp_path, kind):
    paths = [tmp_path / f"{n}.{kind}" for n in (1, 2)]
    for path in paths:
        draw(MADE_UP, path, reading=MADE_UP.read(VALUES))
    start = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[kind]
    assert paths[0].read_bytes().startswith(start)
    if kind == "png":
        with Image.open(paths[0]) as picture:
            assert picture.width == pytest.approx(180 / 25.4 * 300, abs=1)  # 180 mm at 300 dots an inch
            assert picture.info["Description"] == RESEARCH_USE_ONLY
    if kind == "svg":
        assert RESEARCH_USE_ONLY in paths[0].read_text()
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert sorted(tmp_path.iterdir()) == sorted(paths)


def test_another_kind_of_file_is_refused_and_nothing_is_written(tmp_path):
    with pytest.raises(InputError, match=r"ends in \.pdf, \.png, \.svg"):
        draw(MADE_UP, tmp_path / "x.jpg")
    assert list(tmp_path.iterdir()) == []
