"""A result as JSON: whole, strict, and of the published schema."""

import json
import math
import subprocess
import sys
from copy import deepcopy
from dataclasses import replace

import jsonschema
import numpy as np
import pytest
from helpers import results

from GTRStagingLib.model.card import ModelCard
from GTRStagingLib.model.recipe import Recipe
from GTRStagingLib.results.record import SCHEMA_VERSION, schema, to_json
from GTRStagingLib.stages import RESEARCH_USE_ONLY


@pytest.fixture(scope="module")
def validator():
    jsonschema.Draft202012Validator.check_schema(schema())
    return jsonschema.Draft202012Validator(schema())


@pytest.mark.smoke
@pytest.mark.parametrize("case", results.ALL)
@pytest.mark.parametrize("include_phi", [False, True])
def test_every_kind_of_result_follows_the_schema_through_a_file(validator, case, include_phi):
    record = to_json(results.ALL[case](), include_phi=include_phi)
    validator.validate(record)
    assert json.loads(json.dumps(record, allow_nan=False)) == record  # plain data: no tuples, no numpy


def test_the_stage_and_the_vote_can_be_recounted():
    record = to_json(results.split_vote())["prediction"]
    assert record["stage"] == "T3"
    assert record["votes"] == {"T1": 0, "T2": 1, "T3": 2, "T4": 0}
    assert [one["stage"] for one in record["slices"]] == ["T2", "T3", "T3"]
    assert [one["offset"] for one in record["slices"]] == [-1, 0, 1]
    assert [one["index"] for one in record["slices"]] == [2, 3, 4]
    assert (record["unanimous"], record["tied"], record["mean_probability_stage"]) == (False, False, "T3")
    assert record["probabilities"] == pytest.approx(np.mean([s["probabilities"] for s in record["slices"]], axis=0))


def test_numbers_come_back_as_they_were():
    result = results.with_roi()
    record = json.loads(json.dumps(to_json(result), allow_nan=False))
    assert np.array_equal(np.array(record["features"], dtype=np.float32), result.features)
    assert np.array_equal(np.array(record["attention"]["maps"], dtype=np.float32), result.attention.maps)
    assert record["agreement"]["dice"] == result.agreement.dice
    assert record["agreement"]["otsu"]["hd95_mm"] == result.agreement.at_otsu.hd95_mm
    assert [cut["threshold"] for cut in record["agreement"]["sweep"]] == [c.threshold for c in result.agreement.sweep]
    assert record["key_slice"]["tumour_area_mm2"] == result.key_slice.tumour_area_mm2
    assert record["input"]["spacing_mm"] == pytest.approx(list(result.scan.image.GetSpacing()))
    assert record["timings_s"]["reading"] == 0.5


def test_model_and_recipe_can_be_made_again_from_the_record():
    result = results.with_roi()
    record = to_json(result)
    card = {key: value for key, value in record["model"].items() if key not in ("warning", "check_in_words")}
    assert ModelCard.from_json(card) == result.model
    assert Recipe.from_json(record["provenance"]["recipe"]) == result.model.recipe
    assert record["provenance"]["weights_sha256"] == result.model.sha256


def test_every_record_of_a_leaking_model_contains_its_warning(validator):
    result = results.split_vote()  # by a trained model
    assert result.model.warning is None
    leaking = replace(result.model, leaking=True, training={"audit": {"leaks": 2}})
    record = to_json(replace(result, model=leaking))
    validator.validate(record)
    assert "LEAKING" in record["model"]["warning"]
    record["model"]["warning"] = None
    assert not validator.is_valid(record)


def test_undefined_values_are_null_with_a_reason():
    agreement = to_json(results.roi_elsewhere())["agreement"]
    assert agreement["dice"] is agreement["hd95_mm"] is agreement["energy_inside"] is agreement["pointing_hit"] is None
    assert agreement["mean_mask_dice"] is None
    assert set(agreement["reasons"]) == {"all", "mean mask"}
    assert agreement["reasons"]["all"] == "the ROI has no pixel in the key slice"
    assert to_json(results.without_roi())["agreement"] is None


def test_a_picture_has_no_millimetres():
    record = to_json(results.a_picture())
    assert record["input"]["spacing_mm"] is record["input"]["origin_mm"] is None
    assert record["prepared"]["grid"]["spacing_mm"] is None
    assert record["key_slice"]["position_mm"] is record["key_slice"]["tumour_area_mm2"] is None
    assert record["agreement"]["hd95_mm"] is None
    assert record["agreement"]["dice"] is not None
    assert "millimetres" in record["agreement"]["reasons"]


def test_every_record_carries_the_warnings():
    record = to_json(results.with_roi())
    assert record["research_use_only"] == RESEARCH_USE_ONLY
    assert record["schema_version"] == SCHEMA_VERSION == schema()["properties"]["schema_version"]["const"]
    assert "UNTRAINED" in record["model"]["warning"]
    assert any("UNTRAINED" in text for text in record["warnings"])
    assert to_json(results.split_vote())["model"]["warning"] is None


def test_identifiers_only_on_request():
    assert "identifiers" not in to_json(results.with_roi())
    assert not any(value in json.dumps(to_json(results.with_roi())) for value in results.IDENTIFIERS.values())
    assert to_json(results.with_roi(), include_phi=True)["identifiers"] == results.IDENTIFIERS


def test_an_infinite_number_is_refused_not_hidden():
    features = results.with_roi().features.copy()
    features[0, 0] = np.inf
    with pytest.raises(ValueError, match="not JSON compliant"):
        json.dumps(to_json(replace(results.with_roi(), features=features)), allow_nan=False)


def broken(path, value):
    record = deepcopy(to_json(results.with_roi()))
    target = record
    for key in path[:-1]:
        target = target[key]
    if value is KeyError:
        del target[path[-1]]
    else:
        target[path[-1]] = value
    return record


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("prediction", "stage"), "T5"),
        (("prediction", "stage"), 2),
        (("prediction", "probabilities"), [0.2, 0.3, 0.5]),
        (("prediction", "slices", 1, "probabilities"), [0.2, 0.3, 0.5, 1.5]),
        (("prediction", "slices", 1, "offset"), 3),
        (("prediction", "votes", "T2"), KeyError),
        (("prediction", "mean_probability_stage"), KeyError),
        (("key_slice", "chosen_by"), "luck"),
        (("agreement", "dice"), None),  # undefined, and no reason
        (("agreement", "hd95_mm"), None),
        (("agreement", "reasons", "mean mask"), KeyError),
        (("agreement", "dice"), 1.2),
        (("agreement", "otsu", "iou"), KeyError),
        (("attention", "maps", 0, 0, 0), -1.0),
        (("attention", "alignment"), "corner"),
        (("input", "spacing_mm"), None),
        (("model", "warning"), None),  # untrained, and no warning
        (("provenance", "weights_sha256"), "abc"),
        (("provenance", "recipe"), "gtr"),
        (("provenance", "utc"), "yesterday"),
        (("research_use_only",), "For clinical use."),
        (("timings_s",), KeyError),
        (("warnings",), KeyError),
        (("schema_version",), "0.9"),
        (("surprise",), 1),
    ],
)
def test_the_schema_rejects_broken_records(validator, path, value):
    assert not validator.is_valid(broken(path, value))


def test_the_schema_accepts_the_record_before_it_was_broken(validator):
    assert validator.is_valid(broken(("case_id",), "another"))
    assert math.isfinite(broken(("case_id",), "another")["agreement"]["dice"])


def test_writing_a_record_needs_no_torch():
    code = "import GTRStagingLib.results.record, sys; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
