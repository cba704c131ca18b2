"""Several looks at one case: mirrored and shifted slices, several models, their mean and their disagreement."""

import json
from dataclasses import replace

import jsonschema
import numpy as np
import pytest
import SimpleITK as sitk

from GTRStagingLib import StagingOptions
from GTRStagingLib.errors import InputError, WeightsError
from GTRStagingLib.imaging.geometry import empty_grid
from GTRStagingLib.imaging.rois import Roi
from GTRStagingLib.imaging.scans import scan_of
from GTRStagingLib.model import weights
from GTRStagingLib.model.backbone import load_models, ready
from GTRStagingLib.model.cells import CellGrid, half_pixel_centres
from GTRStagingLib.model.logits import probabilities
from GTRStagingLib.model.recipe import RELEASED
from GTRStagingLib.model.registry import CARD_FILE
from GTRStagingLib.model.several import SeveralCards, folds_table, joined, members_of, with_folds
from GTRStagingLib.model.torch_backbone import TorchBackbone
from GTRStagingLib.phantoms.phantom import make_phantom
from GTRStagingLib.results.outputs import write_outputs
from GTRStagingLib.results.record import schema, to_json
from GTRStagingLib.results.words import looks_in_words
from GTRStagingLib.stages import TStage
from GTRStagingLib.staging.attention import Attention
from GTRStagingLib.staging.looks import AS_PREPARED, SEVERAL_LOOKS, SHIFT, VIEWS, View, mean_map, spread
from GTRStagingLib.staging.pipeline import stage_case
from GTRStagingLib.staging.stage_set import UNLIKE
from GTRStagingLib.tables.case_files import DISAGREEMENT


@pytest.fixture(scope="module")
def phantom():
    return make_phantom(TStage.T2, seed=5, size=128)


@pytest.fixture(scope="module")
def scan(phantom):
    return scan_of(phantom.ct, "phantom")


@pytest.fixture(scope="module")
def demonstration():
    return ready(weights.load("demonstration"), "cpu", "torch")


@pytest.fixture(scope="module")
def tta(scan, phantom, demonstration):
    return stage_case(scan, demonstration, StagingOptions(tta=True), tumour=Roi(phantom.tumour, "tumour"))


@pytest.fixture(scope="module")
def single(scan, phantom, demonstration):
    return stage_case(scan, demonstration, tumour=Roi(phantom.tumour, "tumour"))


def small(seed, name, **changes):
    """A network of depth 10 with seeded random weights."""
    model = weights.untrained(10, "none", seed)
    return ready(weights.Model(replace(model.card, name=name, **changes), model.network), "cpu", "torch")


# -- views ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.name)
def test_a_map_of_changed_slices_lies_where_its_pixels_came_from(view):
    """A map of one cell a pixel, equal to the changed picture, is the picture again after it is brought back."""
    height, width = 40, 32
    picture = np.zeros((1, 3, height, width), np.float32)
    picture[:, :, 10:30, 8:24] = np.random.default_rng(0).random((20, 16))
    seen = view.of(picture)[:, 0]
    grid = empty_grid((width, height, 1), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
    one = CellGrid(1.0, 0.0)
    image = sitk.Image([width, height, 1], sitk.sitkFloat32)
    image.CopyInformation(sitk.GetImageFromArray(np.zeros((1, height, width), np.float32)))
    back = view.undone(Attention(seen, "fine", ("stem",), TStage.T1, "receptive_field", grid, one, one))
    assert sitk.GetArrayFromImage(back.on(image))[0] == pytest.approx(picture[0, 0], abs=1e-6)
    if view is not AS_PREPARED:
        assert not np.array_equal(seen, picture[:, 0])


def test_a_shift_is_no_whole_number_of_cells_of_any_layer(demonstration):
    assert all(SHIFT % round(cells.step) for cells in demonstration.cells.values())
    assert max(cells.step for cells in demonstration.cells.values()) > SHIFT


def test_a_mirrored_map_of_half_pixel_cells_keeps_its_centres():
    cells = half_pixel_centres(7, 224)
    grid = sitk.Image([224, 224, 1], sitk.sitkUInt8)
    maps = np.arange(49, dtype=np.float32).reshape(1, 7, 7)
    back = View("", mirrored=True).undone(Attention(maps, "gradcam", (), TStage.T1, "half_pixel", grid, cells, cells))
    assert back.columns == cells
    assert (back.maps == maps[..., ::-1]).all()


# -- mean and spread -----------------------------------------------------------------------------------------------


def test_the_spread_is_the_entropy_of_the_mean_less_the_mean_entropy():
    p = np.random.default_rng(2).dirichlet(np.ones(4), size=5)

    def entropy(shares):
        return -(shares * np.log2(shares)).sum(axis=-1)

    assert spread(p) == pytest.approx(entropy(p.mean(axis=0)) - entropy(p).mean(), abs=1e-8)
    assert spread(np.eye(4)) == 2


def test_the_mean_map_weighs_each_look_alike_and_the_deviation_shows_where_they_differ():
    cells, grid = CellGrid(4.0, 1.5), sitk.Image([8, 8, 1], sitk.sitkUInt8)

    def one(*values):
        maps = np.array(values, np.float32).reshape(1, 2, 2)
        return Attention(maps, "gated", ("gate",), TStage.T1, "receptive_field", grid, cells, cells)

    mean, deviation = mean_map([one(10, 0, 0, 5), one(0.1, 0.1, 0, 0.05), one(0, 0, 0, 0)])
    assert mean.maps.ravel() == pytest.approx([2 / 3, 1 / 3, 0, 1 / 3])
    assert deviation.maps.ravel() == pytest.approx(np.std([[1, 1, 0], [0, 1, 0], [0, 0, 0], [0.5, 0.5, 0]], axis=1))
    with pytest.raises(InputError, match="several stages"):
        mean_map([one(1, 1, 1, 1), replace(one(1, 1, 1, 1), target=TStage.T2)])


# -- one case ------------------------------------------------------------------------------------------------------


def test_without_several_looks_the_result_is_that_of_one_pass(scan, phantom, demonstration, single):
    """The same as a tuple of one model; the record of one look differs from that of earlier versions by nulls alone."""
    again = stage_case(scan, (demonstration,), tumour=Roi(phantom.tumour, "tumour"))
    one, other = to_json(single), to_json(again)
    assert one["looks"] is None
    for record in (one, other):
        del record["timings_s"], record["provenance"]["utc"]
    assert json.dumps(one) == json.dumps(other)
    seen = demonstration.classify(single.slices.pixels)
    expected = probabilities(seen.logits, demonstration.card)
    assert np.array([s.probabilities for s in single.prediction.slices]) == pytest.approx(expected, abs=1e-6)


def test_views_of_one_model_vote_by_their_mean(tta, single, demonstration):
    looks = tta.looks
    assert [look.view for look in looks.each] == [view.name for view in VIEWS]
    first = looks.each[0].prediction
    assert first == single.prediction
    each = np.array([[s.probabilities for s in look.prediction.slices] for look in looks.each])
    assert np.array([s.probabilities for s in tta.prediction.slices]) == pytest.approx(each.mean(axis=0))
    assert looks.spread == spread(each.mean(axis=1)) > 0
    mirrored = demonstration.classify(np.ascontiguousarray(single.slices.pixels[..., ::-1]))
    expected = probabilities(mirrored.logits, demonstration.card)
    assert each[1] == pytest.approx(expected, abs=1e-5)
    assert tta.attention.maps.max() <= 1
    assert tta.comparison is looks.disagreement
    assert sitk.GetArrayFromImage(looks.volume).max() > 0
    assert looks.volume.GetSize() == tta.attention_volume.GetSize()


def test_what_is_of_one_look_is_withheld_or_of_the_unchanged_look(tta, single):
    assert single.stage_set is not None
    assert tta.stage_set.stages == ()
    assert tta.stage_set.withheld == (UNLIKE if single.familiarity.verdict == "unlike" else SEVERAL_LOOKS)
    assert tta.familiarity == single.familiarity  # a mirrored slice would be unlike
    assert (tta.features == single.features).all()
    assert tta.map_verdict == "not checked"
    assert "6 looks" in tta.map_check
    assert single.map_check == single.model.map_check("gated")
    assert tta.provenance.weights_sha256 == single.provenance.weights_sha256


def test_two_models_are_warned_of_and_described_each(scan, phantom, demonstration, tmp_path):
    both = stage_case(scan, [demonstration, small(1, "second")], tumour=Roi(phantom.tumour, "tumour"))
    assert both.model.name == "demonstration + second"
    assert both.model.status == "untrained"
    for name in ("'demonstration' is a DEMONSTRATION", "'second' is UNTRAINED"):
        assert any(name in text for text in both.warnings)
        assert name in both.model.warning
    assert both.attention.method == "mixed"
    assert [one.verdict for one in both.looks.familiarity][1] == "not known"
    assert both.stage_set.withheld
    record = to_json(both)
    jsonschema.validate(record, schema())
    assert [one["weights_sha256"] for one in record["looks"]["models"]] == [c.sha256 for c in both.looks.models]
    assert record["provenance"]["weights_sha256"] not in {c.sha256 for c in both.looks.models}
    given = looks_in_words(both)
    assert given.startswith("2 looks by 2 models: ")
    paths = write_outputs(both, tmp_path / "out")
    page = paths["report.html"].read_text()
    assert page.count("is UNTRAINED") >= 2
    for card in both.looks.models:
        assert card.sha256 in page
    assert sitk.ReadImage(str(paths[DISAGREEMENT])).GetSize() == both.attention_volume.GetSize()


def test_a_result_of_one_look_leaves_no_older_disagreement(tta, single, tmp_path):
    assert DISAGREEMENT in write_outputs(tta, tmp_path)
    jsonschema.validate(json.loads((tmp_path / "result.json").read_text()), schema())
    assert DISAGREEMENT not in write_outputs(single, tmp_path)
    assert not (tmp_path / DISAGREEMENT).exists()


def test_fine_maps_of_several_models_are_for_the_common_stage(scan):
    """The two models vote for different stages, so that one has to compute its gradients again."""
    models = [small(seed, f"m{seed}") for seed in range(8)]
    stages = {stage_case(scan, one, key_slice=10).prediction.stage: one for one in models}
    assert len(stages) > 1, "expected random models that differ"
    pair = list(stages.values())[:2]
    found = stage_case(scan, pair, key_slice=10)
    assert found.attention.target == found.prediction.stage
    assert found.attention.method == "fine"
    assert any("looks disagree" in text for text in found.warnings)
    order = stage_case(scan, pair[::-1], key_slice=10)
    assert order.prediction.probabilities == pytest.approx(found.prediction.probabilities)
    assert order.attention.maps == pytest.approx(found.attention.maps, abs=1e-6)


def test_a_gated_and_a_fine_map_have_the_key_slice_in_common(scan, demonstration):
    """As in a batch: a gated head maps all three slices at once, a fine map is made of the key slice alone."""
    options = StagingOptions(neighbour_maps=False)
    pair = [demonstration, small(1, "second")]
    found = stage_case(scan, pair, options, key_slice=10).attention
    assert found.mapped == (False, True, False)
    assert found.maps[[0, 2]].max() == 0
    assert found.maps[1].max() > 0
    order = stage_case(scan, pair[::-1], options, key_slice=10).attention
    assert order.mapped == found.mapped


# -- which models go together --------------------------------------------------------------------------------------


def test_the_same_weights_twice_are_refused(scan, demonstration):
    with pytest.raises(InputError, match="would count twice"):
        stage_case(scan, [demonstration, demonstration])
    with pytest.raises(InputError, match="would count twice"):
        load_models(["demonstration", "demonstration"], "cpu", "torch")


def test_models_of_other_recipes_are_refused_by_what_differs(demonstration):
    other = replace(demonstration.card, name="other", sha256="ab" * 32, recipe=RELEASED)
    with pytest.raises(InputError, match=r"'other' have different recipes \(name, spacing_mm, quantised"):
        joined([demonstration.card, other])


def test_what_is_no_model_is_refused(scan, demonstration):
    with pytest.raises(InputError, match="expected a backbone"):
        stage_case(scan, [demonstration, "untrained"])
    with pytest.raises(InputError, match="No model"):
        stage_case(scan, [])


def test_the_common_card_depends_on_each_card(demonstration):
    second = replace(demonstration.card, name="second", sha256="ab" * 32, status="trained")
    both = joined([demonstration.card, second])
    assert isinstance(both, SeveralCards)
    assert members_of(both) == (demonstration.card, second)
    assert joined([demonstration.card, replace(second, temperature=3.0)]).card_sha256 != both.card_sha256
    assert both.check is both.stage_sets is both.familiarity is None
    assert both.warning == demonstration.card.warning


def folds(folder, *names):
    for name in names:
        (folder / name).mkdir(parents=True)
        (folder / name / CARD_FILE).write_text("{}")


def table(folder, training, number):
    """The table of a complete training, of which only the number of rows counts."""
    rows = ["fold,accuracy", *(f"{training}-fold{n},0.9" for n in range(1, number + 1)), "mean,0.9", "sd,0.0"]
    folds_table(folder / training).write_text("\n".join(rows) + "\n")


def test_folds_are_found_by_their_training_or_their_folder(tmp_path):
    folds(tmp_path, *(f"mine-fold{n}" for n in (10, 2, 1, 9, 8, 7, 6, 5, 4, 3)), "another")
    table(tmp_path, "mine", 10)
    expected = [f"mine-fold{n}" for n in range(1, 11)]
    found = with_folds([str(tmp_path / "mine"), "untrained"])
    assert [path.rsplit("/", 1)[-1] for path in found] == [*expected, "untrained"]
    folds(tmp_path / "inside", "mine-fold1", "mine-fold2")
    table(tmp_path / "inside", "mine", 2)
    assert len(with_folds(str(tmp_path / "inside"))) == 2
    assert with_folds("nowhere") == ("nowhere",)  # loading it names the models that exist


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["mine-fold1", "mine-fold3"], "the folds 1 to 3; there are 1, 3"),
        (["mine-fold1", "mine-fold2"], "the folds 1 to 3; there are 1, 2"),  # the last one is missing
        (["mine-fold1", "mine-fold2", "mine-fold3", "mine-fold4"], "the folds 1 to 3; there are 1, 2, 3, 4"),
        (["mine-fold1", "mine-fold2", "another"], "contains the models another, mine-fold…"),
        (["mine-fold1", "yours-fold2"], "contains the models mine-fold…, yours-fold…"),
    ],
)
def test_folds_that_are_not_one_complete_training_are_refused(tmp_path, names, words):
    folds(tmp_path, *names)
    table(tmp_path, "mine", 3)
    with pytest.raises(WeightsError, match=words):
        with_folds(str(tmp_path))


def test_folds_of_a_training_that_has_not_ended_are_refused(tmp_path):
    folds(tmp_path, "mine-fold1", "mine-fold2")
    with pytest.raises(WeightsError, match=r"there is no mine-folds\.csv, which a training writes when all"):
        with_folds(str(tmp_path / "mine"))


def test_a_backbone_of_another_process_is_a_backbone_too(demonstration):
    assert isinstance(demonstration, TorchBackbone)
    assert members_of(demonstration.card) == (demonstration.card,)
