"""The panel's nomogram: controls of its factors, bars that follow the library's reading, what a scene keeps of it."""

import json
import math
import zipfile

import pytest
import SimpleITK as sitk
from conftest import ct_like
from GTRStagingSlicer import headless, nodes, nomograms, scene_staging
from GTRStagingSlicer.bare import bare_scene
from GTRStagingSlicer.state import State
from helpers.entries import REFUSED
from helpers.lists import choose_node
from helpers.results import box_on
from scenes import add_volume, node_ids

from GTRStagingLib.batch import batch
from GTRStagingLib.model import registry
from GTRStagingLib.nomogram import nomogram
from GTRStagingLib.nomogram.nomogram import REFERENCE, Nomogram, Term
from GTRStagingLib.radscore.radscore import RadScore

STAGES = ("T1", "T2", "T3", "T4")
FITTED = Nomogram(
    name="clinic",
    source="Fitted for this test",
    thresholds=(-2.0, -0.5, 1.5),
    terms=(
        Term("radscore", "Rad-score", "SD", 0.8, (-3.0, 3.0)),
        Term("size_cm", "Tumour size", "cm", 0.3, (0.0, 15.0), typical=4.0),
        Term("lauren", "Lauren type", levels={"intestinal": 0.0, "diffuse": 0.7}, reference="intestinal"),
    ),
    warnings=("Of one clinic.",),
)
GIVEN = {"radscore": 1.1, "size_cm": 6.5, "lauren": "diffuse"}


def messages(desk):
    return [one.text for one in desk.shown if one.kind == "error"]


def widget(panel, name):
    import qt  # the stand-in's, while it is installed

    return panel.ui.nomogramValuesBox.findChild(qt.QWidget, name)


def choose(panel, name):
    panel.ui.nomogramSelector.currentIndex = panel.ui.nomogramSelector.findText(name)


def type_in(panel, term, text):
    field = widget(panel, f"nomogramValue_{term}")
    field.text = text
    field.editingFinished()


def slide(panel, term, steps):
    widget(panel, f"nomogramSlider_{term}").value = steps


def level(panel, term, text):
    box = widget(panel, f"nomogramValue_{term}")
    box.currentIndex = box.findText(text)


def leave_out(panel, term, on=True):
    widget(panel, f"nomogramLeftOut_{term}").checked = on


def take_file(desk, panel, made, folder):
    nomogram.save(made, folder / "Doe_Jane.json")
    desk.record.answers["getOpenFileName"] = str(folder / "Doe_Jane.json")
    panel.ui.nomogramFileButton.click()


def give_all(panel):
    type_in(panel, "radscore", "1.1")
    type_in(panel, "size_cm", "6.5")
    level(panel, "lauren", "diffuse")


def bars(panel):
    return [getattr(panel.ui, f"nomogramBar{stage}").value for stage in STAGES]


def thousandths(reading):
    return [round(1000 * p) for p in reading.probabilities]


def cells(table):
    return [[table.item(i, j).text() for j in range(table.columnCount)] for i in range(table.rowCount)]


def node_rows(table):
    columns = [table.GetTable().GetColumn(i) for i in range(2)]
    return [tuple(column.GetValue(i) for column in columns) for i in range(table.GetNumberOfRows())]


@pytest.fixture
def clinic(desk, panel, tmp_path):
    """The panel with a nomogram from a file, of which all is known."""
    take_file(desk, panel, FITTED, tmp_path)
    return panel


def carrying(record, *, sha256=None, coefficient=0.5):
    """The same nomogram with a Rad-score of a result's network: of its first feature alone."""
    n = len(record["features"][0])
    score = RadScore(
        name="first", model="any", model_sha256=sha256 or record["model"]["sha256"], n_features=n, names=("f0",),
        indices=(0,), coefficients=(coefficient,), means=(0.1,), scales=(2.0,), intercept=2.5, penalty=0.1,
        score_mean=2.0, score_sd=0.5,
    )  # fmt: skip
    return Nomogram(FITTED.name, FITTED.source, FITTED.thresholds, FITTED.terms, radscore=score.to_json())


# -- values and results ------------------------------------------------------------------------------------------------


def test_nothing_is_chosen_and_nothing_is_assumed(panel):
    ui = panel.ui
    assert ui.nomogramSection.collapsed
    assert ui.nomogramSelector.currentText == "None"
    assert ui.nomogramSelector.findText(nomogram.PUBLISHED) > 0
    assert not ui.nomogramValuesBox.isVisibleTo(ui.nomogramSection)
    ui.nomogramSection.collapsed = False
    choose(panel, nomogram.PUBLISHED)
    assert nomograms.given_values(panel._parameterNode) == {}
    for term in nomogram.load(nomogram.PUBLISHED).terms:
        assert term.label in ui.nomogramMessage.text
    assert widget(panel, "nomogramValue_radscore").text == ""
    assert widget(panel, "nomogramValue_radscore").placeholderText == "not given"
    assert widget(panel, "nomogramValue_lauren").currentText == "not given"
    assert not ui.nomogramBox.visible
    assert panel._parameterNode.nomogramTable is None


def test_warnings_and_all_levels_are_shown_before_any_value(panel):
    panel.ui.nomogramSection.collapsed = False
    choose(panel, nomogram.PUBLISHED)
    assert panel.ui.nomogramWarnings.visible
    for warning in nomogram.load(nomogram.PUBLISHED).warnings:
        assert warning in panel.ui.nomogramWarnings.text
    assert "opposite sign" in panel.ui.nomogramWarnings.text
    assert "reference levels are inferred" in panel.ui.nomogramWarnings.text
    assert "does not contain the definition of its Rad-score" in panel.ui.nomogramRadscoreLabel.text
    assert "Research use only" in panel.ui.nomogramUseLabel.text
    for term, levels in (("size", ["< 5 cm", "≥ 5 cm"]), ("differentiation", ["well", "moderate", "poor"]),
                         ("lauren", ["intestinal", "diffuse", "mixed"])):  # fmt: skip
        box = widget(panel, f"nomogramValue_{term}")
        assert [box.itemText(i) for i in range(box.count)] == ["not given", "left out", *levels]


def test_a_tumour_of_6_cm_has_the_probabilities_of_the_article(panel):
    """Rad-score 0.8, 5 cm or more, poor, diffuse: 0.0011, 0.0073, 0.0781, 0.9134 by hand."""
    choose(panel, nomogram.PUBLISHED)
    type_in(panel, "radscore", "0,8")
    level(panel, "size", "≥ 5 cm")
    level(panel, "differentiation", "poor")
    level(panel, "lauren", "diffuse")
    assert bars(panel) == [1, 7, 78, 913]
    rows = cells(panel.ui.nomogramTable)
    assert rows[0] == ["Rad-score", "0.8 SD", "63.3", "2.01", "0 SD"]
    assert rows[1] == ["Tumour size", "≥ 5 cm", "13.2", "1.99", "< 5 cm"]
    assert "Rad-score, per SD: 2.39 (1.80 to 3.20), p < 0.001" in panel.ui.nomogramSourceLabel.text
    assert "Lauren type, mixed: 0.92 (0.65 to 1.30), p = 0.64" in panel.ui.nomogramSourceLabel.text
    table = node_rows(panel._parameterNode.nomogramTable)
    assert ("Odds ratio in the model (95 %)", "Lauren type, mixed: 0.92 (0.65 to 1.30), p = 0.64") in table


@pytest.mark.parametrize("text", REFUSED)
def test_a_refused_number_is_marked_in_its_field_with_no_stage_beside_it(desk, clinic, text):
    give_all(clinic)
    ui = clinic.ui
    assert ui.nomogramBox.visible
    type_in(clinic, "radscore", text)
    field = widget(clinic, "nomogramValue_radscore")
    assert "Rad-score" in ui.nomogramMessage.text
    assert "expected a number in SD, from -21 to 21" in ui.nomogramMessage.text
    assert field.toolTip == ui.nomogramMessage.text
    assert "solid" in field.styleSheet
    assert not ui.nomogramBox.visible
    assert (ui.nomogramStageLabel.text, ui.nomogramTable.rowCount, bars(clinic)) == ("", 0, [0, 0, 0, 0])
    assert clinic._parameterNode.nomogramTable is None
    assert messages(desk) == []
    type_in(clinic, "radscore", "1.1")
    assert ui.nomogramStageLabel.text
    assert ui.nomogramBox.visible
    assert field.styleSheet == ""


def test_the_published_one_at_reference_gives_the_figures_of_its_article(panel):
    """Rad-score 0, all else left out: 0.0392, 0.1977, 0.5387, 0.2244, by hand from Table 3's thresholds."""
    choose(panel, nomogram.PUBLISHED)
    level(panel, "size", "left out")
    level(panel, "differentiation", "well")
    level(panel, "lauren", "intestinal")
    assert "Rad-score" in panel.ui.nomogramMessage.text
    assert "size" not in panel.ui.nomogramMessage.text
    type_in(panel, "radscore", "0")
    assert bars(panel) == pytest.approx([39.2, 197.7, 538.7, 224.4], abs=0.6)
    assert "T3" in panel.ui.nomogramStageLabel.text
    assert "left out: the reference is used" in panel.ui.nomogramWarnings.text
    assert "opposite sign" in panel.ui.nomogramWarnings.text
    one_sd_up = cells(panel.ui.nomogramTable)
    assert one_sd_up[0][3] == "1.00"
    type_in(panel, "radscore", "1")
    assert cells(panel.ui.nomogramTable)[0][3] == "2.39"  # per SD, as in the article


def test_bars_and_contributions_follow_every_change(clinic):
    give_all(clinic)
    ui, reading = clinic.ui, FITTED.read(GIVEN)
    assert bars(clinic) == thousandths(reading)
    assert [getattr(ui, f"nomogramBar{stage}").format for stage in STAGES] == [
        f"{p:.2f}" for p in reading.probabilities
    ]
    assert str(reading.stage) in ui.nomogramStageLabel.text
    rows = cells(ui.nomogramTable)
    ratio = {"Rad-score": 0.8 * 1.1, "Tumour size": 0.3 * (6.5 - 4.0), "Lauren type": 0.7}
    against = {"Rad-score": "0 SD", "Tumour size": "4 cm", "Lauren type": "intestinal"}
    for factor, value, points, odds, told_against in rows[:-1]:
        term = next(term for term in FITTED.terms if term.label == factor)
        assert points == f"{reading.points[term.name]:.1f}"
        assert odds == f"{math.exp(ratio[factor]):.2f}"
        assert told_against == against[factor]
        assert str(GIVEN[term.name]) in value
    assert rows[-1][:3] == ["Total", "", f"{reading.total_points:.1f}"]
    slide(clinic, "size_cm", 123)
    assert widget(clinic, "nomogramValue_size_cm").text == "12.3"
    assert bars(clinic) == thousandths(FITTED.read({**GIVEN, "size_cm": 12.3}))
    leave_out(clinic, "size_cm")
    assert bars(clinic) == thousandths(FITTED.read({**GIVEN, "size_cm": REFERENCE}))
    assert not widget(clinic, "nomogramValue_size_cm").enabled
    leave_out(clinic, "size_cm", on=False)
    assert "Tumour size" in clinic.ui.nomogramMessage.text
    assert clinic._parameterNode.nomogramTable is None


def test_typed_text_is_a_number_or_an_error(clinic):
    give_all(clinic)
    type_in(clinic, "size_cm", "4,5")
    assert nomograms.given_values(clinic._parameterNode)["size_cm"] == 4.5
    assert widget(clinic, "nomogramSlider_size_cm").value == 45
    type_in(clinic, "size_cm", "17")
    assert "17 is outside the range of this nomogram, 0 to 15" in clinic.ui.nomogramWarnings.text
    assert bars(clinic) == thousandths(FITTED.read({**GIVEN, "size_cm": 17.0}))
    for text in ("large", "nan"):
        type_in(clinic, "size_cm", text)
        assert "expected a" in clinic.ui.nomogramMessage.text
        assert widget(clinic, "nomogramValue_size_cm").text == text
        assert clinic._parameterNode.nomogramTable is None
    type_in(clinic, "size_cm", " ")
    assert "Missing values: Tumour size" in clinic.ui.nomogramMessage.text


def test_the_networks_stage_is_shown_beside_the_nomograms(desk, staged, tmp_path):
    take_file(desk, staged, FITTED, tmp_path)
    give_all(staged)
    ui = staged.ui
    assert "By the nomogram" in ui.nomogramStageLabel.text
    assert f">{FITTED.read(GIVEN).stage}<" in ui.nomogramStageLabel.text
    assert "By the network" in ui.nomogramNetworkLabel.text
    assert f">{ui.stageLabel.text}<" in ui.nomogramNetworkLabel.text
    before = ui.stageLabel.text, scene_staging.record_of(staged._parameterNode)
    ui.methodSelector.currentIndex = 2  # the result is out of date
    assert ">–<" in ui.nomogramNetworkLabel.text
    assert (ui.stageLabel.text, scene_staging.record_of(staged._parameterNode)) == before
    rows = node_rows(staged._parameterNode.nomogramTable)
    assert ("Stage by the network", "–") in rows


# -- the Rad-score -----------------------------------------------------------------------------------------------------


def test_a_rad_score_is_computed_from_the_result_it_belongs_to_and_again_after_a_run(desk, staged, tmp_path):
    state = staged._parameterNode
    record = scene_staging.record_of(state)
    take_file(desk, staged, carrying(record), tmp_path)

    def expected():
        first = [row[0] for row in scene_staging.record_of(state)["features"]]
        return ((sum(first) / len(first) - 0.1) / 2.0 * 0.5 + 2.5 - 2.0) / 0.5

    field = widget(staged, "nomogramValue_radscore")
    assert field.text == f"{expected():.4g}"
    assert not field.enabled
    assert "computed by “first” from the features of this result" in staged.ui.nomogramRadscoreLabel.text
    assert "radscore" not in nomograms.given_values(state)
    type_in(staged, "size_cm", "6.5")
    level(staged, "lauren", "diffuse")
    assert bars(staged) == thousandths(FITTED.read({**GIVEN, "radscore": expected()}))
    before = expected()
    staged.ui.keySliceSlider.value = state.keySlice + 3
    assert "press Apply" in staged.ui.nomogramRadscoreLabel.text
    assert "Rad-score" in staged.ui.nomogramMessage.text
    assert field.text == ""
    staged.ui.applyButton.click()
    assert expected() != before
    assert field.text == f"{expected():.4g}"
    assert bars(staged) == thousandths(FITTED.read({**GIVEN, "radscore": expected()}))
    leave_out(staged, "radscore")
    assert bars(staged) == thousandths(FITTED.read({**GIVEN, "radscore": REFERENCE}))


def test_a_rad_score_of_another_network_is_not_computed_but_asked_for(desk, staged, tmp_path):
    record = scene_staging.record_of(staged._parameterNode)
    take_file(desk, staged, carrying(record, sha256="ab" * 32), tmp_path)
    text = staged.ui.nomogramRadscoreLabel.text
    assert record["model"]["sha256"][:12] in text
    assert "Enter a standardised Rad-score" in text
    give_all(staged)
    assert bars(staged) == thousandths(FITTED.read(GIVEN))


def test_before_a_run_the_rad_score_is_announced(desk, panel, tmp_path):
    card = registry.read_card(registry.locate("demonstration"))
    record = {"model": {"sha256": card.sha256}, "features": [[0.0]]}
    take_file(desk, panel, carrying(record), tmp_path)
    assert "when the case is staged" in panel.ui.nomogramRadscoreLabel.text
    assert "Rad-score" in panel.ui.nomogramMessage.text


# -- the scene ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("of_file", [False, True], ids=["by name", "of a file"])
def test_it_comes_back_with_its_scene_and_no_path_does(desk, loaded, scene, tmp_path, of_file):
    if of_file:
        take_file(desk, loaded, FITTED, tmp_path)
        give_all(loaded)
        (tmp_path / "Doe_Jane.json").unlink()
    else:
        choose(loaded, nomogram.PUBLISHED)
        level(loaded, "size", "≥ 5 cm")
        level(loaded, "differentiation", "left out")
        level(loaded, "lauren", "diffuse")
        slide(loaded, "radscore", 41)
    ui = loaded.ui
    state = loaded._parameterNode
    shown = bars(loaded), cells(ui.nomogramTable), ui.nomogramWarnings.text, ui.nomogramSelector.currentText
    values, rows = nomograms.given_values(state), node_rows(state.nomogramTable)
    assert sum(shown[0]) == pytest.approx(1000, abs=2)
    assert scene.WriteToMRB(str(tmp_path / "a.mrb"))
    with zipfile.ZipFile(tmp_path / "a.mrb") as bundle:
        assert not any(b"Doe_Jane" in bundle.read(name) for name in bundle.namelist())
    scene.Clear(False)
    assert ui.nomogramSelector.currentText == "None"
    assert widget(loaded, "nomogramValue_radscore") is None
    ui.nomogramSection.collapsed = True
    assert scene.ReadFromMRB(str(tmp_path / "a.mrb"))
    loaded.enter()
    state = loaded._parameterNode
    assert not ui.nomogramSection.collapsed
    assert nomograms.given_values(state) == values
    assert (bars(loaded), cells(ui.nomogramTable), ui.nomogramWarnings.text, ui.nomogramSelector.currentText) == shown
    assert shown[3] == ("clinic (of this scene)" if of_file else nomogram.PUBLISHED)
    assert node_rows(state.nomogramTable) == rows
    assert state.nomogramTable.GetName() == "patient nomogram"
    before = node_ids(scene)
    slide(loaded, "radscore", 20)
    assert bars(loaded) != shown[0]
    assert node_ids(scene) == before


def test_an_edited_copy_of_a_known_one_is_not_taken_for_it(desk, panel, tmp_path):
    data = json.loads(nomogram.available()[nomogram.PUBLISHED].read_text())
    data["terms"][1]["levels"]["≥ 5 cm"] = 0.2
    data["name"] = "edited"
    take_file(desk, panel, nomogram.from_json(data), tmp_path)
    assert panel.ui.nomogramSelector.currentText == "edited (of this scene)"
    choose(panel, nomogram.PUBLISHED)
    assert panel.ui.nomogramSelector.currentText == nomogram.PUBLISHED
    assert panel.ui.nomogramSelector.findText("edited (of this scene)") < 0


def test_a_scene_of_an_earlier_version_is_asked_to_choose_again(panel, scene):
    """Its published nomogram lacks coefficients, and has the size in centimetres."""
    choose(panel, nomogram.PUBLISHED)
    text = panel._parameterNode.nomogramText
    data = json.loads(text.GetText())
    size = {"name": "size_cm", "label": "Tumour size", "unit": "cm", "range": [0, 15], "typical": 0}
    for coefficient, why in ((None, "Term size_cm has no coefficient"), (0.69, "differs from Table 3")):
        data["terms"][1] = {**size, "coefficient": coefficient}
        text.SetText(json.dumps(data))
        panel.enter()
        assert why in panel.ui.nomogramMessage.text
        assert "Choose it again" in panel.ui.nomogramMessage.text
        assert not panel.ui.nomogramBox.visible


def test_values_belong_to_a_case(desk, loaded, scene, tmp_path):
    take_file(desk, loaded, FITTED, tmp_path)
    give_all(loaded)
    state = loaded._parameterNode
    assert state.nomogramTable is not None
    first = state.inputVolume
    choose_node(loaded.ui.inputSelector, add_volume(scene, ct_like(), "other"))
    assert nomograms.given_values(state) == {}
    assert state.nomogramTable is None
    assert widget(loaded, "nomogramValue_size_cm").text == ""
    assert widget(loaded, "nomogramValue_lauren").currentText == "not given"
    assert nomograms.chosen(state) == FITTED
    choose_node(loaded.ui.inputSelector, first)
    assert nomograms.given_values(state) == GIVEN
    assert state.nomogramTable.GetName() == "patient nomogram"
    assert bars(loaded) == thousandths(FITTED.read(GIVEN))
    # Nor does a panel that was closed meanwhile miss it.
    loaded.exit()
    loaded.logic.showCt(state, add_volume(scene, ct_like(seed=1), "third"))
    loaded.enter()
    assert state.inputVolume.GetName() == "third"
    assert nomograms.given_values(state) == {}


def test_values_without_a_ct_do_not_become_those_of_a_ct(clinic, scene):
    give_all(clinic)
    state = clinic._parameterNode
    assert state.inputVolume is None
    choose_node(clinic.ui.inputSelector, add_volume(scene, ct_like(), "patient"))
    assert nomograms.given_values(state) == {}
    give_all(clinic)
    scene.RemoveNode(state.inputVolume)
    slide(clinic, "size_cm", 10)
    assert nomograms.given_values(state)["size_cm"] == 1.0  # the values without a CT, not those of the deleted one


def test_another_nomogram_removes_the_values_of_every_ct(desk, loaded, scene, tmp_path):
    take_file(desk, loaded, FITTED, tmp_path)
    give_all(loaded)
    choose_node(loaded.ui.inputSelector, add_volume(scene, ct_like(), "other"))
    give_all(loaded)
    choose(loaded, nomogram.PUBLISHED)
    left = [node.GetName() for one in ("Text", "Table") for node in nodes.of_class(scene, f"vtkMRML{one}Node")]
    assert not [name for name in left if "values of the nomogram" in name or name.endswith(" nomogram")]


def test_a_script_too_finds_nothing_given_of_another_ct(scene):
    state = State(inputVolume=add_volume(scene, ct_like(), "first"))
    nomograms.choose(state, scene, FITTED)
    for name, value in GIVEN.items():
        nomograms.set_value(state, scene, name, value)
    assert nomograms.status(state, stale=False).reading == FITTED.read(GIVEN)
    state.inputVolume = add_volume(scene, ct_like(), "second")
    assert nomograms.status(state, stale=False).reading is None
    nomograms.set_value(state, scene, "size_cm", 3.0)
    assert nomograms.given_values(state) == {"size_cm": 3.0}


def test_another_nomogram_or_none_starts_without_values(desk, clinic, scene):
    give_all(clinic)
    choose(clinic, nomogram.PUBLISHED)
    assert nomograms.given_values(clinic._parameterNode) == {}
    assert not clinic.ui.nomogramBox.visible
    before = scene.GetNumberOfNodesByClass("vtkMRMLTextNode")
    choose(clinic, "None")
    assert scene.GetNumberOfNodesByClass("vtkMRMLTextNode") == before - 1
    assert clinic._parameterNode.nomogramText is None
    assert clinic.ui.nomogramWarnings.text == ""


def test_a_file_that_is_none_is_said_to_be_none_and_changes_nothing(desk, clinic, tmp_path):
    give_all(clinic)
    (tmp_path / "other.json").write_text('{"kind": "radscore"}')
    desk.record.answers["getOpenFileName"] = str(tmp_path / "other.json")
    clinic.ui.nomogramFileButton.click()
    (text,) = messages(desk)
    assert "is not a nomogram" in text
    desk.record.answers["getOpenFileName"] = ""  # cancelled
    clinic.ui.nomogramFileButton.click()
    assert nomograms.chosen(clinic._parameterNode) == FITTED
    assert bars(clinic) == thousandths(FITTED.read(GIVEN))


def test_a_saved_one_that_is_damaged_leaves_the_choice_as_it_was(desk, scene, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    folder = nomogram.nomograms_folder()
    folder.mkdir(parents=True)
    (folder / "mine.json").write_text("{")
    panel = desk.open_module()
    choose(panel, "mine")
    assert len(messages(desk)) == 1
    assert panel.ui.nomogramSelector.currentText == "None"
    nomogram.save(FITTED, folder / "mine.json")  # a file's name need not be the nomogram's
    nomogram.save(Nomogram("other", FITTED.source, FITTED.thresholds, FITTED.terms), folder / "other.json")
    panel.exit()
    panel.enter()  # what was fitted since is offered
    choose(panel, "mine")
    assert panel.ui.nomogramSelector.currentText == "mine"
    assert nomograms.chosen(panel._parameterNode) == FITTED
    assert panel.ui.nomogramSelector.findText("other") > 0


def test_a_deleted_nomogram_is_removed(clinic, scene):
    give_all(clinic)
    scene.RemoveNode(clinic._parameterNode.nomogramTable)
    assert clinic._parameterNode.nomogramTable is None
    slide(clinic, "size_cm", 10)
    assert ("Tumour size", "1 cm: 6.2 points, odds ratio 0.407 compared with 4 cm") in node_rows(
        clinic._parameterNode.nomogramTable
    )
    scene.RemoveNode(clinic._parameterNode.nomogramText)
    assert clinic.ui.nomogramSelector.currentText == "None"
    assert clinic._parameterNode.nomogramTable is None
    assert not clinic.ui.nomogramWarnings.text


def test_a_scene_whose_text_is_no_nomogram_says_so(clinic):
    clinic._parameterNode.nomogramText.SetText("{}")
    clinic.enter()
    assert "cannot be read" in clinic.ui.nomogramMessage.text
    assert clinic.ui.nomogramSelector.currentText == "None"


# -- reports and runs without a window ---------------------------------------------------------------------------------


def test_the_report_has_it_with_the_values_that_are_shown(desk, staged, tmp_path):
    ui = staged.ui
    ui.reportFolderSelector.currentPath = str(tmp_path / "report")
    ui.exportButton.click()
    (report,) = tmp_path.glob("report/*/report.html")
    assert "Of one clinic." not in report.read_text()
    take_file(desk, staged, FITTED, tmp_path)
    give_all(staged)
    ui.exportButton.click()
    assert messages(desk) == []
    page = report.read_text()
    assert "Of one clinic." in page
    for part in ("Rad-score", "Tumour size", "diffuse", "6.5"):
        assert part in page
    assert "Doe_Jane" not in page
    type_in(staged, "size_cm", "")  # the report asks for it, as the panel does
    ui.exportButton.click()
    assert messages(desk) == []
    assert "Of one clinic." in report.read_text()


def run_headless(folder, *arguments):
    ct = ct_like()
    sitk.WriteImage(ct, folder / "ct.nrrd")
    sitk.WriteImage(box_on(ct).mask, folder / "roi.nrrd")
    paths = ["--input", str(folder / "ct.nrrd"), "--segmentation", str(folder / "roi.nrrd"), "--out"]
    return headless.main([*paths, str(folder / "out"), *arguments])


def test_a_run_without_a_window_writes_it_into_scene_and_report(tmp_path):
    nomogram.save(FITTED, tmp_path / "clinic.json")
    values = ["--set", "radscore=1.1", "--set", "size_cm=6.5", "--set", "lauren=diffuse"]
    assert run_headless(tmp_path, "--nomogram", str(tmp_path / "clinic.json"), *values) == 0
    assert "Of one clinic." in (tmp_path / "out" / "report.html").read_text()
    bare = bare_scene()
    try:
        assert bare.scene.ReadFromMRB(str(tmp_path / "out" / batch.SCENE))
        node = bare.scene.GetSingletonNode("GTRStaging", "vtkMRMLScriptedModuleNode")
        assert json.loads(node.GetNodeReference("nomogramGiven").GetText()) == GIVEN
        assert nomogram.from_json(json.loads(node.GetNodeReference("nomogramText").GetText())) == FITTED
        assert node.GetNodeReference("nomogramGiven").GetNodeReference("GTRStaging.CT") is node.GetNodeReference(
            "inputVolume"
        )
        rows = node_rows(node.GetNodeReference("nomogramTable"))
        reading = FITTED.read(GIVEN)
        assert ("Stage by the nomogram", str(reading.stage)) in rows
        assert ("Probability of T4 by the nomogram", f"{reading.probabilities[3]:.4f}") in rows
        assert ("Total points", f"{reading.total_points:.1f}") in rows
        assert ("Warning", "Of one clinic.") in rows
    finally:
        bare.close()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--nomogram", nomogram.PUBLISHED], 1, "The Rad-score is standardised"),
        (["--nomogram", "nowhere"], 1, "no such nomogram"),
        (["--nomogram", nomogram.PUBLISHED, "--set", "age=3"], 1, "'age' is not a term"),
        (["--nomogram", nomogram.PUBLISHED, "--set", "radscore"], 1, "expected NAME=VALUE"),
        (["--nomogram", nomogram.PUBLISHED, "--set", "radscore=0", "--set", "size=6", "--set",
          "differentiation=reference", "--set", "lauren=diffuse"], 1, "expected one of < 5 cm, ≥ 5 cm. Choose one"),
        *((["--nomogram", nomogram.PUBLISHED, "--set", f"radscore={text}", "--set", "size=reference", "--set",
            "differentiation=reference", "--set", "lauren=diffuse"], 1, "expected a number in SD, from -21 to 21")
          for text in REFUSED),
        (["--set", "radscore=0"], 2, "without --nomogram"),
    ],
)  # fmt: skip
def test_what_a_nomogram_lacks_is_said_before_anything_is_staged(tmp_path, capfd, arguments, code, words):
    assert run_headless(tmp_path, *arguments) == code
    assert words in capfd.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_table_of_patients_takes_no_values_of_one(tmp_path, capfd):
    arguments = ["--cases", str(tmp_path / "cases.csv"), "--out", str(tmp_path / "out")]
    assert headless.main([*arguments, "--nomogram", nomogram.PUBLISHED]) == 2
    assert "not allowed with --cases" in capfd.readouterr().err
