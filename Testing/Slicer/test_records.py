"""Sentences on a record; records of older versions, in the panel and outside it."""

import html
import json
import math
import re
from dataclasses import replace

import pytest
from conftest import ct_like
from GTRStagingSlicer import models, records, result_content, scene_staging, tables
from GTRStagingSlicer.state import Method
from helpers.results import a_small_model, box_on, scan_of, with_roi, without_roi
from scenes import as_version_1_2, node_ids

from GTRStagingLib.imaging import keyslice
from GTRStagingLib.model import weights
from GTRStagingLib.model.backbone import ready
from GTRStagingLib.results import words as report_words
from GTRStagingLib.results.record import to_json
from GTRStagingLib.staging.options import StagingOptions
from GTRStagingLib.staging.pipeline import stage_case

UNCHECKED = "This map has not been checked for this model."


def cut(threshold=0.5, dice=0.6, **changes):
    return {"threshold": threshold, "dice": dice, "iou": 0.4, "chance_dice": 0.02, "blob_dice": 0.06,
            "mean_mask_dice": 0.19, "area_mm2": 900.0, "centroid_distance_mm": 3.0, "hd95_mm": 9.0,
            **changes}  # fmt: skip


def agreement(*sweep, pointing_hit=True, reasons=None, **chosen):
    return {**cut(**chosen), "segment": "tumour", "otsu": cut(0.1), "sweep": list(sweep), "pointing_hit": pointing_hit,
            "energy_inside": 0.2, "roi_area_mm2": 450.0, "reasons": reasons or {}}  # fmt: skip


# -- the agreement -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("hit", "place"), [(True, "inside"), (False, "OUTSIDE")])
def test_without_spacing_the_areas_are_unknown(hit, place):
    unknown = agreement(area_mm2=None, pointing_hit=hit) | {"roi_area_mm2": None}
    region, dice, _baselines = records.agreement_in_words(unknown, 0.5)
    assert region == f"The peak of the map lies {place} “tumour”. The areas are unknown: the CT has no spacing."
    assert dice.startswith("Dice with “tumour” is 0.600.")


def test_the_region_is_described_by_area_peak_and_baselines():
    region, dice, baselines = records.agreement_in_words(agreement(), 0.5)
    assert region == (
        "The highlighted region measures 900 mm², 2.00 times the 450 mm² of “tumour”. The peak of the map lies inside "
        "“tumour”."
    )
    assert dice == (
        "Dice with “tumour” is 0.600. The same area scores 0.020 at random in the body, 0.060 as a centred blob, and "
        "0.190 where the mean mask of the model's training cases is highest."
    )
    assert baselines == "The map exceeds each of these."


def test_a_large_map_beside_the_tumour_is_reported_as_such():
    """As Grad-CAM of the last layer: above chance, and not above the mean mask."""
    coarse = agreement(dice=0.085, area_mm2=19_374.0, pointing_hit=False)
    region, _dice, baselines = records.agreement_in_words(coarse, 0.5)
    assert "19,374 mm², 43 times the 450 mm²" in region
    assert "lies OUTSIDE" in region
    assert baselines == "The map does NOT exceed the mean mask."
    _region, _dice, baselines = records.agreement_in_words(agreement(dice=0.02), 0.5)
    assert baselines == "The map does NOT exceed chance, the blob, the mean mask."


def test_the_sentences_are_those_of_the_chosen_threshold():
    known = agreement(cut(0.4), cut(0.8, dice=0.1, area_mm2=45.0))
    region, dice, baselines = records.agreement_in_words(known, 0.8)
    assert "45 mm², 0.10 times" in region
    assert "0.100" in dice
    assert "NOT exceed the mean mask" in baselines


def test_a_missing_mean_mask_is_reported():
    unknown = agreement(
        mean_mask_dice=None, reasons={"mean mask": "the model has no mean mask for slices of this size"}
    )
    _region, dice, baselines = records.agreement_in_words(unknown, 0.5)
    assert dice.endswith("0.020 at random in the body, and 0.060 as a centred blob.")
    assert baselines == (
        "The map exceeds each of these. The Dice of the mean mask is unknown: the model has no mean mask for this "
        "slice."
    )


def test_an_undefined_dice_has_a_reason():
    nothing = agreement(dice=None, reasons={"all": "the ROI has no pixel in the key slice"})
    assert records.agreement_in_words(nothing, 0.5) == ("Dice is not defined: the ROI has no pixel in the key slice.",)


@pytest.mark.parametrize("mean_mask", [math.nan, 0.3])
@pytest.mark.parametrize("dice", [0.01, 0.25, 0.9])
@pytest.mark.parametrize("hit", [True, False])
def test_panel_and_report_describe_a_result_alike(dice, mean_mask, hit):
    """The panel's sentences can be translated, the report's cannot: two wordings of one result."""
    known = with_roi().agreement
    cut_ = replace(known.at_threshold, dice=dice, chance_dice=0.02, blob_dice=0.2, mean_mask_dice=mean_mask)
    result = replace(with_roi(), agreement=replace(known, at_threshold=cut_, pointing_hit=hit))
    region, panel_dice, rest = records.agreement_in_words(to_json(result)["agreement"], cut_.threshold)
    reports_region, baselines = (
        report_words.region_in_words(result.agreement),
        report_words.baselines_in_words(result.agreement, report_words.section_in_words(result)),
    )
    assert numbers(region) == numbers(reports_region)[1:]  # the panel shows the threshold in a control
    assert ("lies OUTSIDE" in region) == ("lies outside" in reports_region) == (not hit)
    assert numbers(panel_dice) == numbers(baselines)
    for name in ("chance", "the blob", "the mean mask"):
        matches = [re.search(r"(?i)does not exceed ([^.]*)\.", text) for text in (rest, baselines)]
        named = [match is not None and name in match[1] for match in matches]
        assert named[0] == named[1], (name, rest, baselines)
    for sentence in (
        "The map exceeds each of these.",
        "The Dice of the mean mask is unknown: the model has no mean mask for this slice.",
    ):
        assert (sentence in rest) == (sentence in baselines)


def numbers(text):
    return re.findall(r"\d[\d,.]*\d|\d", text)


# -- beside the map ------------------------------------------------------------------------------------------------


def test_a_failed_check_stands_out_beside_the_map(staged):
    ui, state = staged.ui, staged._parameterNode
    record = dict(scene_staging.record_of(state))
    assert record["model"]["check_in_words"] in ui.mapLabel.text
    assert "#b3001b" not in ui.mapLabel.styleSheet
    check = {"verdict": "failed", "summary": "Dice 0.03, chance 0.02", "method": record["attention"]["method"]}
    card = replace(weights.untrained(10).card, check=check)
    record["model"] = {**record["model"], "check": card.check, "check_in_words": card.check_in_words}
    state.resultText.SetText(json.dumps(record))
    staged.enter()
    assert "FAILED its check" in ui.mapLabel.text
    assert "#b3001b" in ui.mapLabel.styleSheet


def test_a_case_unlike_the_training_stands_out_as_large_as_the_stage(staged):
    ui, state = staged.ui, staged._parameterNode
    record = dict(scene_staging.record_of(state))
    assert "unusual for the training" in ui.likenessLabel.text  # this small phantom has large pixels
    assert "#b3001b" not in ui.likenessLabel.styleSheet
    record["familiarity"] = {"verdict": "unlike", "distance": 4.2, "percentile": 100.0, "promise": "At most 1 %.",
                             "reasons": ["noise of 34 HU; training 8 to 17 HU"]}  # fmt: skip
    state.resultText.SetText(json.dumps(record))
    staged.enter()
    stage_size = re.search(r"font-size: (\d+)px", ui.stageLabel.styleSheet)[1]
    assert f'font-size: {stage_size}px"><b>UNLIKE THE TRAINING</b>' in ui.likenessLabel.text
    assert "noise of 34 HU; training 8 to 17 HU" in ui.likenessLabel.text
    assert "#b3001b" in ui.likenessLabel.styleSheet


@pytest.mark.parametrize(("percentile", "share"), [(99.75, "99 % of the"), (100.0, "all")])
def test_a_rank_is_rounded_down(percentile, share):
    found = {"verdict": "unlike", "percentile": percentile, "reasons": [], "promise": "At most 1 %."}
    expected = f"Farther from the training than {share} held-out patients. At most 1 %."
    assert records.likeness_in_words(found) == expected


def test_the_map_is_named_by_the_method_that_automatic_chose():
    record = to_json(with_roi())
    assert records.map_in_words(record) == f"Fine map for {record['attention']['target']}."


# -- methods and models --------------------------------------------------------------------------------------------


@pytest.fixture
def gated_card(tmp_path, monkeypatch):
    """Card of a model with a gated head, without weights."""
    monkeypatch.setenv("GTRSTAGING_MODELS", str(tmp_path))
    card = replace(a_small_model().card, name="mine", head="gated")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "card.json").write_text(json.dumps(card.to_json()))
    return card


def test_each_head_has_its_methods(gated_card):
    for method in Method:
        taken = models.reason_no_map("mine", method) is None
        assert taken == (method in (Method.AUTO, Method.GATED))
        assert (models.reason_no_map("untrained", method) is None) == (method is not Method.GATED)
    assert models.reason_no_map("not here", Method.GATED) is None  # its banner reports the error


def test_apply_reports_that_a_model_has_no_map_of_the_method(gated_card, desk, loaded, tmp_path):
    ui = loaded.ui
    ui.modelSelector.currentIndex = ui.modelSelector.findText("mine")
    assert ui.applyButton.enabled
    ui.methodSelector.currentIndex = list(Method).index(Method.FINE)
    assert not ui.applyButton.enabled
    assert ui.applyHint.text == ui.applyButton.toolTip
    assert "“mine” has no map of the method “Fine map”. Choose “Automatic" in ui.applyHint.text
    assert "“Gated map”" in ui.applyHint.text
    # A batch reports the same error, before any process is started.
    (tmp_path / "cases.csv").write_text("case_id,image,key_slice\na,ct.nrrd,4\n")
    ui.batchTableSelector.currentPath = str(tmp_path / "cases.csv")
    ui.batchFolderSelector.currentPath = str(tmp_path / "out")
    ui.batchRunButton.click()
    assert not loaded.batch.running
    assert [one.text for one in desk.shown if one.kind == "error"] == [ui.applyHint.text]
    ui.methodSelector.currentIndex = list(Method).index(Method.GATED)
    assert ui.applyButton.enabled


# -- the stage set -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "shown_text"),
    [
        ({}, "T2–T3: contains the true stage in 90 % or more of the patients of each stage, on average over "
             "calibrations, if they are like those of the calibration (T1 8, T2 60, T3 60, T4 60); in every set, for "
             "too few patients: T1"),
        ({"warning": "Chosen by them."},
         "T2–T3: meant to contain the true stage in 90 % of the patients of each stage, but may do so less often: see "
         "the warnings (calibration: T1 8, T2 60, T3 60, T4 60); in every set, for too few patients: T1"),
        ({"text": "", "stages": [], "withheld": "the case is <unlike> the training"},
         "withheld: the case is <unlike> the training"),
    ],
)  # fmt: skip
def test_the_stage_set_stands_beside_the_vote(changes, shown_text):
    patients = {"T1": 8, "T2": 60, "T3": 60, "T4": 60}
    within = {"stages": ["T2", "T3"], "level": 0.9, "text": "T2–T3", "patients": patients, "withheld": None,
              "warning": None, **changes}  # fmt: skip
    record = to_json(with_roi())
    record["prediction"]["set"] = within
    assert tables.stage_set_in_words(record["prediction"]) == shown_text
    assert html.escape(shown_text, quote=False) in result_content.stage_content(record).vote


def test_a_record_of_schema_2_1_has_no_stage_set():
    record = to_json(with_roi())
    del record["prediction"]["set"]
    again = records.read(json.dumps(record))
    assert tables.stage_set_in_words(again["prediction"]) == "none: the model has no calibration"


WAY = {"stays_mm": 5.0, "asked_mm": 5.0, "at_least": True}


@pytest.mark.parametrize(
    ("found", "key_stage", "shown_text"),
    [
        ({"step_mm": 5.0, "up": WAY, "down": {**WAY, "stays_mm": 0.0, "at_least": False}}, "T3",
         "towards the head: T3 for at least 5.0 mm; towards the feet: changes within 5.0 mm"),
        ({"step_mm": 5.0, "up": {"stays_mm": 0.0, "asked_mm": 0.0, "at_least": False}, "down": {**WAY, "asked_mm": 20.0,
         "at_least": False}}, "T3", "towards the head: no slice was asked; towards the feet: T3 for 5.0 mm, then it "
         "changes"),
        ({"step_mm": 5.0, "up": WAY, "down": WAY}, "T2", "T3 comes from the neighbours: the key slice alone gives T2"),
        (None, "T3", "not known: no neighbouring slice voted, the CT has no spacing, or the result is of an older "
         "version"),
    ],
)  # fmt: skip
def test_the_panel_states_how_far_the_key_slice_may_move(found, key_stage, shown_text):
    record = to_json(with_roi())
    record["prediction"].update(stage="T3", stability=found)
    next(one for one in record["prediction"]["slices"] if one["offset"] == 0)["stage"] = key_stage
    assert tables.stability_in_words(record["prediction"]) == shown_text
    assert f"If the key slice moves: {shown_text}" in result_content.stage_content(record).vote


# -- older versions ------------------------------------------------------------------------------------------------


def by_grad_cam(tumour):
    """A result that version 1.2 of the record could contain."""
    ct = ct_like()
    options = StagingOptions(method="gradcam")
    return stage_case(scan_of(ct), ready(a_small_model()), options, tumour=tumour, key_slice=keyslice.by_index(ct, 4))


@pytest.mark.parametrize("with_tumour", [True, False])
def test_a_record_of_version_1_2_is_read_with_unknown_fields(with_tumour):
    new = to_json(by_grad_cam(box_on(ct_like()) if with_tumour else None))
    read = records.read(json.dumps(as_version_1_2(new)))
    assert read["attention"] == new["attention"]
    assert read["model"]["check_in_words"] == new["model"]["check_in_words"] == UNCHECKED
    assert read["model"]["check"] is None
    assert (read["familiarity"]["verdict"], read["familiarity"]["percentile"]) == ("not known", None)
    assert read["prediction"] == {**new["prediction"], "stability": None}
    if with_tumour:
        for one, other in zip(read["agreement"]["sweep"], new["agreement"]["sweep"], strict=True):
            assert one == {**other, "blob_dice": None, "mean_mask_dice": None}
        _region, dice, baselines = records.agreement_in_words(read["agreement"], 0.5)
        assert dice.endswith(f"at random in the body scores {read['agreement']['chance_dice']:.3f}.")
        assert baselines.endswith("contains no Dice of a centred blob or the mean mask: press Apply.")
    else:
        assert read["agreement"] is None


@pytest.mark.parametrize("result", [with_roi, without_roi], ids=lambda f: f.__name__)
def test_a_current_record_is_read_unchanged(result):
    record = to_json(result())
    assert records.read(json.dumps(record)) == record


def test_a_scene_of_version_1_2_opens_and_is_shown(desk, panel, scene, tmp_path, a_small_phantom):
    """As the panel saved it then: an older record, Grad-CAM by default, no outline."""
    from GTRStagingSlicer import samples

    ct = samples.add_ct(scene, a_small_phantom.ct, "patient")
    tumour = samples.add_tumour(scene, ct, a_small_phantom.tumour, "drawn")
    model = a_small_model()
    state = panel._parameterNode
    state.inputVolume, state.tumourSegmentation, state.tumourSegment = ct, tumour, samples.TUMOUR
    state.model, state.method, state.showOutline = "untrained", Method.GRADCAM, False
    scene_staging.stage(state, ready(model), scene)
    old = as_version_1_2(scene_staging.record_of(state))
    state.resultText.SetText(json.dumps(old))
    assert scene.WriteToMRB(str(tmp_path / "old.mrb"))
    scene.Clear(False)
    assert scene.ReadFromMRB(str(tmp_path / "old.mrb"))
    panel.enter()
    ui, state = panel.ui, panel._parameterNode
    assert ui.stageLabel.text == old["prediction"]["stage"]
    assert ui.mapLabel.text == f"Grad-CAM for {old['attention']['target']}. {UNCHECKED}"
    assert f"{old['agreement']['dice']:.3f}" in ui.agreementLabel.text
    assert "contains no Dice of a centred blob or the mean mask" in ui.agreementLabel.text
    ui.thresholdSlider.value = 0.7
    (at_07,) = [one for one in old["agreement"]["sweep"] if one["threshold"] == 0.7]
    assert f"{at_07['dice']:.3f}" in ui.agreementLabel.text
    measures = [ui.agreementTable.item(i, 0).text() for i in range(ui.agreementTable.rowCount)]
    assert ui.agreementTable.item(measures.index("Dice of a centred blob"), 1).text() == "–"
    ui.overlayButton.click()
    before = node_ids(scene)
    scene_staging.stage(state, ready(model), scene)
    panel.enter()
    assert set(node_ids(scene)) >= set(before)
    assert "contains no Dice" not in ui.agreementLabel.text
    assert [one.text for one in desk.shown if one.kind == "error"] == []
