"""The fine map and the gated map: their parts, their positions and the slices that they are computed for."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import a_spot, ct_like, planted_model, rotation
from helpers.passes import passed
from pytorch_grad_cam import LayerCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from test_attention import ORIENTED, attention_of, centroid, planted

from GTRStagingLib.errors import InputError
from GTRStagingLib.imaging import geometry, keyslice
from GTRStagingLib.imaging.rois import Roi
from GTRStagingLib.imaging.scans import MemoryVoxels, Scan, scan_of
from GTRStagingLib.model import weights
from GTRStagingLib.model.backbone import load_model, ready
from GTRStagingLib.model.checkpoints import import_checkpoint
from GTRStagingLib.model.passes import PassRequest, targets_of
from GTRStagingLib.model.recipe import GTR
from GTRStagingLib.stages import TStage
from GTRStagingLib.staging.attention import Attention
from GTRStagingLib.staging.cam import comparison_map, compute_attention, contributions, raw_maps
from GTRStagingLib.staging.options import METHODS, StagingOptions, resolve_method
from GTRStagingLib.staging.pipeline import stage_case

PIXELS = np.random.default_rng(1).normal(size=(3, 3, 224, 224)).astype(np.float32)
GRID = geometry.empty_grid((224, 224, 3), (1.0, 1.0, 5.0), (0.0, 0.0, 0.0), np.eye(3).ravel())
EVERY = range(3)


def usual_layer_cams(network, target):
    """pytorch-grad-cam's LayerCAM of the whole network, raw: one map each of layer2 and of the stem's pooling."""
    found = {}
    network.requires_grad_(True)
    for name, layer in (("layer2", network.layer2), ("stem", network.maxpool)):
        with LayerCAM(model=network, target_layers=[layer]) as cam:
            inner = cam.get_cam_image
            cam.get_cam_image = lambda *given, inner=inner, name=name: found.setdefault(name, inner(*given))
            cam(torch.from_numpy(PIXELS), [ClassifierOutputTarget(int(target))] * len(PIXELS))
    network.requires_grad_(False).zero_grad()
    return {name: np.maximum(one, 0) for name, one in found.items()}


@pytest.mark.parametrize("depth", [18, pytest.param(152, marks=pytest.mark.slow)])
@pytest.mark.parametrize("backend", ["torch", "onnx"])
def test_the_parts_are_the_layer_cams_of_the_full_model(depth, backend):
    model = weights.untrained(depth, "none")
    by = ready(model, "cpu", backend)
    for target in (TStage.T1, TStage.T4):
        usual = usual_layer_cams(model.network, target)
        seen = by.classify(PIXELS, [PassRequest(EVERY, tuple(EVERY), target)])
        assert (seen.targets == target).all()
        for name, expected in usual.items():
            away = np.abs(seen.maps[name] - expected) / expected.max()
            assert expected.max() > 0
            # A ReLU with an input of 0 up to rounding may pass it in one backend and not in the other.
            # Rounding in 32 bits depends on the processor: up to 3e-5 was seen.
            assert np.median(away) < 1e-4
            assert np.quantile(away, 0.99) < (1e-4 if depth == 18 else 2e-3)
        np.testing.assert_allclose(seen.logits, passed(model.network, PIXELS).logits, atol=1e-4)


def test_the_fine_map_is_the_product_of_its_three_parts():
    """Second implementation: corners aligned, since cell 0 of every layer is centred on pixel 0."""
    model = weights.untrained(18, "none")
    by = ready(model, "cpu", "torch")
    seen = by.classify(PIXELS, [PassRequest(EVERY, tuple(EVERY), TStage.T2)])
    last = raw_maps(by.head, seen.feature_map, "gradcam", TStage.T2)

    def brought(maps, factor):
        wide = torch.nn.functional.interpolate(
            torch.from_numpy(maps)[:, None], size=factor * (maps.shape[1] - 1) + 1, mode="bilinear", align_corners=True
        )
        beyond = 56 - wide.shape[-1]
        return torch.nn.functional.pad(wide, (0, beyond, 0, beyond), mode="replicate")[:, 0].numpy()

    def share(name, factor):
        maps = seen.maps[name]
        return brought(maps, factor) / maps.max(axis=(1, 2))[:, None, None]

    expected = brought(last, 8) * np.sqrt(share("layer2", 2) * share("stem", 1))
    found = compute_attention(by, seen, GRID, target=TStage.T2)
    assert (found.method, found.layers) == ("fine", ("layer4", "layer2", "stem"))
    assert found.mapped == (True, True, True)
    np.testing.assert_allclose(found.maps, expected, rtol=1e-4, atol=1e-6 * expected.max())


@pytest.mark.parametrize("depth", [18, pytest.param(152, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ORIENTED)
@pytest.mark.parametrize("place", [(78, 90), (120, 61)])
def test_the_fine_map_lies_within_a_pixel_of_a_planted_spot(name, place, depth):
    ct, point = planted(ORIENTED[name], place)
    slices, attention = attention_of(ct, 4, model=planted_model(depth=depth), method="fine")
    heat = attention.on(slices.native)
    assert np.linalg.norm(centroid(heat, slices.key) - point) < min(ct.GetSpacing()[:2])
    _, coarse = attention_of(ct, 4, model=planted_model(depth=depth))
    assert above_half(heat, slices.key) < 0.3 * above_half(coarse.on(slices.native), slices.key)


@pytest.mark.slow
def test_an_imported_checkpoint_of_152_layers_has_a_fine_map(tmp_path):
    """As the published training script writes it: imported, loaded, staged on an oblique and flipped scan."""
    file = tmp_path / "models.pth"
    state = {f"module.{key}": tensor for key, tensor in planted_model(depth=152).network.state_dict().items()}
    torch.save({"model_state_dict": state}, file)
    card, folder = import_checkpoint(file, recipe=GTR, name="planted", out=tmp_path / "models")
    assert (card.depth, card.head) == (152, "mean")
    ct, point = planted(ORIENTED["oblique and flipped"], (120, 61))
    by = load_model(str(folder), device="cpu")
    result = stage_case(scan_with_spot(ct), by, key_slice=keyslice.by_index(ct, 4))
    assert (result.attention.method, result.prediction.stage) == ("fine", TStage.T3)
    assert np.linalg.norm(centroid(result.heat, result.slices.key) - point) < min(ct.GetSpacing()[:2])
    assert result.model.map_check("fine") == "This map has not been checked for this model."


def scan_with_spot(spot):
    """Return a scan that is not judged as a whole as by `scan_of`: most of the volume is the rim of a ball in air."""
    return Scan(MemoryVoxels(spot), "HU", spacing_known=True, digest="ab" * 32, format="NIfTI")


def above_half(heat, z):
    values = np.asarray(geometry.sitk.GetArrayFromImage(heat))[z]
    return int((values >= 0.5 * values.max()).sum())


# -- which slices, which stage -------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["torch", "onnx"])
def test_the_map_of_the_key_slice_is_the_same_without_neighbours(backend):
    by = ready(weights.untrained(10, "none"), "cpu", backend)
    all_of_them = by.classify(PIXELS, [PassRequest(EVERY, tuple(EVERY))])
    one = by.classify(PIXELS, [PassRequest(EVERY, (1,))])
    assert one.targets.tolist() == [-1, all_of_them.targets[1], -1]
    np.testing.assert_allclose(one.logits, all_of_them.logits, atol=1e-4)
    target = TStage(int(one.targets[1]))
    found, expected = (compute_attention(by, seen, GRID, target=target) for seen in (one, all_of_them))
    assert found.mapped == (False, True, False)
    assert found.empty == (False, False, False)
    assert not found.maps[[0, 2]].any()
    np.testing.assert_allclose(found.maps[1], expected.maps[1], atol=1e-4 * expected.maps[1].max())


def test_cases_of_one_pass_have_each_their_own_stage():
    """As on a GPU, where one pass holds several cases."""
    by = ready(weights.untrained(10, "none"), "cpu", "torch")
    wanted = [PassRequest(EVERY, (0, 1, 2), TStage.T1), PassRequest(EVERY, (1,), TStage.T4).at(3)]
    assert (wanted[1].slices, wanted[1].shown) == (range(3, 6), (4,))
    both = by.classify(np.concatenate([PIXELS, PIXELS[::-1]]), wanted)
    assert both.targets.tolist() == [0, 0, 0, -1, 3, -1]
    alone = by.classify(PIXELS[::-1], [PassRequest(EVERY, (1,), TStage.T4)])
    for name in ("stem", "layer2"):
        np.testing.assert_allclose(both.maps[name][4], alone.maps[name][1], rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("backend", ["torch", "onnx"])
def test_without_a_target_it_is_the_stage_of_the_highest_mean_probability(backend):
    """The mean is over all slices of the case, also those without a map: here they outweigh the one with a map."""
    model = weights.untrained(10, "none")
    logits = passed(model.network, PIXELS).logits
    apart = [int(one.argmax()) for one in logits]
    with torch.no_grad():  # slice 1 favours T3 slightly, the others T2 clearly
        model.network.fc.bias.copy_(torch.tensor([-9.0, 0.0, 0.0, -9.0]))
        features = torch.from_numpy(passed(model.network, PIXELS).features)
        model.network.fc.weight[1:3] = 0
        model.network.fc.weight[1] = 400 * (features[[0, 2]].mean(dim=0) - features[1])
        model.network.fc.bias[1] = -(features[1] @ model.network.fc.weight[1]) - 0.1
    by = ready(model, "cpu", backend)
    seen = by.classify(PIXELS, [PassRequest(EVERY, (1,))])
    assert [int(one.argmax()) for one in seen.logits] == [1, 2, 1], apart
    assert seen.targets.tolist() == [-1, 1, -1]
    assert targets_of(seen.logits, [PassRequest(EVERY, (1,))], 1.0).tolist() == [1, 1, 1]


def test_if_vote_and_mean_differ_the_map_is_for_the_vote(monkeypatch):
    """Two slices favour T2 slightly, one T3 clearly; the gradients of the first pass are then for T3."""
    ct = ct_like()
    model = weights.untrained(10, "none")
    by = ready(model, "cpu", "torch")
    passes = []
    usual = type(by).classify

    def classify(self, pixels, wanted=()):
        seen = usual(self, pixels, wanted)
        passes.append([one.target for one in wanted])
        logits = np.log(np.array([[0.01, 0.5, 0.48, 0.01], [0.01, 0.5, 0.48, 0.01], [0.01, 0.01, 0.97, 0.01]]))
        targets = targets_of(logits, wanted, 1.0)
        return replace(seen, logits=logits.astype(np.float32), targets=targets)

    monkeypatch.setattr(type(by), "classify", classify)
    result = stage_case(scan_of(ct, "phantom"), by, key_slice=keyslice.by_index(ct, 4))
    assert result.prediction.stage == TStage.T2
    assert result.prediction.mean_probability_stage == TStage.T3
    assert passes == [[None], [TStage.T2]]
    assert result.attention.target == TStage.T2


def test_a_pass_without_the_gradients_is_refused():
    by = ready(weights.untrained(10, "none"), "cpu", "torch")
    for seen in (by.classify(PIXELS), by.classify(PIXELS, [PassRequest(EVERY, (0,), TStage.T1)])):
        with pytest.raises(InputError, match=r"no gradients for T2.*PassRequest"):
            compute_attention(by, seen, GRID, target=TStage.T2, method="fine")


def test_neighbours_have_no_map_unless_requested():
    ct = ct_like()
    result = stage_case(
        scan_of(ct, "phantom"),
        ready(weights.untrained(10, "none"), "cpu", "torch"),
        StagingOptions(neighbour_maps=False),
        key_slice=keyslice.by_index(ct, 4),
    )
    assert result.attention.mapped == (False, True, False)
    assert not any("empty" in text for text in result.warnings)
    usual = stage_case(
        scan_of(ct, "phantom"),
        ready(weights.untrained(10, "none"), "cpu", "torch"),
        StagingOptions(method="gradcam", neighbour_maps=False),
        key_slice=keyslice.by_index(ct, 4),
    )
    assert usual.attention.mapped == (True, True, True)


# -- which model takes which method --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def a_gated_model():
    network = weights.seeded_network(10, "none", 5, "gated").eval().requires_grad_(False)
    card = replace(weights.untrained(10, "none").card, name="a gated one", head="gated")
    return weights.Model(card, network)


def test_each_model_accepts_its_own_methods(a_gated_model):
    usual = weights.untrained(10, "none").card
    assert resolve_method(usual, "auto") == "fine"
    assert resolve_method(a_gated_model.card, "auto") == "gated"
    for method in METHODS:
        if method not in ("auto", "gated"):
            assert resolve_method(usual, method) == method
            with pytest.raises(InputError, match=rf"'{method.replace('+', '.')}' for model 'a gated one'.*'gated'"):
                resolve_method(a_gated_model.card, method)
    with pytest.raises(InputError, match="'gated' for model.*no gated head; expected any but 'gated'"):
        resolve_method(usual, "gated")


@pytest.mark.parametrize("backend", ["torch", "onnx"])
def test_the_shares_of_a_gated_decision_add_up_to_it(a_gated_model, backend):
    by = ready(a_gated_model, "cpu", backend)
    seen = by.classify(PIXELS)
    gate, evidence = seen.maps["gate"], seen.maps["evidence"]
    assert gate.shape == (3, 56, 56)
    shares = (
        gate[:, None] * (evidence - evidence.mean(axis=1, keepdims=True)) / gate.sum(axis=(1, 2))[:, None, None, None]
    )
    above = seen.logits - seen.logits.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(shares.sum(axis=(2, 3)), above, atol=1e-4)
    for stage in TStage:
        expected = np.maximum(shares[:, stage], 0)
        np.testing.assert_allclose(contributions(gate, evidence, stage), expected, atol=1e-6)
    np.testing.assert_allclose(seen.logits, passed(a_gated_model.network, PIXELS).logits, atol=1e-4)
    found = compute_attention(by, seen, GRID, target=TStage.T3)
    assert (found.method, found.layers) == ("gated", ("gate",))
    beside = comparison_map(by, seen, found)
    assert beside.method == "gate"
    np.testing.assert_array_equal(beside.maps, gate)


def test_a_fine_map_is_accompanied_by_grad_cam():
    by = ready(weights.untrained(10, "none"), "cpu", "torch")
    seen = by.classify(PIXELS, [PassRequest(EVERY, tuple(EVERY), TStage.T2)])
    fine = compute_attention(by, seen, GRID, target=TStage.T2)
    beside = comparison_map(by, seen, fine)
    assert (beside.method, beside.target) == ("gradcam", TStage.T2)
    np.testing.assert_array_equal(beside.maps, raw_maps(by.head, seen.feature_map, "gradcam", TStage.T2))
    assert comparison_map(by, seen, beside) is None


# -- what a map is compared with -----------------------------------------------------------------------------------


def test_the_mean_mask_is_resampled_like_the_map():
    """A mean mask with cells only on the planted spot covers it whole, on an oblique and flipped scan."""
    direction = rotation((1, 0.4, 0.3), 23) @ np.diag([-1.0, 1, -1])
    ct = ct_like(shape=(9, 160, 200), spacing=(1.5, 2.1, 4.0), direction=direction)
    from GTRStagingLib.staging.preprocess import prepare

    grid = prepare(ct, keyslice.by_index(ct, 4), GTR).grid
    spot = a_spot(ct, np.array(grid.TransformIndexToPhysicalPoint((96, 120, 1))))
    rows, columns = np.indices((56, 56)) * 4
    mean = np.exp(-((rows - 120) ** 2 + (columns - 96) ** 2) / 200).astype(np.float32)
    scan = scan_with_spot(spot)
    roi = Roi(spot > 0, "spot")
    model = planted_model()
    known = replace(model, mean_mask=mean)
    found = stage_case(scan, ready(known, "cpu", "torch"), tumour=roi).agreement
    usual = stage_case(scan, ready(model, "cpu", "torch"), tumour=roi).agreement
    assert math.isnan(usual.at_threshold.mean_mask_dice)
    assert "mean mask" in usual.reasons
    assert "mean mask" not in found.reasons
    best = 2 * min(found.at_threshold.area_mm2, found.roi_area_mm2) / (found.at_threshold.area_mm2 + found.roi_area_mm2)
    assert found.at_threshold.mean_mask_dice == pytest.approx(best, abs=0.03)
    elsewhere = replace(model, mean_mask=np.roll(mean, 20, axis=1))
    away = stage_case(scan, ready(elsewhere, "cpu", "torch"), tumour=roi).agreement
    assert away.at_threshold.mean_mask_dice == 0


def test_mapped_has_one_value_per_map():
    found = attention_of(planted(np.eye(3))[0], 4)[1]
    with pytest.raises(InputError, match="`mapped` has 1 values for 3 slices"):
        replace(found, mapped=(True,))
    assert (
        Attention(
            found.maps,
            *[getattr(found, n) for n in ("method", "layers", "target", "alignment", "grid", "rows", "columns")],
        ).mapped
        == (True,) * 3
    )
