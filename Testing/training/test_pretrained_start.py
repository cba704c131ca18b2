"""Trainings from a file of weights: initial weights, card, and resuming."""

import json
import shutil
from dataclasses import replace

import pytest
import safetensors.torch
import torch
from helpers.checkpoints import a_resnet
from helpers.trainings import HERE, SMALL, a_cohort
from torch import nn

from GTRStagingLib.cli import main as cli
from GTRStagingLib.cohort.audit import audit
from GTRStagingLib.cohort.cohort import write_cohort
from GTRStagingLib.errors import InputError, WeightsError
from GTRStagingLib.model import registry, weights
from GTRStagingLib.support.files import sha256_of
from GTRStagingLib.training import train
from GTRStagingLib.training.cross_validation import train_folds
from GTRStagingLib.training.plan import Plan

PLAN = Plan(depth=10, recipe=SMALL, max_epochs=1, batch_size=8, learning_rate=1e-9, demonstration=True)
"""With a small learning rate, so that the model's weights are close to the initial ones."""

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return a_cohort(tmp_path_factory.mktemp("volumes") / "c", 16, validation=4)


@pytest.fixture(scope="module")
def trained(cohort, tmp_path_factory):
    """A training on the cohort, which was audited once."""
    cache, audited = tmp_path_factory.mktemp("cache"), audit(cohort, content=True)

    def run(folder, plan=PLAN, **options):
        return train.train(cohort, folder, plan, HERE, cache=cache, audited=audited, **options)

    return run


@pytest.fixture(scope="module")
def network():
    return a_resnet(10, classes=165)


@pytest.fixture(scope="module")
def weights_file(network, tmp_path_factory):
    """As RadImageNet's own release names its tensors."""
    path = tmp_path_factory.mktemp("downloads") / "learned-on-ct.pt"
    torch.save({f"backbone.{k}": t for k, t in nn.Sequential(*list(network.children())[:9]).state_dict().items()}, path)
    return path


@pytest.fixture(scope="module")
def made(trained, weights_file, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "m"
    return folder, trained(folder, replace(PLAN, fusion="add"), backbone=weights_file)


def test_training_starts_from_the_weights_of_the_file(made, network):
    folder, _ = made
    expected, found = network.state_dict(), weights.load(str(folder)).network.state_dict()
    moved = {k for k, t in expected.items() if k.endswith(("weight", "bias")) and not k.startswith("fc.")}
    assert len(moved) == 36  # of 12 convolutions, and of as many batch norms two each
    for key in moved:
        torch.testing.assert_close(found[key], expected[key], atol=1e-6, rtol=1e-6)
    seeded = weights.seeded_network(10, "add", PLAN.seed).state_dict()
    assert torch.allclose(found["fc.weight"], seeded["fc.weight"], atol=1e-6)


def test_the_card_says_which_file_it_was_and_no_path(made, weights_file):
    folder, card = made
    sha256 = sha256_of(weights_file)
    assert f"start: weights of learned-on-ct.pt, sha256 {sha256}, under a random head" in card.provenance
    assert "names under 'backbone.' numbered as in a Sequential" in card.provenance
    assert card.training["plan"]["init"] in card.provenance
    assert card.licence == "not stated"  # whatever the data: the file's own is not known
    for text in ((folder / "card.json").read_text(), folder.with_name("m-run").joinpath("run.json").read_text()):
        assert sha256 in text
        assert str(weights_file.parent) not in text
    assert registry.read_card(folder) == card


def test_a_run_goes_on_with_the_same_file_alone(tmp_path, trained, weights_file):
    folder, other, moved = tmp_path / "m", tmp_path / "other.safetensors", tmp_path / "moved.pt"
    card = trained(folder, backbone=weights_file)
    shutil.rmtree(folder)  # the run is as one that was killed before it kept anything
    state = {key: tensor.clone() for key, tensor in a_resnet(10, seed=6).state_dict().items()}
    safetensors.torch.save_file(state, other)
    then, now = (f"backbone:{sha256_of(path)}" for path in (weights_file, other))
    with pytest.raises(InputError, match=f"started with other options .then, now: init: {then}, {now}"):
        trained(folder, backbone=other, resume=True)
    with pytest.raises(InputError, match=f"started with other options .then, now: init: {then}, auto"):
        trained(folder, resume=True)
    shutil.copy(weights_file, moved)
    again = trained(folder, backbone=moved, resume=True)
    assert again.sha256 == card.sha256
    assert trained(folder, backbone=tmp_path / "gone.pt", resume=True) == again  # whole: nothing is needed any more


@pytest.mark.parametrize("init", ["imagenet", "random", "demonstration", "backbone:" + "0" * 64])
def test_one_start_is_chosen(tmp_path, trained, weights_file, init):
    with pytest.raises(InputError, match=f"from learned-on-ct.pt and from '{init}'; expected one of them"):
        trained(tmp_path / "m", replace(PLAN, init=init), backbone=weights_file)
    assert not list(tmp_path.iterdir())


def test_a_file_that_does_not_fit_is_refused_before_anything_is_read(tmp_path, cohort, weights_file):
    unread = [replace(case, image=tmp_path / "gone.nii.gz") for case in cohort.cases]
    with pytest.raises(WeightsError, match="learned-on-ct.pt is a ResNet-10; .*Use `depth=10`"):
        train.train(type(cohort)(tuple(unread)), tmp_path / "m", replace(PLAN, depth=18), HERE, backbone=weights_file)
    assert not list(tmp_path.iterdir())


def test_the_remark_names_what_the_file_does_not_contain(tmp_path):
    """ResNet-50 by its plan alone: a training would take too long."""
    torch.save(a_resnet(50).state_dict(), tmp_path / "r50.pth")
    plan, pretrained = train._from_file(tmp_path / "r50.pth", replace(PLAN, depth=50))
    start, remark = train._initial(plan, pretrained)
    assert "r50.pth counted no batch" in remark
    assert start.provenance == pretrained.provenance


def test_every_fold_starts_from_it(tmp_path, cohort, weights_file):
    cards = train_folds(cohort, tmp_path / "cv", PLAN, HERE, k=2, backbone=weights_file, cache=tmp_path / "cache")
    assert [card.name for card in cards] == ["cv-fold1", "cv-fold2"]
    assert all(sha256_of(weights_file) in card.provenance for card in cards)


@pytest.mark.parametrize("more", [[], ["--folds", "2"]])
def test_the_command_hands_the_file_on(tmp_path, cohort, capsys, more):
    write_cohort(cohort, tmp_path / "cohort.csv")
    (tmp_path / "noise.pt").write_bytes(b"no weights")
    command = ["train", tmp_path / "cohort.csv", "--out", tmp_path / "m", "--backbone", tmp_path / "noise.pt", *more]
    assert cli.main([str(word) for word in command]) == 1
    assert "gtrstaging: noise.pt " in capsys.readouterr().err


def test_the_plan_of_such_a_run_is_plain_data(made):
    folder, _ = made
    record = json.loads(folder.with_name("m-run").joinpath("run.json").read_text())
    assert Plan.from_json(record["plan"]).init.startswith("backbone:")
