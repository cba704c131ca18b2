"""The check of a model's maps: verdicts, missing tests, and the card."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from helpers.spots import a_random_model, a_spot_model, a_spotted_cohort

from GTRStagingLib.checking.card_writing import LOCK, require_writable, write_check
from GTRStagingLib.checking.model_check import Check, check_model, compare_with_other_patients, draw_cases
from GTRStagingLib.checking.rules import LEAST_PATIENTS, judge
from GTRStagingLib.cohort.cohort import Case
from GTRStagingLib.errors import InputError, WeightsError
from GTRStagingLib.model import registry, weights
from GTRStagingLib.model.randomised import parts_of
from GTRStagingLib.stages import TStage
from GTRStagingLib.staging.map_checks import Measured, SeenSlice


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    return a_spotted_cohort(tmp_path_factory.mktemp("spots") / "cases", LEAST_PATIENTS)


@pytest.fixture(scope="module")
def of_spots(cases):
    return check_model(a_spot_model(), cases, device="cpu")


# -- whole checks --------------------------------------------------------------------------------------------------


def test_a_map_of_what_decides_passes(of_spots):
    found, tests = of_spots.found, of_spots.found["tests"]
    assert {name: one["passed"] for name, one in tests.items()} == dict.fromkeys(tests, True)
    assert (tests["empty_maps"]["empty"], "empty" in found["summary"]) == (0, False)
    assert found["verdict"] == "passed"
    assert (found["method"], found["cases"], found["patients"], found["rois"]) == ("fine", 20, 20, 20)
    location = tests["location"]
    assert location["dice"]["mean"] > 0.8
    assert all(location[name]["mean"] < 0.2 for name in ("chance", "blob", "mean_mask"))
    assert location["pointing_hit"]["map"]["mean"] == 1
    # The disc is in the left half of the body: its mean over other patients knows more than chance does.
    assert location["mean_mask"]["mean"] > location["chance"]["mean"]
    assert location["energy_inside"]["mean_mask"]["mean"] > 2 * location["energy_inside"]["chance"]["mean"]
    assert tests["deletion"]["fall"]["mean"] > 0.1 > tests["deletion"]["control"]["mean"]
    curve = tests["random_weights"]["curve"]
    assert [point["random"] for point in curve] == list(parts_of("mean"))
    assert f"Dice {location['dice']['mean']:.2f}" in found["summary"]


def test_the_stored_check_has_no_identifiers_and_is_plain_data(of_spots, cases):
    text = json.dumps(of_spots.found, allow_nan=False)
    assert not any(case.case_id in text or case.patient_id in text or str(case.image) in text for case in cases)
    assert of_spots.left_out == {}


def test_a_map_that_every_stage_has_fails(cases):
    found = check_model(a_spot_model(by_stage=False), cases, device="cpu").found
    assert found["verdict"] == "failed"
    assert found["summary"].startswith("other stage fails")
    assert found["tests"]["other_stage"]["spearman"]["mean"] == pytest.approx(1, abs=0.01)
    assert found["tests"]["location"]["passed"]


def test_an_untrained_model_does_not_pass(cases):
    found = check_model(a_random_model(), cases, device="cpu").found
    assert found["verdict"] == "failed"
    assert not found["tests"]["deletion"]["passed"]
    assert abs(found["tests"]["deletion"]["fall"]["mean"]) < 0.01


def test_a_gate_is_checked_by_its_own_map_from_itself_down(cases):
    model = a_random_model()
    gated = weights.seeded_network(10, "none", 0, "gated").eval().requires_grad_(False)
    found = check_model(
        replace(model, network=gated, card=replace(model.card, head="gated")), cases, device="cpu"
    ).found
    assert (found["method"], found["verdict"]) == ("gated", "failed")
    weights_test = found["tests"]["random_weights"]
    assert [point["random"] for point in weights_test["curve"]] == list(parts_of("gated"))
    assert [point["random"] for point in weights_test["late"]] == ["layer4", "layer4 and layer3"]


def test_without_rois_the_other_tests_count_and_location_is_missing(tmp_path):
    cases = a_spotted_cohort(tmp_path / "cases", LEAST_PATIENTS, rois=False)
    check = check_model(a_spot_model(), cases, device="cpu")
    assert check.found["verdict"] == "passed"
    assert check.found["tests"]["location"]["passed"] is None
    assert check.found["summary"].startswith("location not checked: no ROIs; 20 cases; ")
    assert check.mean_mask is None


def test_with_rois_of_too_few_patients_nothing_is_passed(cases):
    some = [case if i < 3 else replace(case, roi=None) for i, case in enumerate(cases)]
    found = check_model(a_spot_model(), some, device="cpu").found
    assert found["verdict"] == "not checked"
    assert found["summary"].startswith("location not checked: 3 patients with an ROI, fewer than 20; 20 cases; ")
    assert (found["tests"]["location"]["passed"], found["tests"]["location"]["cases"]) == (None, 3)


def test_a_second_check_gives_the_same_result(folder, cases, of_spots):
    """The mean mask of the first check contains the cases of the second."""
    write_check(of_spots, folder)
    assert weights.load(str(folder)).mean_mask is not None
    for model in (str(folder), weights.load(str(folder))):
        again = check_model(model, cases, device="cpu").found
        assert {**again, "utc": of_spots.found["utc"]} == of_spots.found


def test_a_model_that_was_replaced_under_its_name_is_checked_as_it_is_now(folder, cases, of_spots):
    first = check_model(str(folder), cases, device="cpu").found
    shutil.rmtree(folder)
    weights.save(a_spot_model(by_stage=False), folder)
    assert first["verdict"] == "passed"
    assert check_model(str(folder), cases, device="cpu").found["verdict"] == "failed"


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_out_of_range_is_refused(cases, seed):
    with pytest.raises(InputError, match=f"seed is {seed}; expected 0 or more"):
        check_model(a_spot_model(), cases, seed=seed)


def test_too_few_patients_are_not_measured(cases):
    few = check_model(a_spot_model(), [replace(case, patient_id="one") for case in cases], device="cpu")
    assert (few.found["verdict"], few.found["tests"]) == ("not checked", {})
    assert few.found["summary"] == "1 patient, fewer than 20"
    with pytest.raises(InputError, match="no case"):
        check_model(a_spot_model(), [], device="cpu")


def test_a_case_that_cannot_be_staged_is_left_out_and_counted(cases, tmp_path):
    broken = replace(cases[0], case_id="broken", patient_id="other", image=tmp_path / "none.nii.gz")
    check = check_model(a_spot_model(), [*cases, broken], device="cpu")
    assert list(check.left_out) == ["broken"]
    assert "none.nii.gz" in check.left_out["broken"]
    assert (check.found["cases"], check.found["left_out"]) == (20, 1)
    nowhere = [replace(case, image=tmp_path / "none.nii.gz") for case in cases]
    with pytest.raises(InputError, match=r"No case could be staged.*none\.nii\.gz"):
        check_model(a_spot_model(), nowhere, device="cpu")


# -- which cases ---------------------------------------------------------------------------------------------------


def a_case(number, stage):
    return Case(case_id=f"case{number}", patient_id=f"patient{number}", image="ct.nii.gz", stage=stage)


def test_cases_are_drawn_evenly_from_the_stages_and_by_the_seed():
    cases = [a_case(i, TStage.T1 if i < 30 else TStage(i % 4)) for i in range(50)]
    chosen = draw_cases(cases, 8, 0)
    assert sorted(case.stage for case in chosen) == [s for s in TStage for _ in range(2)]
    assert draw_cases(cases[::-1], 8, 0) == chosen
    assert draw_cases(cases, 8, 1) != chosen
    assert len(draw_cases(cases, None, 0)) == 50
    unknown = [a_case(i, None) for i in range(3)]
    assert len(draw_cases(unknown, 2, 0)) == 2


# -- the mean mask of the others -----------------------------------------------------------------------------------


def seen(cells):
    roi = np.zeros((6, 6), np.float32)
    roi[tuple(zip(*cells, strict=True))] = 1
    heat = np.zeros((6, 6), np.float32)
    heat[0, :2] = 1
    slice_ = SeenSlice(np.zeros((3, 24, 24), np.float32), TStage.T1, heat, np.ones((6, 6), bool), roi)
    return Measured({"empty": 0.0, "roi_area_mm2": 16.0 * len(cells)}, slice_, "digest")


def test_the_mean_mask_of_a_case_is_that_of_other_patients():
    """Two patients with separate ROIs, one with two cases: the mean of others never contains a patient's own ROI."""
    here, there = [(1, 1), (1, 2)], [(4, 4), (4, 5)]
    rows, mean = compare_with_other_patients([seen(here), seen(here), seen(there)], ["a", "a", "b"])
    assert [row["mean_mask_dice"] for row in rows] == [0, 0, 0]
    assert rows[0]["mean_mask_centroid_mm"] == pytest.approx(4 * np.hypot(3, 3))
    assert mean[1, 1] == pytest.approx(2 / 3)
    rows, _ = compare_with_other_patients([seen(here), seen(here), seen(there)], ["a", "b", "c"])
    assert [row["mean_mask_dice"] for row in rows] == [1, 1, 0]
    assert rows[0]["mean_mask_energy"] == pytest.approx(0.5)
    assert rows[0]["mean_mask_pointing"] == 1


def test_baselines_of_an_empty_map_are_empty():
    here = [(1, 1), (1, 2)]
    empty = replace(seen(here), numbers={"empty": 1.0, "dice": 0.0})
    rows, mean = compare_with_other_patients([seen(here), empty, seen(here)], ["a", "b", "c"])
    assert rows[1] == {"mean_mask_dice": 0.0}
    assert mean[1, 1] == 1


# -- the rules -----------------------------------------------------------------------------------------------------

GOOD = {
    "dice": 0.6, "chance_dice": 0.02, "blob_dice": 0.05, "mean_mask_dice": 0.2, "other_spearman": 0.0,
    "fall": 0.4, "control_fall": 0.02,
}  # fmt: skip
GONE = {"spearman": 0.1, "dice": 0.03, "chance_dice": 0.02, "blob_dice": 0.05}


def verdict(n=24, last=GONE, **numbers):
    rng = np.random.default_rng(0)
    rows = [{k: v + rng.normal(0, 0.02) for k, v in {**GOOD, **numbers}.items() if v is not None} for _ in range(n)]
    patients = [f"p{i}" for i in range(n)]
    return judge(rows, patients, {"fc": [GONE] * n, "stem": [last] * n}, {}, range(n))


def test_what_is_good_in_all_ways_passes():
    assert verdict().verdict == "passed"


@pytest.mark.parametrize(
    ("test", "numbers"),
    [
        ("location", {"mean_mask_dice": 0.6}),
        ("location", {"blob_dice": 0.6}),
        ("location", {"dice": 0.02}),
        ("other_stage", {"other_spearman": 0.73}),
        ("deletion", {"fall": 0.02}),
        ("deletion", {"fall": 0.05}),  # certain, and a trifle
        ("random_weights", {"last": {**GONE, "spearman": 0.8}}),
        ("random_weights", {"last": {**GONE, "dice": 0.3}}),
    ],
)
def test_one_test_that_fails_is_enough(test, numbers):
    found = verdict(**numbers)
    assert found.verdict == "failed"
    assert [name for name, one in found.tests.items() if one["passed"] is False] == [test]
    assert found.summary.startswith(test.replace("_", " "))


NOTHING = {"empty": 1.0, "dice": 0.0, "chance_dice": 0.0, "blob_dice": 0.0, "mean_mask_dice": 0.0}


def with_empty(empty, n, of_empty=NOTHING):
    rows = [of_empty] * empty + [{**GOOD, "empty": 0.0}] * (n - empty)
    return judge(rows, [f"p{i}" for i in range(n)], {"stem": [GONE] * 24}, {}, range(n - 24, n))


@pytest.mark.parametrize("of_empty", [NOTHING, {"empty": 1.0}], ids=["with an ROI", "without"])
def test_a_model_of_many_empty_maps_fails(of_empty):
    found = with_empty(180, 200, of_empty)
    assert found.verdict == "failed"
    assert found.summary.startswith("empty maps fails; 200 cases; 180 of 200 maps are empty; ")
    assert [name for name, one in found.tests.items() if one["passed"] is False] == ["empty_maps"]


def test_a_few_empty_maps_are_reported_with_a_dice_of_0():
    found = with_empty(10, 100)
    assert (found.verdict, "10 of 100 maps are empty" in found.summary) == ("passed", True)
    assert found.tests["location"]["dice"]["mean"] == pytest.approx(0.9 * GOOD["dice"])
    assert found.tests["location"]["cases"] == 100
    assert with_empty(11, 100).verdict == "failed"


def test_many_cases_without_a_control_are_reported():
    def without(some):
        bare = {name: value for name, value in GOOD.items() if name != "control_fall"}
        rows = [bare] * some + [GOOD] * (100 - some)
        return judge(rows, [f"p{i}" for i in range(100)], {"stem": [GONE] * 24}, {}, range(24))

    many = without(60)
    assert "60 of 100 cases without a control" in many.summary
    assert (many.tests["deletion"]["without_control"], many.tests["deletion"]["without_control_share"]) == (60, 0.6)
    assert "without a control" not in without(10).summary


def test_few_rois_are_reported_beside_failures():
    rows = [{**GOOD, "other_spearman": 0.9}] * 5
    rows += [{name: row[name] for name in ("other_spearman", "fall", "control_fall")} for row in rows * 5]
    found = judge(rows, [f"p{i}" for i in range(30)], {"stem": [GONE] * 24}, {}, range(24))
    assert found.verdict == "failed"
    assert found.summary.startswith("other stage fails; location not checked: 5 patients with an ROI, fewer than 20; ")


def test_a_test_without_measures_does_not_pass():
    found = verdict(control_fall=None)
    assert found.verdict == "not checked"
    assert "0 patients with a map and a control" in found.summary
    few = verdict(last={**GONE, "spearman": float("nan")})
    assert few.verdict == "not checked"


def test_a_patient_with_many_cases_is_one():
    rows = [dict(GOOD)] * 40
    found = judge(rows, ["a", "b"] * 20, {"stem": [GONE] * 24}, {}, range(24))
    assert found.tests["location"]["passed"] is None
    assert found.verdict == "not checked"


def test_one_patient_with_a_quarter_of_the_cases_leaves_no_test():
    """Without an interval, a test would otherwise be passed by the value alone."""
    rows = [dict(GOOD)] * 60
    ids = ["one"] * 15 + [f"p{k}" for k in range(45)]
    found = judge(rows, ids, {"stem": [GONE] * 24}, {}, range(24))
    assert found.tests["location"]["passed"] is None
    assert "one patient has 15 of 60 rows, more than a fifth" in found.tests["location"]["reason"]
    assert found.verdict == "not checked"


# -- the card ------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    weights.save(a_spot_model(), tmp_path / "model")
    return tmp_path / "model"


def test_the_folder_contains_the_verdict_and_the_mean_mask(folder, of_spots):
    before = registry.read_card(folder)
    assert before.check_in_words == "This map has not been checked for this model."
    card = write_check(of_spots, folder, weights_sha256=before.sha256)
    model = weights.load(str(folder))
    assert model.card == card == registry.read_card(folder)
    assert card.check == {**of_spots.found, "mean_mask": "of a check"}
    np.testing.assert_allclose(model.mean_mask, of_spots.mean_mask, atol=1e-3)
    assert model.mean_mask.shape == (24, 24)
    assert card.map_check("fine").startswith("The map of this model passed its check (20 cases; Dice 0.")
    assert card.map_check("layercam").startswith("This map has not been checked for this model: the check used maps")
    assert replace(card, check=None) == replace(before, mean_mask_sha256=card.mean_mask_sha256)


def test_a_later_check_without_rois_leaves_the_mean_mask(folder, of_spots):
    first = write_check(of_spots, folder)
    again = write_check(Check({**of_spots.found, "verdict": "failed"}), folder)
    assert again.mean_mask_sha256 == first.mean_mask_sha256
    assert weights.load(str(folder)).mean_mask is not None
    third = write_check(Check(of_spots.found, np.zeros((24, 24), np.float32)), folder)
    assert third.mean_mask_sha256 != first.mean_mask_sha256
    assert "FAILED its check: do not rely on it" in again.check_in_words


def test_the_mean_mask_of_a_training_stays(tmp_path, of_spots):
    learned = np.full((24, 24), 0.25, np.float32)
    weights.save(replace(a_spot_model(), mean_mask=learned), tmp_path / "model")
    card = write_check(of_spots, tmp_path / "model")
    assert card.check["mean_mask"] == "of the model"
    np.testing.assert_array_equal(weights.load(str(tmp_path / "model")).mean_mask, learned)


def test_a_check_that_measured_nothing_does_not_replace_another(folder, of_spots):
    few = Check({"verdict": "not checked", "summary": "1 patient, fewer than 20", "method": "fine", "tests": {}})
    assert write_check(few, folder).check["verdict"] == "not checked"  # where there was none
    assert write_check(of_spots, folder).check["verdict"] == "passed"
    with pytest.raises(InputError, match=r"1 patient, fewer than 20.*Give more cases"):
        write_check(few, folder)
    assert registry.read_card(folder).check["verdict"] == "passed"


def test_checks_at_once_leave_a_model_that_loads(folder, of_spots):
    shares = [k / 10 for k in range(1, 9)]
    checks = [Check({**of_spots.found, "seed": k}, np.full((24, 24), share)) for k, share in enumerate(shares)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda one: write_check(one, folder), checks))
    model = weights.load(str(folder))
    assert model.mean_mask == pytest.approx(shares[model.card.check["seed"]], abs=1e-3)


def test_weights_replaced_during_the_check_are_not_marked_as_checked(folder, of_spots):
    with pytest.raises(WeightsError, match="replaced during the check"):
        write_check(of_spots, folder, weights_sha256="0" * 64)
    assert registry.read_card(folder).check is None


def test_a_folder_without_write_access_is_reported_before_the_check(folder, of_spots):
    with pytest.raises(WeightsError, match=r"built in.*`dry_run`"):
        require_writable("untrained", None)
    (folder / LOCK).mkdir()  # what not even root can write to
    with pytest.raises(WeightsError, match=r"cannot be written to.*`dry_run`"):
        write_check(of_spots, folder)
    assert registry.read_card(folder).check is None
    (folder / LOCK).rmdir()
    folder.chmod(0o555)
    try:
        if (folder / "card.json").stat().st_uid == 0:
            pytest.skip("root writes anywhere")
        with pytest.raises(WeightsError, match=r"cannot be written to.*`dry_run`"):
            require_writable("model", folder)
        with pytest.raises(WeightsError, match="cannot be written to"):
            write_check(of_spots, folder)
    finally:
        folder.chmod(0o755)


def test_a_card_of_before_there_were_checks_is_read(folder):
    path = folder / registry.CARD_FILE
    data = json.loads(path.read_text())
    del data["check"], data["mean_mask_sha256"]
    path.write_text(json.dumps(data))
    assert registry.read_card(folder).map_check("fine") == "This map has not been checked for this model."
