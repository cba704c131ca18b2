"""A model is imported from the panel: its card is read first, and a hostile zip file is refused."""

import shutil
import stat
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from GTRStagingSlicer import model_import, models

from GTRStagingLib.errors import WeightsError
from GTRStagingLib.model import backbone, registry, weights


@pytest.fixture
def own(tmp_path, monkeypatch):
    """The user's folder of models, empty."""
    monkeypatch.setenv("GTRSTAGING_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


@pytest.fixture
def another(tmp_path, a_model):
    """A model folder from elsewhere."""
    model = weights.Model(replace(a_model.card, name="mine", status="trained"), a_model.network)
    weights.save(model, tmp_path / "elsewhere" / "mine")
    return tmp_path / "elsewhere" / "mine"


def packed(folder, path, *, under="mine/", extra=()):
    with zipfile.ZipFile(path, "w") as archive:
        for one in folder.iterdir():
            archive.write(one, under + one.name)
        for name, content in extra:
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize("kind", ["folder", "card", "zip", "zip without folder"])
def test_a_model_is_read_first_and_taken_then(own, another, tmp_path, kind):
    if kind.startswith("zip"):
        path = packed(another, tmp_path / "a.zip", under="" if "without" in kind else "mine/")
    else:
        path = another / "card.json" if kind == "card" else another
    offer = model_import.read(path)
    assert offer.card == registry.read_card(another)
    assert not own.exists()
    assert model_import.take(offer) == "mine"
    assert backbone.verify("mine") == offer.card
    assert {one.name for one in own.iterdir()} == {"mine"}
    with pytest.raises(WeightsError, match="is on this computer"):
        model_import.read(path)


@pytest.mark.parametrize(
    ("member", "reason"),
    [
        ("../evil.json", "beside its card.json"),
        ("mine/../../evil.json", "beside its card.json"),
        ("/tmp/evil.json", "beside its card.json"),
        ("C:\\evil.json", "beside its card.json"),
        ("other/notes.txt", "beside its card.json"),
        ("mine/run.py", "no part of a model"),
        ("mine/CARD.JSON", "twice"),
        ("other/card.json", "2 files card.json"),
    ],
)
def test_a_member_that_is_no_part_of_the_model_is_refused(own, another, tmp_path, member, reason):
    with pytest.raises(WeightsError, match=reason):
        model_import.read(packed(another, tmp_path / "a.zip", extra=[(member, "{}")]))
    assert not own.exists()


def test_a_link_is_refused(own, another, tmp_path):
    link = zipfile.ZipInfo("mine/link.json")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with pytest.raises(WeightsError, match="is a link"):
        model_import.read(packed(another, tmp_path / "a.zip", extra=[(link, "/etc/passwd")]))


def test_the_bounds_are_checked_before_anything_is_unpacked(own, another, tmp_path, monkeypatch):
    path = packed(another, tmp_path / "a.zip", extra=[(f"mine/{i}.txt", "") for i in range(model_import.MOST_MEMBERS)])
    with pytest.raises(WeightsError, match="expected at most 64"):
        model_import.read(path)
    path = packed(another, tmp_path / "b.zip")
    monkeypatch.setattr(model_import, "MOST_BYTES", 1000)
    with pytest.raises(WeightsError, match="expected at most 64 and 0.0 GB"):
        model_import.read(path)


def test_a_model_whose_weights_are_not_those_of_its_card_is_not_taken(own, another):
    offer = model_import.read(another)
    (path,) = another.glob("model.safetensors")
    path.write_bytes(path.read_bytes()[:-4] + b"\0\1\2\3")
    with pytest.raises(WeightsError):
        model_import.take(offer)
    assert not (own / "mine").exists()


def test_another_card_than_the_one_shown_is_not_taken(own, another):
    offer = model_import.read(another)
    card = (another / "card.json").read_text()
    (another / "card.json").write_text(card.replace(offer.card.provenance[:20], "somewhere else", 1))
    with pytest.raises(WeightsError, match="changed since it was shown"):
        model_import.take(offer)


def test_what_is_no_model_is_named(tmp_path, own):
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(WeightsError, match=r"notes.txt is no model"):
        model_import.read(tmp_path / "notes.txt")
    (tmp_path / "a.zip").write_bytes(b"PK\x03\x04")
    with pytest.raises(WeightsError, match="is no model"):
        model_import.read(tmp_path / "a.zip")


def test_the_short_card_has_performance_and_check_of_the_map(tmp_path):
    text, _whole = models.card_in_words("demonstration")
    assert "Performance: accuracy 0.92 (0.88 to 0.95), 240 patients of test" in text
    assert f"Map: {registry.read_card(registry.locate('demonstration')).check_in_words}" in text


# -- the panel -----------------------------------------------------------------------------------------------------


def errors(desk):
    return [one.text for one in desk.shown if one.kind == "error"]


def test_the_panel_shows_the_card_asks_and_chooses_the_model(own, desk, panel, another, tmp_path):
    desk.record.answers["getOpenFileName"] = str(packed(another, tmp_path / "a.zip"))
    desk.record.confirm = False
    panel.ui.importModelButton.click()
    (asked,) = [one for one in desk.shown if one.kind == "confirm"]
    assert "Model: mine (trained)" in asked.text
    assert "Performance: not stated in the card" in asked.text
    assert not own.exists()
    desk.record.confirm = True
    panel.ui.importModelButton.click()
    assert errors(desk) == []
    assert panel._parameterNode.model == panel.ui.modelSelector.currentText == "mine"
    panel.ui.modelFolderButton.click()
    assert desk.record.opened[-1].endswith("/models")
    panel.ui.importModelButton.click()
    assert "is on this computer" in errors(desk)[0]


@pytest.mark.parametrize("recipe", ["released", "Do not import"])
def test_a_checkpoint_asks_for_its_preprocessing(own, desk, panel, a_model, tmp_path, recipe):
    torch.save(a_model.network.state_dict(), tmp_path / "weights.pth")
    desk.record.answers.update({"getOpenFileName": str(tmp_path / "weights.pth"), "getItem": recipe})
    panel.ui.importModelButton.click()
    (asked,) = [one for one in desk.shown if one.kind == "confirm"]
    assert "A checkpoint has no card" in asked.text
    taken = recipe != "Do not import"
    assert errors(desk) == []
    assert (own / "weights").exists() == taken
    assert (panel._parameterNode.model == "weights") == taken


def test_a_cancelled_choice_does_nothing(own, desk, panel):
    panel.ui.importModelButton.click()
    assert desk.shown == []
    shutil.rmtree(own, ignore_errors=True)
    assert not Path(own).exists()
