"""Training of a gated head: masks, loss, frozen layers and the model's card."""

import csv
import json
import os
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from conftest import ct_like, on_grid_of, rotation
from helpers.trainings import HERE, SMALL, a_cohort

from GTRStagingLib.cli import main as cli
from GTRStagingLib.cohort.audit import audit
from GTRStagingLib.cohort.cohort import Case, Cohort, write_cohort
from GTRStagingLib.errors import InputError, WeightsError
from GTRStagingLib.imaging import geometry
from GTRStagingLib.model import registry, weights
from GTRStagingLib.model.backbone import verify
from GTRStagingLib.model.card import GATE_STRIDE, HeadKind
from GTRStagingLib.model.network import receptive_centres
from GTRStagingLib.model.recipe import GTR
from GTRStagingLib.stages import TStage
from GTRStagingLib.training import gating, loop, train
from GTRStagingLib.training.dataset import SliceSet, training_loader
from GTRStagingLib.training.plan import Plan
from GTRStagingLib.training.slice_cache import cache_slices

PLAN = Plan(
    depth=10,
    recipe=SMALL,
    init="random",
    max_epochs=1,
    batch_size=8,
    learning_rate=1e-3,
    demonstration=True,
)
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Every other case has an ROI (`a_cohort`); the others a key slice alone."""
    return a_cohort(tmp_path_factory.mktemp("volumes") / "c", 20, validation=8)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def trained(cohort, cache):
    """A training on the cohort, audited once."""
    audited = audit(cohort, content=True)

    def run(folder, plan, *, of=cohort, **options):
        return train.train(of, folder, plan, HERE, cache=cache, audited=audited, **options)

    return run


@pytest.fixture(scope="module")
def plain(trained, tmp_path_factory):
    """The folder of a model with the usual head."""
    folder = tmp_path_factory.mktemp("plain") / "plain"
    trained(folder, PLAN)
    return folder


@pytest.fixture(scope="module")
def on_it(plain):
    """The plan of a gated head on the plain model's frozen backbone."""
    return replace(PLAN, head="gated", init=str(plain), freeze_backbone=True, max_epochs=2)


@pytest.fixture(scope="module")
def gated(trained, on_it, tmp_path_factory):
    folder = tmp_path_factory.mktemp("gated") / "gated"
    reported = []
    card = trained(folder, on_it, progress=train.TrainingProgress(report=reported.append))
    return folder, card, reported


def metrics(folder):
    with (folder.with_name(f"{folder.name}-run") / "metrics.csv").open() as stream:
        return list(csv.DictReader(stream))


# -- masks ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by_hand", [True, False], ids=["key slice given", "key slice by area"])
def test_the_mask_lies_at_the_centres_of_the_gates_cells(tmp_path, by_hand):
    """On an oblique scan, stored from the head down: to a quarter of a cell of the true centre of the ROI."""
    ct = ct_like((5, 90, 80), (2.0, 2.1, 5.0), rotation((1, 0.2, 0.1), 12), origin=(40.0, -20.0, 100.0))
    voxels = np.zeros((5, 90, 80), np.uint8)
    voxels[2, 30:41, 50:57] = 1
    paths = [tmp_path / "ct.nii.gz", tmp_path / "roi.nii.gz"]
    for image, path in zip((ct, on_grid_of(voxels, ct)), paths, strict=True):
        sitk.WriteImage(sitk.Flip(sitk.PermuteAxes(image, (1, 0, 2)), (False, True, True)), str(path))
    key = {"key_slice": 2} if by_hand else {}
    case = Case(case_id="a", patient_id="a", image=paths[0], roi=paths[1], stage=TStage.T2, **key)
    (kept,) = cache_slices([case], GTR, tmp_path / "cache")
    assert kept.offsets == (-1, 0, 1)
    samples = SliceSet([kept], GTR, masks=True)
    cells = [samples[0, index][3] for index in range(3)]
    assert [bool(one.any()) for one in cells] == [False, True, False]
    # Where the cells look, in the patient: from pixels of the network's input, 224 a side, over the square field.
    grid = geometry.resized_grid(geometry.square_grid(geometry.axial_slices(ct, 1, 3), GTR.spacing_mm), (224, 224))
    looks = receptive_centres(weights.seeded_network(10, "none", 0), "stem")
    rows, columns = np.indices(cells[1].shape) * looks.step + looks.first
    at = [float((axis * cells[1]).sum() / cells[1].sum()) for axis in (columns, rows)]
    found = grid.TransformContinuousIndexToPhysicalPoint([*at, 1.0])
    truth = ct.TransformContinuousIndexToPhysicalPoint([53.0, 35.0, 2.0])
    np.testing.assert_allclose(found, truth, atol=looks.step * grid.GetSpacing()[0] / 4)
    area = cells[1].sum() * looks.step**2 * np.prod(grid.GetSpacing()[:2])
    assert area == pytest.approx(11 * 7 * 2.0 * 2.1, rel=0.02)


def test_another_roi_is_another_mask_even_with_a_key_slice(tmp_path):
    case = replace(a_cohort(tmp_path / "c", 2).cases[1], key_slice=2)
    (first,) = cache_slices([case], SMALL, tmp_path / "cache")
    (same,) = cache_slices([case], SMALL, tmp_path / "cache")
    assert same == first
    roi = sitk.ReadImage(str(case.roi))
    sitk.WriteImage(sitk.BinaryDilate(roi, (1, 1, 0)), str(case.roi))
    (second,) = cache_slices([case], SMALL, tmp_path / "cache")
    assert second.key == first.key  # the slices are what they were
    assert second.covered().sum() > first.covered().sum() > 0
    (without,) = cache_slices([replace(case, roi=None)], SMALL, tmp_path / "cache")
    assert (without.key, without.mask, without.covered()) == (first.key, None, None)


def test_a_damaged_mask_is_made_again(tmp_path):
    case = a_cohort(tmp_path / "c", 2).cases[1]
    (first,) = cache_slices([case], SMALL, tmp_path / "cache")
    whole = first.covered()
    (file,) = (tmp_path / "cache" / "masks").iterdir()
    file.write_bytes(file.read_bytes()[:-9])
    (again,) = cache_slices([case], SMALL, tmp_path / "cache")
    assert (again.covered() == whole).all()


def test_samples_contain_requested_masks(cohort, cache):
    cases = cache_slices(cohort.cases[:2], SMALL, cache)
    samples = SliceSet(cases, SMALL, augment=0, masks=True)
    (batch,) = list(training_loader(samples, batch_size=6, seed=0))
    pixels, _, index, masks = batch
    assert masks.shape == (6, 8, 8)
    assert masks.isnan().all(dim=(1, 2)).tolist() == (index < 3).tolist()
    # In these cases the tumour is drawn in the key slice alone.
    assert sorted(index[gating.usable(masks)].tolist()) == [4]
    bare = SliceSet(cases, SMALL, augment=0)
    for number, at in enumerate(index.tolist()):
        assert (bare[0, at][0] == pixels[number].numpy()).all()
        assert bare[0, at][3].size == 0


# -- the loss ------------------------------------------------------------------------------------------------------


def test_the_mask_loss_is_least_where_the_gate_is_the_mask():
    masks = torch.zeros(3, 8, 8)
    masks[0, 2:4, 3:7] = 1.0
    masks[1] = torch.nan
    right = torch.where(masks > 0.5, 9.0, -9.0)
    elsewhere = right.roll(3, dims=1)
    assert gating.mask_loss(right, masks) < 0.01
    assert gating.mask_loss(elsewhere, masks) > 5
    assert gating.mask_loss(torch.zeros(3, 8, 8), masks) == pytest.approx(np.log(2) + 1 - 8 / (32 + 8))
    # What is not known counts for nothing, in value and in gradient.
    unknown = elsewhere.clone().requires_grad_()
    gating.mask_loss(unknown, masks).backward()
    assert unknown.grad[0].abs().sum() > 0
    assert unknown.grad[1:].abs().sum() == 0
    assert gating.mask_loss(elsewhere[1:], masks[1:]) == 0


def test_dice_of_a_gate():
    masks = torch.zeros(2, 8, 8)
    masks[:, 2:4, 2:6] = 1
    maps = torch.zeros(2, 8, 8)
    maps[0, 2:4, 2:6], maps[0, 0, 0] = 0.4, 0.1  # below half of its maximum
    maps[1, 2:4, 4:8] = 0.9
    assert gating.dice(maps, masks).tolist() == [1.0, 0.5]


# -- what comes of it ----------------------------------------------------------------------------------------------


def test_a_frozen_backbone_keeps_every_bit(gated, plain):
    before, after = (weights.load(str(one)).network.state_dict() for one in (plain, gated[0]))
    backbone = [key for key in before if not key.startswith("fc.")]
    assert all(torch.equal(before[key], after[key]) for key in backbone)
    assert {key.split(".")[0] for key in set(after) - set(backbone)} == {"gate"}
    fresh = weights.seeded_network(10, "none", PLAN.seed, "gated").state_dict()
    learned = [key for key in fresh if key.startswith("gate.") and key.endswith("weight")]
    assert not any(torch.equal(fresh[key], after[key]) for key in learned)


def test_without_the_flag_the_backbone_learns_too(tmp_path, trained, on_it, plain):
    trained(tmp_path / "m", replace(on_it, freeze_backbone=False, max_epochs=1))
    before, after = (weights.load(str(one)).network.state_dict() for one in (plain, tmp_path / "m"))
    for key in ("conv1.weight", "bn1.running_mean", "layer4.0.conv2.weight"):
        assert not torch.equal(before[key], after[key])


def test_the_usual_head_can_be_trained_alone(tmp_path, trained, plain):
    card = trained(tmp_path / "m", replace(PLAN, init=str(plain), freeze_backbone=True))
    before, after = (weights.load(str(one)).network.state_dict() for one in (plain, tmp_path / "m"))
    assert {key for key in before if not torch.equal(before[key], after[key])} == {"fc.weight", "fc.bias"}
    assert card.head == "mean"


def test_the_card_contains_the_head_and_the_number_of_masks(gated, plain):
    folder, card, reported = gated
    assert weights.load(str(folder)).card == card
    assert card.head_in_words == "gated, stride 4, masks of 6 cases"
    assert card.provenance.endswith(f"a new gated head on the backbone of 'plain', weights sha256 {sha(plain)}")
    assert any("ROIs of 6 of 12 training cases" in text for text in reported)
    assert card.training["data"]["training"]["masks"] == 6
    assert card.training["data"]["validation"]["masks"] == 4
    assert card.training["plan"]["freeze_backbone"] is True
    rows = metrics(folder)
    assert all(0 <= float(row["val_gate_dice"]) <= 1 for row in rows)


def sha(folder):
    return json.loads((folder / "card.json").read_text())["sha256"]


def test_the_mean_mask_is_that_of_the_key_slices_learned_from(gated, plain, cohort, cache):
    """The tumours are bright boxes from voxel (10, 10) on, of 6 mm; the field is 32 pixels of 6 mm, 8 cells."""
    learned = [case for case in cohort.cases if case.split == "train" and case.roi is not None]
    expected = np.zeros((32, 32))
    for case in learned:
        expected += sitk.GetArrayFromImage(sitk.ReadImage(str(case.roi)))[2] / len(learned)
    for folder in (gated[0], plain):  # whatever the head
        found = weights.load(str(folder)).mean_mask
        assert found.shape == (8, 8)
        assert found.sum() * GATE_STRIDE**2 == pytest.approx(expected.sum(), rel=1e-2)
        # A cell reaches from the middle of a pixel to the middle of the fourth after it.
        assert found[3, 3] == pytest.approx(np.mean(mid(expected[10:15, 10:15])), abs=1e-2)
    assert weights.load(str(plain)).card.masks == 0


def mid(block):
    """The means of neighbours, along both axes."""
    rows = (block[1:] + block[:-1]) / 2
    return (rows[:, 1:] + rows[:, :-1]) / 2


def test_the_gate_learns_the_tumour(tmp_path, trained, on_it):
    """From the ROIs of six cases; the tumour is the only bright region."""
    trained(tmp_path / "m", replace(on_it, freeze_backbone=False, max_epochs=12, augment=False, patience=12))
    dice = [float(row["val_gate_dice"]) for row in metrics(tmp_path / "m")]
    assert max(dice) > 0.6 > dice[0]


def test_a_training_without_masks_is_reported(tmp_path, trained, on_it, cohort, cache):
    bare = Cohort(tuple(replace(case, roi=None, key_slice=2) for case in cohort.cases))
    reported = []
    card = trained(
        tmp_path / "m", replace(on_it, max_epochs=1), of=bare, progress=train.TrainingProgress(report=reported.append)
    )
    assert any("None of the 12 training cases has an ROI: THE GATE IS NOT TRAINED" in text for text in reported)
    assert card.head_in_words == "gated, stride 4, masks of 0 cases"
    assert card.mean_mask_sha256 is None
    assert "val_gate_dice" not in metrics(tmp_path / "m")[0]


def test_fine_tuning_a_gated_model_keeps_its_gate(tmp_path, trained, gated, on_it, cohort):
    folder, card, _ = gated
    plan = replace(on_it, init=str(folder), max_epochs=1, learning_rate=1e-9)  # it hardly moves
    bare = Cohort(tuple(replace(case, roi=None, key_slice=2) for case in cohort.cases))
    again = trained(tmp_path / "m", plan, of=bare)
    before, after = (weights.load(str(one)).network.state_dict() for one in (folder, tmp_path / "m"))
    assert all(torch.allclose(before[k], after[k], atol=1e-6) for k in before if k.endswith("weight"))
    assert again.masks == card.masks  # which this gate learned from, once
    assert f"fine-tuned from 'gated', weights sha256 {card.sha256}" in again.provenance
    back, _ = train._initial(replace(plan, head="mean"))
    assert back.provenance.startswith("a new mean head on the backbone of 'gated'")
    assert torch.equal(back.network.conv1.weight, weights.load(str(folder)).network.conv1.weight)


def test_few_validation_patients_give_no_verdict(gated):
    card = gated[1]
    assert card.check["verdict"] == "not checked"
    assert "fewer than" in card.check["summary"]
    assert card.check_in_words.startswith("This map has not been checked for this model: ")


def test_the_maps_are_checked_on_the_validation_side(tmp_path):
    """The check reads the images; with a cache alone, the model stays unchecked and a sentence reports it."""
    many = a_cohort(tmp_path / "many", 28, validation=24)
    how = {"cache": tmp_path / "cache", "audited": audit(many, content=True)}
    card = train.train(many, tmp_path / "checked", PLAN, HERE, **how)
    assert card.check["verdict"] in ("passed", "failed")
    assert (card.check["method"], card.check["cases"], card.check["patients"]) == ("fine", 24, 24)
    assert set(card.check["tests"]) == {"empty_maps", "location", "other_stage", "deletion", "random_weights"}
    assert card.check["mean_mask"] == "of the model"
    assert registry.read_card(tmp_path / "checked") == card
    for path in (tmp_path / "many").glob("*.nii.gz"):
        path.unlink()
    reported = []
    unseen = train.train(
        many, tmp_path / "unseen", PLAN, HERE, progress=train.TrainingProgress(report=reported.append), **how
    )
    assert unseen.check is None
    assert any(text.startswith("The model's maps were not checked. No case could be staged") for text in reported)
    assert unseen.check_in_words == "This map has not been checked for this model."


def test_a_check_that_is_interrupted_does_not_cost_the_model(tmp_path, trained, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "check_model", interrupted)
    reported = []
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "m", PLAN, progress=train.TrainingProgress(report=reported.append))
    assert reported[-1] == "Checking the maps on validation cases."
    assert verify(str(tmp_path / "m")).check is None
    assert not list((tmp_path / "m-run").glob("*.ckpt"))
    assert trained(tmp_path / "m", PLAN, resume=True) == registry.read_card(tmp_path / "m")


def test_stored_in_half_the_space(tmp_path, trained, on_it):
    card = trained(tmp_path / "m", replace(on_it, max_epochs=1, half=True))
    assert card.head == "gated"
    size = sum(tensor.nbytes for tensor in weights.load(str(tmp_path / "m")).network.state_dict().values())
    assert (tmp_path / "m" / "model.safetensors").stat().st_size < 0.51 * size + 20_000


def test_a_killed_and_resumed_run_gives_the_same_bits(tmp_path, trained, on_it, gated, monkeypatch):
    """Stopped in the second epoch; resuming with another mask weight is refused."""
    step, left = loop.Staging.training_step, [4]

    def stopping(self, batch, number):
        left[0] -= 1
        if left[0] == 0:
            raise RuntimeError("the power went")
        return step(self, batch, number)

    with monkeypatch.context() as patched:
        patched.setattr(loop.Staging, "training_step", stopping)
        with pytest.raises(RuntimeError, match="the power went"):
            trained(tmp_path / "m", on_it)
    other = replace(on_it, mask_weight=2.0, freeze_backbone=False, head="mean")
    with pytest.raises(InputError, match=r"head: gated, mean; freeze_backbone: True, False; mask_weight: 1.0, 2.0"):
        trained(tmp_path / "m", other, resume=True)
    card = trained(tmp_path / "m", on_it, resume=True)
    assert card.sha256 == gated[1].sha256
    assert card.mean_mask_sha256 == gated[1].mean_mask_sha256


def test_a_run_is_not_resumed_with_other_masks(tmp_path, trained, on_it, cohort, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(loop, "fit", None)  # whoever calls it fails
        with pytest.raises(TypeError):
            trained(tmp_path / "m", on_it)
    fewer = Cohort(tuple(replace(c, roi=None, key_slice=2) if c.case_id == "case19" else c for c in cohort.cases))
    with pytest.raises(InputError, match="started with other data"):
        trained(tmp_path / "m", on_it, of=fewer, resume=True)


# -- faults and words ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change", [{"head": "gatd"}, {"mask_weight": 0.0}, {"init": "random", "freeze_backbone": True}]
)
def test_contradictory_plans_are_refused(change):
    with pytest.raises(InputError, match="expected"):
        replace(PLAN, **change)


def test_a_frozen_backbone_is_not_left_at_random_weights(tmp_path, trained):
    with pytest.raises(WeightsError, match="no ImageNet weights of ResNet-10"):
        trained(tmp_path / "m", replace(PLAN, init="auto", freeze_backbone=True))


def test_the_command_takes_the_network_of_the_model_it_starts_from(tmp_path, capfd, monkeypatch):
    """Fine-tune a model of another recipe: depth and recipe need not be repeated."""
    from GTRStagingLib.cli import train as words

    assert get_args(HeadKind) == words.HEADS
    write_cohort(a_cohort(tmp_path / "c", 8), tmp_path / "cohort.csv")
    model = weights.seeded_network(10, "none", 0).eval()
    card = replace(weights.untrained(10, "none").card, name="published", recipe=SMALL, status="trained")
    weights.save(weights.Model(card, model), tmp_path / "published")
    monkeypatch.setitem(os.environ, "GTRSTAGING_MODELS", str(tmp_path))
    arguments = ["train", tmp_path / "cohort.csv", "--init", "published", "--head", "gated", "--freeze-backbone",
                 "--cache", tmp_path / "cache", "--max-epochs", "1", "--batch-size", "8", "--workers", "0",
                 "--accelerator", "cpu", "--out", tmp_path / "g"]  # fmt: skip
    assert cli.main([str(one) for one in arguments]) == 0
    assert "Head       gated, stride 4, masks of 2 cases" in capfd.readouterr().out
    made = verify(str(tmp_path / "g"))
    assert (made.depth, made.fusion, made.recipe, made.head) == (10, "none", SMALL, "gated")
    assert cli.main(["models", "list"]) == 0
    listed = capfd.readouterr().out.splitlines()
    assert any(line.startswith("g ") and "gated, stride 4, masks of 2 cases" in line for line in listed)
    assert cli.main(["models", "show", "g"]) == 0
    assert capfd.readouterr().err.startswith("Head: gated, stride 4, masks of 2 cases\n")
