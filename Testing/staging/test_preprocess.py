import tracemalloc

import numpy as np
import pytest
import SimpleITK as sitk
from conftest import ct_like, rotation
from PIL import Image

from GTRStagingLib.errors import InputError
from GTRStagingLib.imaging import geometry
from GTRStagingLib.imaging.keyslice import by_index
from GTRStagingLib.imaging.scans import scan_of
from GTRStagingLib.model.recipe import GTR, PAPER, RECIPES, RELEASED, Recipe, find_recipe
from GTRStagingLib.staging import preprocess
from GTRStagingLib.staging.preprocess import body_mask, n4, neighbour_step, prepare, voting_slices, windowed

ORIENTED = [
    None,
    np.diag([-1.0, -1, 1]),
    np.diag([-1.0, 1, -1]),
    rotation((1, 2, 0.5), 25) @ np.diag([1.0, -1, -1]),
]


def whole_volume(ct, recipe):
    """Reference: every slice of the volume is resampled, windowed, resized and normalised."""
    axial = sitk.Cast(geometry.axial_lps(ct), sitk.sitkFloat32)
    field = sitk.Resample(
        axial, geometry.square_grid(axial, recipe.spacing_mm), sitk.Transform(), sitk.sitkLinear, recipe.hu_range[0]
    )
    slices = np.clip(sitk.GetArrayFromImage(field), -125, 225)
    slices = (slices + 125) * (255 / 350)
    side = recipe.input_size
    small = np.stack([np.asarray(Image.fromarray(s).resize((side, side), Image.Resampling.BILINEAR)) for s in slices])
    return (small - small.mean((1, 2), keepdims=True)) / small.std((1, 2), keepdims=True)


@pytest.mark.parametrize("direction", ORIENTED)
@pytest.mark.parametrize("index", [0, 4, 8])
def test_the_needed_slices_equal_those_of_the_whole_volume(direction, index):
    ct = ct_like(direction=direction)
    prepared = prepare(ct, by_index(ct, index), GTR)
    expected = whole_volume(ct, GTR)
    assert prepared.pixels.shape == (len(prepared.offsets), 3, 224, 224)
    for offset, pixels in zip(prepared.offsets, prepared.pixels, strict=True):
        np.testing.assert_allclose(pixels[0], expected[index + offset], atol=2e-4)
        assert (pixels[0] == pixels[1]).all()
        assert (pixels[0] == pixels[2]).all()


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
@pytest.mark.parametrize("direction", ORIENTED)
def test_only_the_voting_slices_are_read_at_any_scan_length(monkeypatch, recipe, direction):
    """tracemalloc does not see ITK's memory: the voxels passed to ITK are counted instead."""
    touched = []
    resample, window = geometry.resampled, preprocess.windowed
    monkeypatch.setattr(geometry, "resampled", lambda image, *a, **k: touched.append(image) or resample(image, *a, **k))
    monkeypatch.setattr(preprocess, "windowed", lambda slices, r: touched.append(slices) or window(slices, r))
    ct = ct_like(shape=(60, 40, 50), direction=direction)
    prepared = prepare(ct, by_index(ct, 30), recipe)
    assert prepared.native.GetSize() == (50, 40, 3)
    assert touched
    for one in touched:
        assert (one.GetSize()[2] if isinstance(one, sitk.Image) else len(one)) == 3


def test_the_cost_does_not_grow_with_the_length_of_the_scan():
    peaks = []
    for slices in (5, 100):
        ct = ct_like(shape=(slices, 64, 64))
        key = by_index(ct, slices // 2)
        prepare(ct, key, GTR)
        tracemalloc.start()
        prepare(ct, key, GTR)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.05 * peaks[0]


@pytest.mark.parametrize("direction", ORIENTED)
def test_the_grid_gives_the_position_of_each_pixel(direction):
    """A bright dot must be found again at its physical place."""
    ct = ct_like(shape=(9, 60, 70), direction=direction)
    axial = geometry.axial_lps(ct)
    array = np.full(axial.GetSize()[::-1], -1000, dtype=np.float32)
    array[:, :, :3] = -100
    array[4, 20, 45] = 225
    dot = sitk.GetImageFromArray(array)
    dot.CopyInformation(axial)
    prepared = prepare(geometry.in_axis_order_of(dot, ct), by_index(ct, 4), GTR)
    weights = prepared.pixels[prepared.key, 0] - prepared.pixels[prepared.key, 0, :5, 110].min()
    hot = prepared.pixels[prepared.key, 0] > 0.5 * prepared.pixels[prepared.key, 0].max()
    rows, columns = np.nonzero(hot)
    mass = weights[hot]
    centre = (float((columns * mass).sum() / mass.sum()), float((rows * mass).sum() / mass.sum()), float(prepared.key))
    found = prepared.grid.TransformContinuousIndexToPhysicalPoint(centre)
    true = axial.TransformIndexToPhysicalPoint((45, 20, 4))
    assert np.linalg.norm(np.subtract(found, true)) < 0.5 * prepared.grid.GetSpacing()[0] + 0.3


def test_the_field_is_square_in_millimetres_and_filled_up_with_air():
    ct = ct_like(shape=(3, 20, 60), spacing=(1.0, 1.0, 5.0))
    prepared = prepare(ct, by_index(ct, 1), GTR)
    assert prepared.grid.GetSpacing()[0] == prepared.grid.GetSpacing()[1] == pytest.approx(60 / 224)
    air = prepared.pixels[1, 0].min()
    assert prepared.pixels[1, 0, :60].max() == air  # 20 of 60 mm are filled up on either side: 74 rows


def test_the_released_recipe_equals_torchvision_on_pictures():
    from torchvision import transforms

    rng = np.random.default_rng(1)
    picture = rng.integers(0, 256, (300, 410), dtype=np.uint8)
    image = sitk.GetImageFromArray(picture[None])
    prepared = prepare(image, by_index(image, 0), RELEASED, intensity="windowed")
    usual = transforms.Compose(
        [
            transforms.Resize(224),
            transforms.ToTensor(),
            transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )(Image.fromarray(picture).convert("RGB"))
    assert prepared.pixels.shape[1:] == tuple(usual.shape)
    np.testing.assert_allclose(prepared.pixels[0], usual.numpy(), atol=1e-6)
    assert prepared.grid.GetSize() == (306, 224, 1)


def test_the_released_recipe_gives_the_same_for_a_ct_as_for_its_picture():
    ct = ct_like(shape=(1, 64, 64))
    hu = sitk.GetArrayFromImage(ct)
    picture = sitk.GetImageFromArray(np.round((np.clip(hu, -125, 225) + 125) / 350 * 255).astype(np.uint8))
    picture.CopyInformation(ct)
    key = by_index(ct, 0)
    np.testing.assert_array_equal(
        prepare(ct, key, RELEASED).pixels, prepare(picture, key, RELEASED, intensity="windowed").pixels
    )


@pytest.mark.parametrize("recipe", [GTR, PAPER])
def test_a_picture_is_refused_where_a_ct_is_needed(recipe):
    image = sitk.GetImageFromArray(np.zeros((1, 40, 40), dtype=np.uint8))
    with pytest.raises(InputError, match="8-bit windowed picture.*'released'"):
        prepare(image, by_index(image, 0), recipe, intensity="windowed")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_voxels_that_are_not_finite_are_counted_and_named(bad):
    ct = ct_like()
    for position in ((5, 6, 4), (7, 8, 4)):
        ct[position] = float(bad)
    with pytest.raises(InputError, match=r"Slice 4 has NaN .*\b2\b.* of 2000 voxels"):
        prepare(ct, by_index(ct, 5), GTR)
    assert prepare(ct, by_index(ct, 7), GTR).offsets == (-1, 0, 1)  # slices that are not needed do not matter


def test_a_constant_slice_is_refused():
    ct = ct_like()
    flat = ct * 0 - 1000
    with pytest.raises(InputError, match="Slice 2 is constant"):
        prepare(flat, by_index(flat, 3), GTR)


def test_values_without_negatives_are_refused_as_hu():
    ct = sitk.Abs(ct_like())
    with pytest.raises(
        InputError, match="Slice 2 is not in HU: .*Convert the CT again from DICOM, .*no MR, mask or windowed"
    ):
        prepare(ct, by_index(ct, 3), GTR)


@pytest.mark.parametrize(
    ("slices", "index", "step", "expected"),
    [(9, 4, 1, (-1, 0, 1)), (9, 0, 1, (0, 1)), (9, 8, 1, (-1, 0)), (1, 0, 1, (0,)),
     (9, 4, 3, (-3, 0, 3)), (9, 1, 3, (0, 3))],
)  # fmt: skip
def test_the_neighbours_that_exist_vote(slices, index, step, expected):
    assert voting_slices(slices, index, step) == expected
    ct = ct_like(shape=(slices, 40, 50))
    prepared = prepare(ct, by_index(ct, index), GTR, step=step)
    assert prepared.offsets == expected
    for position, offset in enumerate(expected):
        z = prepared.native.TransformIndexToPhysicalPoint((0, 0, position))[2]
        assert z == pytest.approx(-400 + 4 * (index + offset))


@pytest.mark.parametrize(("mm", "step"), [(None, 1), (1.0, 1), (4.0, 1), (5.9, 1), (6.1, 2), (12.0, 3)])
def test_neighbours_by_distance(a_ct, mm, step):
    assert neighbour_step(a_ct, mm) == step


@pytest.mark.parametrize("mm", [0.0, -4.0, 36.1, 1e300, float("inf"), float("nan")])
def test_neighbours_at_no_distance_are_refused(a_ct, mm):
    with pytest.raises(InputError, match="above 0 and within the scan's 36 mm"):
        neighbour_step(a_ct, mm)


@pytest.mark.parametrize("pixel_mm", [1e5, 60.0, 0.05, 1e-5])
def test_implausible_sizes_are_refused(pixel_mm):
    ct = ct_like(spacing=(pixel_mm, pixel_mm, 4.0))
    with pytest.raises(InputError, match=r"measure .* mm; expected 10 to 2000 mm.*in millimetres"):
        prepare(ct, by_index(ct, 4), GTR)


@pytest.mark.parametrize(("distance_mm", "read"), [(0.01, False), (0.1, True), (20.0, True), (300.0, False)])
@pytest.mark.parametrize("step", [1, 2])
def test_implausible_distances_of_slices_are_refused(distance_mm: float, read: bool, step: int) -> None:
    ct = ct_like(spacing=(3.0, 3.0, distance_mm))
    key = by_index(ct, 4)
    if read:
        assert len(prepare(ct, key, GTR, step=step).offsets) == 3
        return
    with pytest.raises(InputError, match=r"slices are (0\.01|300) mm apart; expected 0\.05 to 50 mm.*in millimetres"):
        prepare(ct, key, GTR, step=step)


def test_n4_leaves_a_flat_slice_with_a_gradient_flatter_and_positive():
    rows = np.linspace(0.7, 1.3, 96)[:, None]
    slice_ = (120 * rows * np.ones((96, 96))).astype(np.float32)
    corrected = n4(slice_)
    assert corrected.min() >= 0
    assert corrected.std() < 0.5 * slice_.std()


def test_n4_fitted_to_the_shrunken_slice_is_near_to_n4_fitted_to_the_whole():
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[-1:1:192j, -1:1:192j]
    body = rows**2 + columns**2 < 0.8
    slice_ = np.where(body, (120 + rng.normal(0, 6, body.shape)) * np.exp(0.2 * rows - 0.15 * columns), 0)
    whole, shrunken = (n4(slice_.astype(np.float32), shrink=factor) for factor in (1, 4))
    assert shrunken.dtype == np.float32
    assert shrunken.shape == slice_.shape
    fields = [np.log((one[body] + 1) / (slice_[body] + 1)) for one in (whole, shrunken)]
    assert np.corrcoef(*fields)[0, 1] > 0.98
    # Fitted small, and taken out of every pixel: of 12 % variation the noise's 5 % is left.
    variation = [one[body].std() / one[body].mean() for one in (slice_, shrunken)]
    assert variation[0] > 0.11
    assert variation[1] < 0.06


def test_n4_leaves_an_empty_slice_alone():
    assert (n4(np.zeros((20, 20), dtype=np.float32)) == 0).all()


def test_of_a_scan_the_slices_are_those_of_its_image(a_ct):
    scan, key = scan_of(a_ct, "the volume"), by_index(a_ct, 4)
    for step in (1, 3):
        a, b = prepare(scan, key, GTR, step=step), prepare(a_ct, key, GTR, step=step)
        assert (a.pixels == b.pixels).all()
        assert a.offsets == b.offsets
        assert geometry.same_grid(a.native, b.native, tolerance=1e-9)


def test_the_papers_recipe_applies_n4_and_ours_does_not():
    ct = ct_like(shape=(1, 40, 50))
    key = by_index(ct, 0)
    assert np.abs(prepare(ct, key, PAPER).pixels - prepare(ct, key, GTR).pixels).max() > 1e-3


def test_the_window_clips_what_lies_outside():
    hu = np.array([[[-3024.0, -125, 50, 225, 3071]]])
    np.testing.assert_allclose(windowed(hu, GTR), [[[0, 0, 127.5, 255, 255]]])


def test_the_body_is_the_largest_dense_piece_with_its_gas():
    hu = np.full((60, 60), -1000.0)
    hu[10:40, 10:50] = 40
    hu[20:25, 20:30] = -900  # gas in the bowel
    hu[50:52, 5:55] = 0  # the table
    body = body_mask(hu)
    assert body[10:40, 10:50].all()
    assert body.sum() == 30 * 40


def test_without_a_body_the_mask_is_the_whole_slice():
    assert body_mask(np.full((5, 5), -1000.0)).all()


def test_recipes_go_to_json_and_back():
    for recipe in RECIPES.values():
        assert Recipe.from_json(recipe.to_json()) == recipe
    assert find_recipe("gtr") is GTR
    assert GTR.window_hu == (-125, 225)


@pytest.mark.parametrize(
    "change",
    [{"spacing_mm": -1}, {"hu_range": (5, 5)}, {"window": (50, 0)}, {"input_size": 100}, {"normalisation": "minmax"},
     {"channels": 1}, {"sharpen": True}],
)  # fmt: skip
def test_a_recipe_out_of_range_is_refused(change):
    with pytest.raises(InputError, match="expected"):
        Recipe.from_json({**GTR.to_json(), **change})


def test_an_unknown_recipe_names_the_known_ones():
    with pytest.raises(InputError, match="gtr, paper, released"):
        find_recipe("monai")
