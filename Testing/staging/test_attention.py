import dataclasses

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from conftest import a_spot, ct_like, planted_model, planted_network, rotation
from helpers.passes import passed
from pytorch_grad_cam import EigenCAM, GradCAM, GradCAMPlusPlus, LayerCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

from GTRStagingLib.errors import GeometryError, InputError
from GTRStagingLib.imaging import geometry
from GTRStagingLib.imaging.keyslice import by_index
from GTRStagingLib.model import weights
from GTRStagingLib.model.backbone import ready
from GTRStagingLib.model.head import Head
from GTRStagingLib.model.passes import PassRequest
from GTRStagingLib.model.recipe import GTR
from GTRStagingLib.stages import TStage
from GTRStagingLib.staging import cam
from GTRStagingLib.staging.cam import compute_attention, raw_maps
from GTRStagingLib.staging.preprocess import prepare

PIXELS = np.random.default_rng(0).normal(size=(3, 3, 224, 224)).astype(np.float32)
USUAL = {"gradcam": GradCAM, "gradcam++": GradCAMPlusPlus, "layercam": LayerCAM, "eigencam": EigenCAM}


def usual_raw_maps(network, method, target):
    """Run pytorch-grad-cam on the whole network with its own hooks; return the maps before they are scaled."""
    cam = USUAL[method](model=network, target_layers=[network.layer4])
    raw = []
    inner = cam.get_cam_image
    cam.get_cam_image = lambda *arguments: raw.append(inner(*arguments)) or raw[-1]
    cam(torch.from_numpy(PIXELS), [ClassifierOutputTarget(int(target))] * len(PIXELS))
    cam.activations_and_grads.release()
    if method == "eigencam":  # the sign of its axis is that of its singular vectors, as they happen to come
        features = passed(network, PIXELS).feature_map
        centred = features - features.mean(axis=(2, 3), keepdims=True)
        along = np.einsum("schw,shw->sc", centred, raw[0])  # parallel to the axis
        raw[0] = raw[0] * np.where(along.sum(axis=1) >= 0, 1, -1)[:, None, None]
    return np.maximum(raw[0], 0)


@pytest.fixture(scope="module", params=[18, pytest.param(152, marks=pytest.mark.slow)])
def a_network(request):
    return weights.untrained(request.param).network


@pytest.mark.parametrize("method", USUAL)
def test_raw_maps_equal_those_of_the_full_model(a_network, method):
    seen = passed(a_network, PIXELS).feature_map
    a_network.requires_grad_(True)
    largest = []
    for target in (TStage.T1, TStage.T3):
        ours = raw_maps(Head.of(a_network), seen, method, target)
        usual = usual_raw_maps(a_network, method, target)
        assert ours.shape == (3, 7, 7)
        assert ours.dtype == np.float32
        assert np.abs(ours - usual).max() <= 1e-5
        largest.append(usual.max())
    a_network.requires_grad_(False).zero_grad()
    assert max(largest) > 1e-3  # an empty map would agree with anything empty


def test_methods_and_targets_differ():
    """A map that ignores its method or its target passes every comparison with itself."""
    network = weights.untrained(10).network
    seen = passed(network, PIXELS).feature_map
    maps = [raw_maps(Head.of(network), seen, method, TStage.T1) for method in USUAL]
    assert all(np.abs(a - b).max() > 1e-4 for i, a in enumerate(maps) for b in maps[:i])
    by_stage = [raw_maps(Head.of(network), seen, "layercam", stage) for stage in TStage]
    assert all(np.abs(a - b).max() > 1e-6 for i, a in enumerate(by_stage) for b in by_stage[:i])
    eigencams = [raw_maps(Head.of(network), seen, "eigencam", stage) for stage in TStage]
    assert all((a == eigencams[0]).all() for a in eigencams)


@pytest.mark.parametrize("method", USUAL)
def test_two_calls_give_the_same_bits_and_leave_nothing_behind(method):
    network = weights.untrained(10).network.requires_grad_(True)
    seen = passed(network, PIXELS)
    before = {name: parameter.clone() for name, parameter in network.named_parameters()}
    kept = seen.feature_map.copy()
    first = raw_maps(Head.of(network), seen.feature_map, method, TStage.T2)
    second = raw_maps(Head.of(network), seen.feature_map, method, TStage.T2)
    assert (first == second).all()
    assert (seen.feature_map == kept).all()
    for module in network.modules():
        assert not module._forward_hooks
        assert not module._backward_hooks
        assert not module._forward_pre_hooks
    for name, parameter in network.named_parameters():
        assert parameter.grad is None, name
        assert parameter.requires_grad
        assert (parameter == before[name]).all()
    np.testing.assert_array_equal(passed(network, PIXELS).logits, seen.logits)


def test_an_unknown_method_names_the_known_ones():
    network = planted_network()
    with pytest.raises(InputError, match="gated, gradcam"):
        raw_maps(Head.of(network), passed(network, PIXELS).feature_map, "scorecam", TStage.T1)


# -- where the map lies ---------------------------------------------------------------------------------------------

ORIENTED = {
    "axial": np.eye(3),
    "flipped": np.diag([-1.0, -1, 1]),
    "head first": np.diag([1.0, 1, -1]) @ np.eye(3),
    "oblique and flipped": rotation((1, 0.4, 0.3), 23) @ np.diag([-1.0, 1, -1]),
}


def attention_of(ct, index, alignment="receptive_field", model=None, method="gradcam", target=TStage.T3):
    model = model or planted_model()
    slices = prepare(ct, by_index(ct, index), GTR)
    by = ready(model, "cpu", "torch")
    every = range(len(slices.pixels))
    seen = by.classify(slices.pixels, [PassRequest(every, tuple(every), target)])
    return slices, compute_attention(by, seen, slices.grid, target=target, method=method, alignment=alignment)


def centroid(heat, z):
    """Physical centre of mass of one slice of a map."""
    mass = sitk.GetArrayFromImage(heat)[z].astype(float)
    rows, columns = np.indices(mass.shape)
    index = ((columns * mass).sum() / mass.sum(), (rows * mass).sum() / mass.sum(), float(z))
    return np.array(heat.TransformContinuousIndexToPhysicalPoint(index))


def planted(direction, place=(78, 90), shape=(9, 160, 200), spacing=(1.5, 2.1, 4.0)):
    """An anisotropic CT with one hot spot at a pixel of its axial slice 4, in the axis order of `direction`."""
    ct = ct_like(shape=shape, spacing=spacing, direction=direction)
    axial = geometry.axial_lps(ct)
    point = axial.TransformIndexToPhysicalPoint((*place, 4))
    return a_spot(ct, np.array(point)), np.array(point)


@pytest.mark.parametrize("name", ORIENTED)
@pytest.mark.parametrize("place", [(78, 90), (120, 61)])
def test_a_planted_hot_spot_is_mapped_to_its_place(name, place):
    ct, point = planted(ORIENTED[name], place)
    slices, attention = attention_of(ct, 4)
    heat = attention.on(slices.native)
    assert geometry.same_grid(heat, geometry.axial_slices(ct, 3, 5))
    distance = np.linalg.norm(centroid(heat, slices.key) - point)
    assert distance < min(ct.GetSpacing()[:2])  # one pixel
    back = geometry.in_axis_order_of(heat, ct)
    assert np.allclose(back.GetDirection(), ct.GetDirection())
    assert np.allclose(back.GetSpacing(), ct.GetSpacing())


def test_the_usual_alignment_misses_it_by_half_a_cell():
    ct, point = planted(np.eye(3))
    slices, attention = attention_of(ct, 4, alignment="half_pixel")
    off = centroid(attention.on(slices.native), slices.key) - point
    half_a_cell = 15.5 * slices.grid.GetSpacing()[0]
    np.testing.assert_allclose(off[:2], half_a_cell, atol=1.5)


@pytest.mark.parametrize(("alignment", "off_pixels"), [("receptive_field", 0.0), ("half_pixel", 31.0)])
def test_a_mirrored_input_gives_the_mirrored_map(alignment, off_pixels):
    ct, _ = planted(np.eye(3))
    mirrored = sitk.GetImageFromArray(sitk.GetArrayFromImage(ct)[:, :, ::-1].copy())
    mirrored.CopyInformation(ct)
    middle = ct.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in ct.GetSize()])[0]
    found = []
    for image in (ct, mirrored):
        slices, attention = attention_of(image, 4, alignment=alignment)
        found.append(centroid(attention.on(slices.native), slices.key)[0] - middle)
    pixel = slices.grid.GetSpacing()[0]
    assert (found[0] + found[1]) / pixel == pytest.approx(off_pixels, abs=1.0)


def test_between_the_cells_the_map_is_linear_and_at_them_exact():
    ct, _ = planted(np.eye(3))
    slices, attention = attention_of(ct, 4)
    heat = sitk.GetArrayFromImage(attention.on(slices.grid))
    np.testing.assert_allclose(heat[:, ::32, ::32], attention.maps, rtol=1e-5)
    np.testing.assert_allclose(heat[:, 48, 32], attention.maps[:, 1:3, 1].mean(axis=1), rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(heat[:, 223, 192], attention.maps[:, 6, 6], rtol=1e-5)  # beyond the last centre: flat


@pytest.mark.parametrize("method", ["gradcam", "fine"])
def test_an_empty_map_is_flagged_and_stays_empty(method):
    ct, _ = planted(np.eye(3))
    slices, attention = attention_of(ct, 4, method=method, target=TStage.T1)  # T1 has no weight at all
    assert attention.empty == (True, True, True)
    assert not sitk.GetArrayViewFromImage(attention.on(slices.native)).any()
    assert attention_of(ct, 4, method=method)[1].empty == (False, False, False)


def test_a_map_is_not_resampled_to_other_slices():
    ct, _ = planted(np.eye(3))
    _, attention = attention_of(ct, 4)
    with pytest.raises(GeometryError, match="differ in position"):
        attention.on(geometry.axial_slices(ct, 4, 6))
    with pytest.raises(GeometryError, match="differ in position|expected equal"):
        attention.on(ct)


def test_an_unknown_alignment_is_refused_before_anything_is_computed(monkeypatch):
    ct, _ = planted(np.eye(3))
    monkeypatch.setattr(cam, "raw_maps", lambda *_: pytest.fail("computed before it was validated"))
    with pytest.raises(InputError, match="receptive_field, half_pixel"):
        attention_of(ct, 4, alignment="corner")


@pytest.mark.parametrize(
    ("alignment", "first", "step"), [("receptive_field", (0, 0), (32, 32)), ("half_pixel", (15.5, 14.4), (32, 29.8))]
)
def test_the_cells_of_a_picture_that_is_not_square_have_their_own_rows_and_columns(alignment, first, step):
    """224 rows, 298 columns, 7 x 10 cells, as the released recipe makes of a 3:4 picture."""
    by = ready(planted_model(), "cpu", "torch")
    seen = by.classify(np.zeros((1, 3, 224, 298), dtype=np.float32))
    grid = geometry.empty_grid((298, 224, 1), (0.7, 0.9, 5.0), (-100.0, -90.0, 40.0), np.eye(3).ravel())
    attention = compute_attention(by, seen, grid, target=TStage.T3, method="gradcam", alignment=alignment)
    assert attention.maps.shape == (1, 7, 10)
    for row, column in ((0, 0), (6, 9), (2, 7)):
        pixel = (first[1] + step[1] * column, first[0] + step[0] * row)
        place = (-100 + 0.7 * pixel[0], -90 + 0.9 * pixel[1], 40)
        found = attention.image.TransformIndexToPhysicalPoint((column + 1, row + 1, 0))  # within a border of one cell
        np.testing.assert_allclose(found, place, atol=1e-6)


@pytest.mark.parametrize("value", [-1.0, np.nan, np.inf])
def test_invalid_maps_are_refused_with_a_remedy(value):
    ct, _ = planted(np.eye(3))
    _, attention = attention_of(ct, 4)
    maps = attention.maps.copy()
    maps[1, 2, 3] = value
    with pytest.raises(InputError, match=r"contain 1 values .*expected finite values.*Verify the model"):
        dataclasses.replace(attention, maps=maps)
