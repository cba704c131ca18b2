"""The picture: what stands on it, and that it stands where it belongs."""

import io
from dataclasses import replace

import matplotlib
import numpy as np
import pytest
import SimpleITK as sitk
from conftest import ct_like, on_grid_of
from helpers import results
from matplotlib.contour import ContourSet
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.text import Text
from PIL import Image

from GTRStagingLib.imaging import keyslice
from GTRStagingLib.model.backbone import ready
from GTRStagingLib.results import overlay
from GTRStagingLib.stages import RESEARCH_USE_ONLY, TStage
from GTRStagingLib.staging.pipeline import stage_case


def words_of(artist):
    return [text.get_text() for text in artist.findobj(Text) if text.get_text()]


def panels(figure, result):
    """The axes of the slices, feet first; the colour bar has a scale instead."""
    found = [axes for axes in figure.axes if not axes.get_xticks().size]
    assert len(found) == len(result.slices.offsets)
    return found


def test_the_picture_is_a_png_of_1800_pixels_that_says_what_it_is_not_for():
    with Image.open(io.BytesIO(overlay.png(results.with_roi()))) as picture:
        assert picture.format == "PNG"
        assert picture.width == 1800
        assert 600 < picture.height < 1800
        assert RESEARCH_USE_ONLY in picture.info["Description"]
        assert "UNTRAINED" in picture.info["Description"]


def test_stage_vote_and_warnings_stand_on_it():
    words = words_of(overlay.render(results.with_roi()))
    assert RESEARCH_USE_ONLY in words
    assert any("UNTRAINED" in text for text in words)
    assert "ROI “tumour”" in words

    words = words_of(overlay.render(results.split_vote()))
    assert {"T3", "2 of 3 slices", "T2  0.50", "T3  0.60", "T3  0.45"} <= set(words)
    assert not any("UNTRAINED" in text for text in words)
    assert any(text.startswith("attention for T3 (Grad-CAM), raw units") for text in words)
    assert any("T1 0.08    T2 0.27    T3 0.45    T4 0.20" in text for text in words)


def test_slices_are_named_by_their_place():
    result = results.with_roi()
    names = [overlay.slice_label(result, i).replace("\N{NO-BREAK SPACE}", " ") for i in range(3)]
    assert names == ["one below (−1)", "key slice 3 (S −388.0 mm)", "one above (+1)"]
    further = replace(result, slices=replace(result.slices, offsets=(-2, 0, 2)))
    assert overlay.slice_label(further, 0) == "2 slices below (−2)"
    assert overlay.slice_label(results.a_picture(), 0) == "key slice 0"


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([[0.7, 0.1, 0.1, 0.1]] * 3, "unanimous (3 of 3 slices)"),
        ([[0.7, 0.1, 0.1, 0.1], [0.1, 0.7, 0.1, 0.1]], "1 of 2 slices, tied; decided by mean probability"),
        ([[0.7, 0.1, 0.1, 0.1]], "1 slice: no vote"),
    ],
)
def test_the_vote_in_words(rows, words):
    prediction = results.vote((0, 1, 2)[: len(rows)], np.array(rows))
    assert overlay.vote_in_words(replace(results.with_roi(), prediction=prediction)) == words


def test_a_vote_against_the_mean_probability_says_so():
    rows = np.array([[0.4, 0.3, 0.2, 0.1], [0.4, 0.3, 0.2, 0.1], [0.0, 1.0, 0.0, 0.0]])
    result = replace(results.with_roi(), prediction=results.vote((-1, 0, 1), rows))
    assert any("not what the vote says" in text for text in words_of(overlay.render(result)))
    assert not any("not what the vote says" in text for text in words_of(overlay.render(results.split_vote())))


def test_nothing_on_it_names_the_case():
    result = replace(results.with_roi(), case_id="jane-doe")
    words = " ".join(words_of(overlay.render(result)))
    assert not any(name in words for name in (*results.IDENTIFIERS.values(), "jane-doe", "abab"))


# -- heat ----------------------------------------------------------------------------------------------------------


def test_all_slices_share_one_scale():
    result = results.with_roi()
    heat = sitk.GetArrayFromImage(result.heat)
    heat[0] *= 0.4 / heat[0].max()
    heat[1:] *= 1.0 / heat[1:].max()
    image = sitk.GetImageFromArray(heat)
    image.CopyInformation(result.heat)
    drawn = [
        axes.findobj(AxesImage)[1].get_array() for axes in panels(overlay.render(replace(result, heat=image)), result)
    ]
    for colours, one in zip(drawn, heat, strict=True):
        assert np.allclose(colours, overlay.heat_colours(one, 1.0))
    assert drawn[0][..., 3].max() < 0.4 < drawn[1][..., 3].max()  # weak evidence stays weak


def test_heat_is_drawn_from_a_low_share_on_and_more_and_more_opaque():
    shares = np.array([[0.0, 0.14, 0.16, 0.5, 1.0]])
    opacity = overlay.heat_colours(shares * 7, 7.0)[0, :, 3]
    assert opacity[:2].tolist() == [0, 0]
    assert (np.diff(opacity[1:]) > 0).all()
    assert opacity[-1] < 0.8  # the anatomy shines through
    brightness = overlay.heat_colours(shares * 7, 7.0)[0, :, :3] @ [0.299, 0.587, 0.114]
    assert (np.diff(brightness) > 0).all()


def test_the_colour_bar_runs_from_0_to_the_maximum():
    result = results.with_roi()
    (bar,) = [axes for axes in overlay.render(result).axes if axes.get_xticks().size]
    peak = float(sitk.GetArrayViewFromImage(result.heat).max())
    assert bar.get_xticks().tolist() == pytest.approx([0, peak / 2, peak])
    assert [label.get_text() for label in bar.get_xticklabels()] == ["0", f"{peak / 2:.3g}", f"{peak:.3g}"]


def test_an_empty_map_is_said_not_painted():
    result = results.without_attention(results.split_vote(), 2)
    below, key, above = panels(overlay.render(result), result)
    assert "no attention for T3 in this slice" in words_of(above)
    assert len(above.findobj(AxesImage)) == 1
    assert len(key.findobj(AxesImage)) == 2
    assert not any("no attention" in text for text in words_of(below) + words_of(key))

    nowhere = overlay.render(results.without_attention(results.split_vote(), 0, 1, 2))
    assert "No attention for T3 (Grad-CAM) in any slice" in words_of(nowhere)
    assert not any(axes.get_xticks().size for axes in nowhere.axes)  # no scale of nothing


# -- anatomy -------------------------------------------------------------------------------------------------------


def test_the_roi_is_outlined_where_it_lies():
    result = results.with_roi()
    sx, sy, _ = result.slices.native.GetSpacing()
    for axes in panels(overlay.render(result), result)[1:]:  # the ROI begins at the key slice
        lines = [s for s in axes.findobj(ContourSet) if matplotlib.colors.to_hex(s.get_edgecolor()[0]) == "#00e5ff"]
        (line,) = lines
        corners = np.concatenate([path.vertices for path in line.get_paths()])
        left, right = results.COLUMNS.start * sx, results.COLUMNS.stop * sx
        top, bottom = results.ROWS.start * sy, results.ROWS.stop * sy
        assert corners.min(axis=0) == pytest.approx([left, top], abs=1e-5)
        assert corners.max(axis=0) == pytest.approx([right, bottom], abs=1e-5)
    below = panels(overlay.render(result), result)[0]
    assert not any(matplotlib.colors.to_hex(s.get_edgecolor()[0]) == "#00e5ff" for s in below.findobj(ContourSet))


def test_a_millimetre_is_as_long_in_both_directions():
    result = results.with_roi()  # pixels of 0.9 by 1.1 mm
    figure = overlay.render(result)
    figure.canvas.draw()
    for axes in panels(figure, result):
        (x0, y0), (x1, _), (_, y2) = axes.transData.transform([(0, 0), (10, 0), (0, 10)])
        assert x1 - x0 == pytest.approx(y0 - y2)
        assert axes.findobj(AxesImage)[0].get_extent() == pytest.approx([0, 50 * 0.9, 40 * 1.1, 0])


@pytest.mark.parametrize("flips", [(1, 1), (-1, 1), (-1, -1)])
def test_the_patients_right_is_on_the_left_and_the_front_on_top(flips):
    """Whatever the order of the input's axes: seen in the pixels of the picture, not in what was meant."""
    ct = ct_like(shape=(3, 60, 60), spacing=(2.0, 2.0, 4.0), direction=np.diag([*flips, 1]))
    spot = ct.TransformContinuousIndexToPhysicalPoint((29.5, 29.5, 1))
    spot = (spot[0] - 26, spot[1] - 26, spot[2])  # to the right and to the front
    index = ct.TransformPhysicalPointToIndex(spot)
    array = sitk.GetArrayFromImage(ct)
    array[:, index[1] - 3 : index[1] + 4, index[0] - 3 : index[0] + 4] = 400
    bright = on_grid_of(array, ct)
    result = stage_case(results.scan_of(bright), ready(results.a_small_model()), key_slice=keyslice.by_index(bright, 1))
    result = results.without_attention(result, 0, 1, 2)
    figure = overlay.render(result)
    figure.canvas.draw()
    axes = panels(figure, result)[1]
    assert {text.get_text(): text.get_position()[0] for text in axes.texts if text.get_text() in "RL"} == {
        "R": 0.02,
        "L": 0.98,
    }
    box = axes.get_window_extent()
    pixels = np.asarray(figure.canvas.buffer_rgba())[::-1, :, :3].min(axis=2)  # row 0 at the bottom
    part = pixels[int(box.y0) + 10 : int(box.y1) - 60, int(box.x0) + 10 : int(box.x1) - 10]
    blobs = sitk.ConnectedComponent(sitk.GetImageFromArray((part > 245).astype(np.uint8)))
    shapes = sitk.LabelShapeStatisticsImageFilter()
    shapes.Execute(blobs)
    column, row = shapes.GetCentroid(max(shapes.GetLabels(), key=shapes.GetNumberOfPixels))
    assert column < 0.4 * part.shape[1]
    assert row > 0.6 * part.shape[0]


def test_a_scale_bar_measures_what_it_says():
    result = results.with_roi()
    axes = panels(overlay.render(result), result)[0]
    bars = {tuple(line.get_xdata()) for line in axes.findobj(Line2D) if len(line.get_xdata()) == 2}
    ((left, right),) = bars
    assert f"{right - left:g} mm" in words_of(axes)


def test_without_a_pixel_size_there_is_neither_scale_nor_side():
    result = results.a_picture()
    (axes,) = panels(overlay.render(result), result)
    assert not {"R", "L"} & set(words_of(axes))
    assert not any("mm" in text for text in words_of(axes))
    assert axes.findobj(AxesImage)[0].get_clim() == (0, 255)  # 8-bit grey as it is


def test_the_ct_is_shown_in_the_recipes_window():
    result = results.with_roi()
    axes = panels(overlay.render(result), result)[0]
    assert axes.findobj(AxesImage)[0].get_clim() == result.model.recipe.window_hu == (-125, 225)


def test_the_view_is_the_body_and_all_strong_attention():
    ct = ct_like(shape=(3, 80, 80), spacing=(2.0, 2.0, 4.0))
    array = sitk.GetArrayFromImage(ct)
    small = np.full_like(array, -1000.0)
    small[:, 30:60, 20:60] = array[:, 25:55, 20:60].clip(-100)
    image = on_grid_of(small, ct)
    result = stage_case(results.scan_of(image), ready(results.a_small_model()), key_slice=keyslice.by_index(image, 1))
    heat = np.zeros((3, 80, 80), dtype=np.float32)
    heat[:, 40:45, 30:35] = 1
    inside = replace(result, heat=on_grid_of(heat, result.slices.native))
    view = overlay.view_of(inside)
    assert (view.left, view.right, view.top, view.bottom) == pytest.approx((35.2, 124.8, 55.2, 124.8))
    heat[0, 2, 2] = 0.9
    beside = replace(result, heat=on_grid_of(heat, result.slices.native))
    assert (overlay.view_of(beside).left, overlay.view_of(beside).top) == (0, 0)


# -- the page ------------------------------------------------------------------------------------------------------


def long_names():
    result = results.split_vote()
    card = replace(result.model, name="x" * 80, status="demonstration")
    return replace(result, model=card, segment="$\\frac{1}{ a tumour with a very long name of its own")


@pytest.mark.parametrize("case", [*results.ALL.values(), long_names])
def test_no_words_leave_the_page_or_lie_on_others(case):
    figure = overlay.render(case())
    figure.canvas.draw()
    texts = [t for t in figure.findobj(Text) if t.get_text().strip() and t.get_visible()]
    boxes = [text.get_window_extent() for text in texts]
    for text, box in zip(texts, boxes, strict=True):
        assert 0 <= box.x0 < box.x1 <= figure.bbox.width, text.get_text()
        assert 0 <= box.y0 < box.y1 <= figure.bbox.height, text.get_text()
    for i, one in enumerate(boxes):
        for j in range(i):
            assert not one.overlaps(boxes[j]), (texts[i].get_text(), texts[j].get_text())


def test_the_warning_of_a_model_with_a_long_name_is_whole():
    words = " ".join(words_of(overlay.render(long_names())))
    assert (
        "is a DEMONSTRATION model, learned on synthetic phantoms, never for patients: of a patient its stage means "
        "nothing." in words
    )


def test_the_choice_of_the_key_slice_is_on_the_picture():
    assert "key slice: the slice with the largest area of the ROI" in words_of(overlay.render(results.with_roi()))
    assert "key slice: chosen by hand" in words_of(overlay.render(results.without_roi()))


def test_names_are_no_formulas_and_have_only_letters_that_the_font_has():
    result = replace(results.split_vote(), segment="$\\frac{$ 胃")
    assert "ROI “$\\frac{$ ?”" in words_of(overlay.render(result))
    assert overlay.png(result)  # as a formula it could not be drawn


def test_global_settings_of_matplotlib_are_left_alone():
    from matplotlib import pyplot

    before = matplotlib.rcParams.copy()
    overlay.png(results.with_roi())
    assert matplotlib.rcParams == before
    assert pyplot.get_fignums() == []


def test_the_same_result_gives_the_same_picture():
    assert overlay.png(results.with_roi()) == overlay.png(results.with_roi())


def test_the_threshold_line_is_where_the_dice_was_measured():
    result = results.with_roi()
    key = panels(overlay.render(result), result)[1]
    white = [s for s in key.findobj(ContourSet) if matplotlib.colors.to_hex(s.get_edgecolor()[0]) == "#ffffff"]
    peak = float(sitk.GetArrayViewFromImage(result.heat)[result.slices.key].max())
    assert [line.levels.tolist() for line in white] == [pytest.approx([0.5 * peak])]
    assert result.attention.target in TStage
