"""The picture: its content and the positions of its parts."""

import io
from dataclasses import replace

import matplotlib
import numpy as np
import pytest
import SimpleITK as sitk
from conftest import ct_like, on_grid_of
from helpers import results
from PIL import Image
from scipy.ndimage import map_coordinates

from GTRStagingLib.imaging import keyslice
from GTRStagingLib.model.backbone import ready
from GTRStagingLib.results import canvas, overlay, report, words
from GTRStagingLib.stages import RESEARCH_USE_ONLY, TStage
from GTRStagingLib.staging.pipeline import stage_case
from GTRStagingLib.staging.stage_set import StageSet
from GTRStagingLib.staging.voting import vote

CYAN, WHITE = "#00e5ff", "#ffffff"


def words_of(page, panel=None):
    """The words on the page, or those that begin in a panel."""
    return [text.words for text in page.texts if panel is None or within(text.box, panel.box)]


def within(inner, outer):
    return outer[0] <= inner[0] < outer[2] and outer[1] <= inner[1] < outer[3]


def panel_of(page, name):
    (panel,) = [panel for panel in page.panels if panel.name == name]
    return panel


def words_below(page, name):
    """The words under a small panel."""
    left, _, right, bottom = panel_of(page, name).box
    found = [text for text in page.texts if left - 5 <= text.box[0] < right and bottom < text.box[1] < bottom + 80]
    return " ".join(text.words for text in found)


def pixels_in(page, panel):
    return np.asarray(page.image.crop(panel.box)).astype(int)


def heat_in(page, panel):
    """How far each pixel is from grey."""
    pixels = pixels_in(page, panel)
    return pixels.max(axis=2) - pixels.min(axis=2)


def outlines_in(page, name, colour):
    """All corners of a panel's outlines of a colour, in pixels of the page."""
    lines = [line for panel, drawn, found in page.outlines if (panel, drawn) == (name, colour) for line in found]
    return np.concatenate(lines) if lines else None


def with_heat(result, heat):
    """The same case, had its map on the slices been this one."""
    return replace(result, heat=on_grid_of(np.asarray(heat, dtype=np.float32), result.slices.native))


@pytest.fixture(scope="module")
def wide():
    """A field of 300 by 300 mm, with no ROI."""
    ct = ct_like(shape=(3, 150, 150), spacing=(2.0, 2.0, 4.0))
    return stage_case(results.scan_of(ct), ready(results.a_small_model()), key_slice=keyslice.by_index(ct, 1))


def spots(result, *places, size=10):
    """A map of squares of (row, column, strength) in the key slice."""
    heat = np.zeros(result.slices.native.GetSize()[::-1])
    for row, column, strength in places:
        heat[1, row : row + size, column : column + size] = strength
    return with_heat(result, heat)


def test_the_picture_is_a_png_of_1800_pixels_with_its_intended_use():
    with Image.open(io.BytesIO(overlay.png(results.with_roi()))) as picture:
        assert picture.format == "PNG"
        assert picture.width == 1800
        assert 800 < picture.height < 1400
        picture.load()  # all checksums are right
        assert RESEARCH_USE_ONLY in picture.info["Description"]
        assert "UNTRAINED" in picture.info["Description"]


def test_the_file_holds_the_very_pixels_that_were_drawn():
    page = overlay.render(results.with_roi())
    with Image.open(io.BytesIO(page.png("about"))) as picture:
        assert np.array_equal(np.asarray(picture), np.asarray(page.image))


def test_stage_vote_and_warnings_stand_on_it():
    shown_text = words_of(overlay.render(results.with_roi()))
    assert RESEARCH_USE_ONLY in shown_text
    assert any("UNTRAINED" in text for text in shown_text)
    assert "ROI “tumour”" in shown_text

    shown_text = words_of(overlay.render(results.split_vote()))
    assert {"T3", "2 of 3 slices", "T2 0.50", "T3 0.60", "T3 0.45"} <= set(shown_text)
    assert not any("UNTRAINED" in text for text in shown_text)
    assert "attention for T3 (fine map)" in shown_text
    assert any("T1 0.08   T2 0.27   T3 0.45   T4 0.20" in text for text in shown_text)


def test_slices_are_named_by_their_place():
    result = results.with_roi()
    names = [words.slice_label(result, i).replace("\N{NO-BREAK SPACE}", " ") for i in range(3)]
    assert names == ["one below (−1)", "key slice 3 (S −388.0 mm)", "one above (+1)"]
    further = replace(result, slices=replace(result.slices, offsets=(-2, 0, 2)))
    assert words.slice_label(further, 0) == "2 slices below (−2)"
    assert words.slice_label(results.a_picture(), 0) == "key slice 0"


@pytest.mark.parametrize(
    ("rows", "shown_text"),
    [
        ([[0.7, 0.1, 0.1, 0.1]] * 3, "unanimous (3 of 3 slices)"),
        ([[0.7, 0.1, 0.1, 0.1], [0.1, 0.7, 0.1, 0.1]], "1 of 2 slices, tied; decided by mean probability"),
        ([[0.7, 0.1, 0.1, 0.1]], "1 slice: no vote"),
    ],
)
def test_the_vote_in_words(rows, shown_text):
    prediction = results.vote((0, 1, 2)[: len(rows)], np.array(rows))
    assert words.vote_in_words(replace(results.with_roi(), prediction=prediction)) == shown_text


def test_a_vote_against_the_mean_probability_is_marked():
    rows = np.array([[0.4, 0.3, 0.2, 0.1], [0.4, 0.3, 0.2, 0.1], [0.0, 1.0, 0.0, 0.0]])
    result = replace(results.with_roi(), prediction=results.vote((-1, 0, 1), rows))
    assert any("differs from the vote" in text for text in words_of(overlay.render(result)))
    assert not any("differs from the vote" in text for text in words_of(overlay.render(results.split_vote())))


def test_nothing_on_it_names_the_case():
    result = replace(results.with_roi(), case_id="jane-doe")
    shown_text = " ".join(words_of(overlay.render(result)))
    assert not any(name in shown_text for name in (*results.IDENTIFIERS.values(), "jane-doe", "abab"))


# -- heat ----------------------------------------------------------------------------------------------------------


def test_all_slices_share_one_scale():
    result = results.with_roi()
    heat = np.zeros(result.slices.native.GetSize()[::-1])
    heat[0, 12:28, 15:35], heat[1, 12:28, 15:35] = 0.4, 1.0
    page = overlay.render(with_heat(replace(result, roi=None, agreement=None), heat))
    weak, strong = (heat_in(page, panel_of(page, name)) for name in ("neighbour 0", "whole"))
    assert 20 < weak.max() < 0.7 * strong.max()  # weak evidence stays weak
    assert heat_in(page, panel_of(page, "neighbour 2")).max() == 0


def test_heat_is_drawn_from_a_low_share_on_and_more_and_more_opaque():
    shares = np.array([[0.0, 0.24, 0.26, 0.5, 1.0]])
    opacity = overlay.heat_colours(shares * 7, 7.0)[0, :, 3]
    assert opacity[:2].tolist() == [0, 0]
    assert (np.diff(opacity[1:]) > 0).all()
    assert opacity[-1] <= 0.5  # half of what is seen is the anatomy
    brightness = overlay.heat_colours(shares * 7, 7.0)[0, :, :3] @ [0.299, 0.587, 0.114]
    assert (np.diff(brightness) > 0).all()


def test_anatomy_stays_readable_under_the_strongest_heat():
    """The difference of fat and enhanced wall, in the picture's grey, beside the same without heat."""
    ct = results.with_roi().slices.native
    array = np.full(ct.GetSize()[::-1], -100.0, dtype=np.float32)
    array[:, :, 25:] = 100.0
    result = results.with_roi()
    slices = replace(result.slices, native=on_grid_of(array, ct))
    hot = np.ones(array.shape)
    page = overlay.render(with_heat(replace(result, slices=slices, roi=None, agreement=None), hot))
    plain, heated = (
        pixels_in(page, panel_of(page, name)) @ np.array([0.299, 0.587, 0.114]) for name in ("plain", "close-up")
    )
    assert heated.shape == plain.shape
    row = plain.shape[0] // 2
    assert np.ptp(heated[row]) >= 0.45 * np.ptp(plain[row]) > 60


def test_the_colour_bar_runs_from_0_to_the_maximum():
    result = results.with_roi()
    peak = float(sitk.GetArrayViewFromImage(result.heat).max())
    page = overlay.render(result)
    found = {text.words: text.box for text in page.texts}
    lowest, middle, highest = (found[f"{share * peak:.3g}"] for share in (0, 0.5, 1))
    assert lowest[0] < middle[0] < highest[0]
    # Under the close-up, from its left edge to its right one, over no picture.
    close = panel_of(page, "close-up").box
    assert lowest[0] == pytest.approx(close.left, abs=3)
    assert highest[2] == pytest.approx(close.right, abs=3)
    assert lowest[1] > close.bottom
    bar = np.asarray(page.image.crop((close.left, 0, close.right, page.image.height)))[int(lowest[1]) - 20].astype(int)
    coloured = np.ptp(bar, axis=1) > 0
    share = overlay.SHOWN_FROM * len(bar)
    assert not coloured[: int(share) - 3].any()
    assert coloured[int(share) + 3 : -2].all()


def test_legend_and_words_lie_beside_the_pictures_not_over_them():
    page = overlay.render(results.with_roi())
    allowed = {"R", "L"}
    for panel in page.panels:
        assert {word for word in words_of(page, panel) if not word.endswith(" mm")} <= allowed


def test_an_empty_map_has_a_sentence_and_no_colour():
    result = results.without_attention(results.split_vote(), 2)
    page = overlay.render(result)
    assert "no attention for T3 in this slice" in words_below(page, "neighbour 2")
    assert heat_in(replace_outlines(result), panel_of(page, "neighbour 2")).max() == 0
    assert "no attention" not in words_below(page, "neighbour 0")
    for name in ("whole", "close-up"):
        assert "no attention" not in " ".join(words_of(page, panel_of(page, name)))
    assert heat_in(page, panel_of(page, "close-up")).max() > 20

    nowhere = overlay.render(results.without_attention(results.split_vote(), 0, 1, 2))
    assert "No attention for T3 (fine map) in any slice" in " ".join(words_of(nowhere))
    for name in ("whole", "close-up"):
        assert "no attention for T3 in this slice" in " ".join(words_of(nowhere, panel_of(nowhere, name)))
    assert not any("raw units" in text for text in words_of(nowhere))  # no scale of nothing


def replace_outlines(result):
    """The page without an ROI, since its outline is coloured, too."""
    return overlay.render(replace(result, roi=None, agreement=None))


def test_a_slice_without_a_map_is_not_called_empty():
    result = results.not_mapped(results.split_vote(), 0, 2)
    page = overlay.render(result)
    for name in ("neighbour 0", "neighbour 2"):
        shown_text = words_below(page, name)
        assert "no map was computed for this slice" in shown_text
        assert "no attention" not in shown_text
    assert "no map" not in " ".join(words_of(page, panel_of(page, "whole")))


@pytest.mark.parametrize(
    ("check", "shown_text"),
    [
        (None, "This map has not been checked for this model."),
        (results.CHECKED, "The map of this model passed its check (Dice 0.61, chance 0.02)."),
        ({**results.CHECKED, "verdict": "failed"}, "FAILED"),
        (
            {**results.CHECKED, "method": "layercam"},
            "not been checked for this model: the check used maps by 'layercam'",
        ),
    ],
)
def test_the_check_of_the_map_is_written_below_it(check, shown_text):
    result = results.split_vote()
    page = overlay.render(replace(result, model=replace(result.model, check=check)))
    below = [text for text in page.texts if text.box[1] > panel_of(page, "close-up").box.bottom]
    assert shown_text in " ".join(text.words for text in below)


# -- anatomy -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["whole", "close-up", "neighbour 2"])
def test_the_roi_is_outlined_where_it_lies(name):
    result = results.with_roi()
    page = overlay.render(result)
    sx, sy, _ = result.slices.native.GetSpacing()
    panel = panel_of(page, name)
    corners = outlines_in(page, name, CYAN)
    upper_left = panel.at(results.COLUMNS.start * sx, results.ROWS.start * sy)
    lower_right = panel.at(results.COLUMNS.stop * sx, results.ROWS.stop * sy)
    assert corners.min(axis=0) == pytest.approx(upper_left, abs=1e-3)
    assert corners.max(axis=0) == pytest.approx(lower_right, abs=1e-3)
    # And seen: cyan on its left side, halfway up.
    x, y = round(upper_left[0]), round((upper_left[1] + lower_right[1]) / 2)
    around = np.asarray(page.image.crop((x - 3, y, x + 4, y + 1))).astype(int)[0]
    assert (around[:, 1] - around[:, 0]).max() > 120


@pytest.mark.parametrize("name", ["whole", "close-up"])
def test_anatomy_and_heat_lie_where_the_outlines_say(wide, name):
    """A bright square and, apart from it, a hot one: halfway up their edges in the picture."""
    sx, sy, _ = wide.slices.native.GetSpacing()
    ct = np.full(wide.slices.native.GetSize()[::-1], -100.0, dtype=np.float32)
    ct[:, 50:56, 60:68] = 200.0
    slices = replace(wide.slices, native=on_grid_of(ct, wide.slices.native))
    page = overlay.render(spots(replace(wide, slices=slices), (60, 70, 1.0), size=12))
    panel = panel_of(page, name)
    bright = pixels_in(page, panel).min(axis=2) > 120
    hot = heat_in(page, panel) > 25
    frame = round(3 + 2 * sx * panel.scale)  # the white frame of the close-up, on the whole slice, is no anatomy
    for found, rows, columns in ((bright, (50, 56), (60, 68)), (hot, (60, 72), (70, 82))):
        (left, top), (right, bottom) = (panel.at(c * sx, r * sy) for r, c in zip(rows, columns, strict=True))
        box = np.array([left - panel.box.left, top - panel.box.top, right - panel.box.left, bottom - panel.box.top])
        near = np.zeros_like(found)
        low, high = np.maximum(np.round(box[:2] - frame), 0).astype(int), np.round(box[2:] + frame).astype(int)
        near[low[1] : high[1], low[0] : high[0]] = True
        down, across = np.nonzero(found & near)
        seen = [across.min(), down.min(), across.max() + 1, down.max() + 1]
        assert seen == pytest.approx(box, abs=0.75 * sx * panel.scale + 1)


def test_there_is_no_outline_where_there_is_no_roi():
    page = overlay.render(results.with_roi())
    assert outlines_in(page, "neighbour 0", CYAN) is None  # the ROI begins at the key slice
    assert outlines_in(page, "plain", CYAN) is None  # the CT alone


def test_a_millimetre_is_as_long_in_both_directions():
    result = results.with_roi()  # pixels of 0.9 by 1.1 mm
    for panel in overlay.render(result).panels:
        assert panel.box.width / panel.view.width == pytest.approx(panel.box.height / panel.view.height, rel=0.005)


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
    page = overlay.render(results.without_attention(result, 0, 1, 2))
    panel = panel_of(page, "plain")
    (right,), (left,) = (
        [t for t in page.texts if t.words == letter and within(t.box, panel.box)] for letter in ("R", "L")
    )
    assert right.box[0] < left.box[0]
    part = pixels_in(page, panel).min(axis=2)[60:-60]  # below the letters, above the scale bar
    blobs = sitk.ConnectedComponent(sitk.GetImageFromArray((part > 245).astype(np.uint8)))
    shapes = sitk.LabelShapeStatisticsImageFilter()
    shapes.Execute(blobs)
    column, row = shapes.GetCentroid(max(shapes.GetLabels(), key=shapes.GetNumberOfPixels))
    assert column < 0.4 * part.shape[1]
    assert row < 0.4 * part.shape[0]


@pytest.mark.parametrize("name", ["whole", "plain", "close-up"])
def test_a_scale_bar_has_its_length(name):
    page = overlay.render(results.with_roi())
    panel = panel_of(page, name)
    (length,) = [float(word.removesuffix(" mm")) for word in words_of(page, panel) if word.endswith(" mm")]
    row = pixels_in(page, panel)[-17].min(axis=1) >= 250
    longest = max(map(len, "".join("x" if white else " " for white in row).split()))
    assert longest == pytest.approx(length * panel.scale, abs=1.5)


def test_without_a_pixel_size_there_is_neither_scale_nor_side():
    page = overlay.render(results.a_picture())
    assert not {"R", "L"} & set(words_of(page))
    assert not any("mm" in text for text in words_of(page))


@pytest.mark.parametrize(("hu", "grey"), [(-125.0, 0), (50.0, 128), (225.0, 255), (400.0, 255)])
def test_the_ct_is_shown_in_the_recipes_window(hu, grey):
    result = results.with_roi()
    assert result.model.recipe.window_hu == (-125, 225)
    flat = on_grid_of(np.full(result.slices.native.GetSize()[::-1], hu, dtype=np.float32), result.slices.native)
    page = overlay.render(replace(result, slices=replace(result.slices, native=flat)))
    box = panel_of(page, "plain").box
    middle = page.image.getpixel(((box.left + box.right) // 2, (box.top + box.bottom) // 2))
    assert middle == (grey, grey, grey)


def test_the_view_is_the_body_and_all_strong_attention():
    ct = ct_like(shape=(3, 80, 80), spacing=(2.0, 2.0, 4.0))
    array = sitk.GetArrayFromImage(ct)
    small = np.full_like(array, -1000.0)
    small[:, 30:60, 20:60] = array[:, 25:55, 20:60].clip(-100)
    image = on_grid_of(small, ct)
    result = stage_case(results.scan_of(image), ready(results.a_small_model()), key_slice=keyslice.by_index(image, 1))
    heat = np.zeros((3, 80, 80), dtype=np.float32)
    heat[:, 40:45, 30:35] = 1
    view = overlay.view_of(with_heat(result, heat))
    assert (view.left, view.right, view.top, view.bottom) == pytest.approx((35.2, 124.8, 55.2, 124.8))
    heat[0, 2, 2] = 0.9
    beside = overlay.view_of(with_heat(result, heat))
    assert (beside.left, beside.top) == (0, 0)


def corners_of(view):
    return view.left, view.right, view.top, view.bottom


def test_the_close_up_has_the_strongest_place_in_its_middle(wide):
    one = overlay.close_up_of(spots(wide, (60, 70, 1.0)))  # rows 120 to 140 mm, columns 140 to 160 mm
    assert corners_of(one) == pytest.approx((105, 195, 85, 175), abs=1)
    # Another place, as strong in sum but farther off, does not draw it between the two.
    two = overlay.close_up_of(spots(wide, (60, 70, 1.0), (10, 10, 0.9), (12, 10, 0.9)))
    assert corners_of(two) == pytest.approx(corners_of(one), abs=1)


def test_the_close_up_stays_within_the_field(wide):
    corner = overlay.close_up_of(spots(wide, (0, 140, 1.0)))
    assert corners_of(corner) == pytest.approx((210, 300, 0, 90))
    small = results.with_roi()  # a field of 45 by 44 mm
    assert corners_of(overlay.close_up_of(small)) == pytest.approx((0, 45, 0, 44))


def with_box(result, rows, columns):
    mask = np.zeros(result.slices.native.GetSize()[::-1], dtype=np.uint8)
    mask[1, rows, columns] = 1
    return replace(result, roi=on_grid_of(mask, result.slices.native))


def test_a_near_roi_is_in_the_close_up_and_a_far_one_is_not(wide):
    hot = spots(wide, (60, 70, 1.0))
    near = overlay.close_up_of(with_box(hot, slice(60, 75), slice(95, 105)))  # columns 190 to 210 mm
    assert near.left < 140 < 210 < near.right
    assert near.width == pytest.approx(near.height)
    assert near.width <= overlay.FARTHEST_MM
    far = overlay.close_up_of(with_box(hot, slice(0, 10), slice(0, 10)))
    assert corners_of(far) == pytest.approx(corners_of(overlay.close_up_of(hot)))


def test_without_a_map_the_close_up_shows_the_roi(wide):
    nothing = results.without_attention(wide, 0, 1, 2)
    view = overlay.close_up_of(with_box(nothing, slice(30, 40), slice(50, 60)))
    assert corners_of(view) == pytest.approx((65, 155, 25, 115))


def test_the_close_up_is_framed_on_the_whole_slice(wide):
    result = spots(wide, (60, 70, 1.0))
    page = overlay.render(result)
    whole, near = panel_of(page, "whole"), overlay.close_up_of(result)
    left, middle = whole.at(near.left, (near.top + near.bottom) / 2)
    around = np.asarray(page.image.crop((round(left) - 3, round(middle), round(left) + 3, round(middle) + 1)))
    assert around.min(axis=2).max() == 255


def test_a_small_picture_shows_another_map_of_the_same_slice():
    result = results.with_roi()
    other = replace(result.attention, method="gradcam++", maps=result.attention.maps[:, ::-1].copy())
    first, second = (Image.open(io.BytesIO(overlay.small_png(result, one))) for one in (result.attention, other))
    assert first.size == second.size
    assert first.width < 700
    assert first.tobytes() != second.tobytes()


# -- the page ------------------------------------------------------------------------------------------------------


def long_names():
    result = results.split_vote()
    card = replace(result.model, name="x" * 80, status="demonstration")
    return replace(result, model=card, segment="$\\frac{1}{ a tumour with a very long name of its own")


def tied_with_a_set():
    """The longest words of the vote beside the widest set."""
    result = results.split_vote()
    widest = StageSet(tuple(TStage), 0.975, dict.fromkeys(TStage, 60), warning="chosen by them")
    means = np.array([[0.4, 0.3, 0.2, 0.1], [0.1, 0.5, 0.3, 0.1], [0.1, 0.2, 0.6, 0.1]])
    return replace(result, prediction=vote([-1, 0, 1], means), stage_set=widest)


@pytest.mark.parametrize("case", [*results.ALL.values(), long_names, tied_with_a_set])
def test_no_words_leave_the_page_or_lie_on_others(case):
    page = overlay.render(case())
    for text in page.texts:
        left, top, right, bottom = text.box
        assert 0 <= left < right <= page.image.width, text.words
        assert 0 <= top < bottom <= page.image.height, text.words
    for i, one in enumerate(page.texts):
        for other in page.texts[:i]:
            a, b = one.box, other.box
            apart = a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
            assert apart, (one.words, other.words)


def test_unlike_is_as_large_as_the_stage_and_nothing_else_is():
    stage = str(results.with_roi().prediction.stage)
    page = overlay.render(results.unlike())
    size = {text.words: text.size for text in page.texts}
    assert size["UNLIKE THE TRAINING"] == size[stage]
    assert "noise of 34 HU; training 8.1 to 16.7 HU" in " ".join(words_of(page))
    for result, name in (
        (results.judged("usual"), "Usual for the training"),
        (results.judged("unusual"), "Unusual for the training"),
        (results.with_roi(), "Likeness to the training not known"),
    ):
        shown_text = words_of(overlay.render(result))
        assert "UNLIKE THE TRAINING" not in shown_text
        assert name in shown_text


def test_what_was_not_compared_is_shown():
    reason = "without HU and millimetres, only the picture and the features were compared"
    assert reason in " ".join(words_of(overlay.render(results.judged("usual", reason))))


def test_letters_are_as_high_as_the_pages_own():
    """A report shows the picture 920 pixels wide."""
    for text in overlay.render(results.with_roi()).texts:
        assert text.size * 920 / overlay.WIDTH >= 11, text.words


def test_the_warning_of_a_model_with_a_long_name_is_whole():
    shown_text = " ".join(words_of(overlay.render(long_names())))
    assert (
        "is a DEMONSTRATION model, trained on synthetic phantoms, never for patients: for a patient, its stage means "
        "nothing." in shown_text
    )


def test_the_choice_of_the_key_slice_is_on_the_picture():
    assert "key slice: the slice with the largest area of the ROI" in words_of(overlay.render(results.with_roi()))
    assert "key slice: chosen by hand" in words_of(overlay.render(results.without_roi()))


def test_names_are_no_formulas_and_have_only_letters_that_the_font_has():
    result = replace(results.split_vote(), segment="$\\frac{$ é Ж")
    assert "ROI “$\\frac{$ é Ж”" in words_of(overlay.render(result))
    assert overlay.png(result)  # as a formula it could not be drawn


@pytest.mark.parametrize("name", ["胃", "tumour 肿瘤", "ורם", "ورم", "e\u0301", "a\u202eb", "𠀀", "अर्बुद"])
def test_a_name_that_the_font_cannot_show_is_replaced_by_its_number(name):
    """Not by question marks or boxes; the report contains name and number."""
    result = replace(results.split_vote(), segment=name, segment_number=3)
    assert "ROI: segment 3" in words_of(overlay.render(result))
    assert f"“{name}” (segment 3)." in " ".join(report.html(result, b"").split())
    assert "ROI (name in the report)" in words_of(overlay.render(replace(result, segment_number=None)))


def test_the_font_has_the_letters_that_it_is_said_to_have():
    """Pillow draws a box, the same for all, for a letter that the font lacks."""
    box = canvas._font(24, False).getmask("\uffff")

    def shows_box(letter):
        shown = canvas._font(24, False).getmask(letter)
        return shown.size == box.size and bytes(shown) == bytes(box)

    letters = [chr(c) for c in range(0x21, 0x600) if chr(c).isprintable()] + list("胃肿瘤가ア—…“”")
    assert [c for c in letters if canvas.is_drawable(c) and shows_box(c)] == []
    assert all(canvas.is_drawable(c) for c in "abcÄßéŁжЩαΩ…“”")
    assert not any(canvas.is_drawable(c) for c in "胃肿瘤가ア")


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
    page = overlay.render(result)
    heat = sitk.GetArrayViewFromImage(result.heat)[result.slices.key].astype(float)
    panel = panel_of(page, "whole")
    points = outlines_in(page, "whole", WHITE)
    sx, sy, _ = result.slices.native.GetSpacing()
    columns = ((points[:, 0] - panel.box.left) / panel.scale + panel.view.left) / sx - 0.5
    rows = ((points[:, 1] - panel.box.top) / panel.scale + panel.view.top) / sy - 0.5
    inner = (rows > 0) & (rows < heat.shape[0] - 1) & (columns > 0) & (columns < heat.shape[1] - 1)
    assert inner.sum() > 10
    found = map_coordinates(heat, [rows[inner], columns[inner]], order=1)
    assert found == pytest.approx(0.5 * heat.max(), rel=0.01)
    for name in ("plain", "neighbour 0", "neighbour 2"):
        assert outlines_in(page, name, WHITE) is None
