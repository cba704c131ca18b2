"""Whether a case is like the training: its measures, its distance, and the verdict with its promised rates."""

import math
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from helpers.results import a_picture, a_small_model, scan_of, with_roi
from sklearn.covariance import LedoitWolf

from GTRStagingLib.checking.familiarity_fit import fit_reference
from GTRStagingLib.errors import InputError, WeightsError
from GTRStagingLib.imaging import keyslice
from GTRStagingLib.model.backbone import ready
from GTRStagingLib.model.recipe import Recipe
from GTRStagingLib.model.reference import Reference
from GTRStagingLib.staging import familiarity
from GTRStagingLib.staging.familiarity import Measures, combined, judge, measure
from GTRStagingLib.staging.pipeline import stage_case
from GTRStagingLib.staging.preprocess import prepare

PIXEL, SLICE, SIDE = 2.0, 4.0, 128
SMALL = Recipe("gtr", spacing_mm=2.0, input_size=128)


def a_body(rng, *, noise=10.0, radius=100.0, pixel=PIXEL, slice_mm=SLICE, right=0.0, bone=0.0):
    """Return a scan of a disc of soft tissue (60 HU) in a ring of fat, with a square of gas and one of bone."""
    y, x = (np.indices((SIDE, SIDE)) - (SIDE - 1) / 2) * pixel
    from_middle = np.hypot(y, x - right)
    hu = np.full((SIDE, SIDE), -1000.0)
    hu[from_middle < radius] = -100
    hu[from_middle < radius - 20] = 60
    hu[(np.abs(x - right) < 10) & (np.abs(y) < 10)] = -900
    hu[(np.abs(x - right - 30) < bone / 2) & (np.abs(y) < bone / 2)] = 900
    volume = hu + rng.normal(0, noise, (3, SIDE, SIDE))
    image = sitk.GetImageFromArray(np.rint(np.clip(volume, -1024, 3000)).astype(np.int16))
    image.SetSpacing((pixel, pixel, slice_mm))
    return image


def measured(image, features=None, **changes):
    scan = scan_of(image, **changes)
    slices = prepare(scan, keyslice.by_index(image, 1), SMALL)
    return measure(scan, slices, np.zeros((3, 4)) if features is None else features)


# -- measures ------------------------------------------------------------------------------------------------------


def test_the_measures_are_those_of_the_drawn_body():
    rng = np.random.default_rng(0)
    found = measured(a_body(rng, right=12.0, bone=20.0), acquisition={"KVP": "120", "SliceThickness": "5.0 mm"})
    numbers = found.numbers
    area = math.pi * 100**2
    assert numbers["area_cm2"] == pytest.approx(area / 100, rel=0.02)
    assert numbers["air_percent"] == pytest.approx(100 * 20 * 20 / area, rel=0.1)
    assert numbers["bone_percent"] == pytest.approx(100 * 20 * 20 / area, rel=0.1)
    assert numbers["fat_percent"] == pytest.approx(100 * (1 - 0.8**2), rel=0.05)
    assert numbers["soft_hu"] == pytest.approx(60, abs=1)
    assert numbers["dense_hu"] == pytest.approx(60 + 1.2816 * 10, abs=1)  # the normal distribution's 90 % quantile
    assert numbers["noise_hu"] == pytest.approx(10, rel=0.06)
    assert numbers["right_mm"] == pytest.approx(12, abs=1)
    assert numbers["back_mm"] == pytest.approx(0, abs=1)
    assert numbers["border_percent"] == 0
    assert (numbers["slice_mm"], numbers["pixel_mm"], numbers["field_mm"]) == (SLICE, PIXEL, SIDE * PIXEL)
    assert numbers["tube_kv"] == 120
    assert "thickness_mm" not in numbers  # the header's value is no number


@pytest.mark.parametrize("sigma", [5.0, 20.0, 40.0])
def test_the_noise_does_not_depend_on_the_anatomy(sigma):
    rng = np.random.default_rng(1)
    small, large = (measured(a_body(rng, noise=sigma, radius=radius)).numbers["noise_hu"] for radius in (60, 120))
    assert (small, large) == (pytest.approx(sigma, rel=0.08), pytest.approx(sigma, rel=0.08))


def test_a_body_beyond_the_field_touches_its_border():
    found = measured(a_body(np.random.default_rng(0), radius=100.0, right=128.0)).numbers
    assert 10 < found["border_percent"] < 25  # a diameter of 200 mm of a border of 4 times 256 mm


def test_a_picture_has_neither_tissue_nor_acquisition():
    result = a_picture()
    found = measure(result.scan, result.slices, result.features)
    assert sorted(found.vectors) == ["features", "picture"]
    assert (found.numbers, found.categories) == ({}, {})
    assert found.vectors["picture"].shape == (24**2,)


# -- the distance --------------------------------------------------------------------------------------------------


def drawn(rng, count, *, shift=0.0, **fixed):
    """Return measures of random vectors, without any image."""
    made = []
    for _ in range(count):
        numbers = {"slice_mm": float(rng.choice([3.0, 5.0])), "noise_hu": rng.uniform(8, 17), **fixed}
        vectors = {
            "features": rng.normal(size=6) * (1, 2, 3, 4, 5, 6) + shift,
            "picture": rng.normal(size=9) * 0.2 + np.linspace(0, 1, 9),
        }
        made.append(Measures(vectors, numbers, {"ConvolutionKernel": str(rng.choice(["SOFT", "STANDARD"]))}))
    return made


@pytest.fixture(scope="module")
def reference():
    rng = np.random.default_rng(3)
    return fit_reference(drawn(rng, 200), drawn(rng, 199), "calibration")


def test_the_distance_along_the_axes_is_that_of_ledoit_and_wolf():
    rng = np.random.default_rng(5)
    training, held_out = drawn(rng, 60), drawn(rng, 30)
    cloud = fit_reference(training, held_out, "validation").clouds["features"]
    vectors = np.array([one.vectors["features"] for one in training])
    expected = LedoitWolf().fit(vectors).mahalanobis([one.vectors["features"] for one in held_out]) / 6
    found = [np.exp(2 * cloud.log_distances(one.vectors["features"])) for one in held_out]
    assert len(cloud.variances) == 6
    np.testing.assert_allclose(np.ravel(found), expected, rtol=1e-6)


def test_what_the_axes_leave_is_measured():
    """Training pictures vary in one plane; a picture outside it is far, although its projection is in the middle."""
    rng = np.random.default_rng(6)
    axes = np.linalg.qr(rng.normal(size=(40, 40)))[0]

    def pictures(count):
        vectors = rng.normal(size=(count, 40)) * 0.05
        vectors[:, :2] += rng.normal(size=(count, 2))
        return [Measures({"features": rng.normal(size=3), "picture": axes @ one}, {}, {}) for one in vectors]

    found = fit_reference(pictures(80), pictures(99), "calibration")
    cloud = found.clouds["picture"]
    assert cloud.rest > 0
    off = np.zeros(40)
    off[39] = 5.0
    _, left = cloud.log_distances(cloud.mean + axes @ off)
    assert left - cloud.centre[1] > math.log(10)
    assert judge(Measures({"features": np.zeros(3), "picture": axes @ off}, {}, {}), found).verdict == "unlike"


def test_a_number_that_is_never_known_in_training_is_not_compared():
    rng = np.random.default_rng(7)

    def cases(count, slice_mm):
        made = []
        for _ in range(count):
            tissue, acquisition = rng.normal(size=10), np.array([slice_mm, 0.1, 0.2, 0.3]) + rng.normal(size=4) * 0.1
            made.append(
                Measures({"features": rng.normal(size=2), "tissue": tissue, "acquisition": acquisition}, {}, {})
            )
        return made

    found = fit_reference(cases(40, math.nan), cases(40, math.nan), "validation")
    (known,), (unknown,) = cases(1, 100.0), cases(1, math.nan)
    assert abs(found.clouds["acquisition"].distance(known.vectors["acquisition"])) < 4
    assert math.isfinite(found.clouds["acquisition"].distance(unknown.vectors["acquisition"]))


# -- the verdict ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("patients", "unlike", "unusual"),
    [(99, 1, 5), (400, 4, 20), (98, 1, 4), (19, 1, 1)],
)
def test_the_limits_are_order_statistics(patients, unlike, unusual):
    """m of n + 1 patients may be flagged: 1 % of 100, 4 of 401, 5 % of 100; with few patients always one."""
    found = Reference({}, np.arange(1.0, patients + 1), {}, {}, "calibration")
    assert found.limit("unlike") == patients + 1 - unlike
    assert found.limit("unusual") == patients + 1 - unusual
    assert found.rate("unlike") == max(0.01, 1 / (patients + 1))


def test_the_rates_of_false_alarms_are_kept(reference):
    """4,000 new patients of the same distribution; a share of 5 % varies by 1.5 % between references."""
    rng = np.random.default_rng(11)
    shares = []
    for _ in range(10):
        found = fit_reference(drawn(rng, 60), drawn(rng, 199), "calibration")
        verdicts = [judge(one, found).verdict for one in drawn(rng, 400)]
        shares.append([verdicts.count("unlike") / 400, (verdicts.count("unlike") + verdicts.count("unusual")) / 400])
    unlike, flagged = np.mean(shares, axis=0)
    assert unlike < 0.01 + 3 * 0.007 / math.sqrt(10)
    assert 0.02 < flagged < 0.05 + 3 * 0.015 / math.sqrt(10)


def test_a_far_case_is_unlike_and_says_why(reference):
    (far,) = drawn(np.random.default_rng(1), 1, shift=200.0, noise_hu=34.0)
    found = judge(far, reference)
    assert (found.verdict, found.percentile) == ("unlike", 100)
    assert found.distance > reference.limit("unlike")
    assert found.numbers == far.numbers
    assert found.reasons[0].startswith("noise of 34 HU; training 8.")
    assert found.reasons[0].endswith(" HU")
    assert "the features of the network are unlike those of training" in found.reasons
    assert "199 held-out ones (calibration)" in found.promise
    assert "at most 5 % are called unusual or unlike, and at most 1 % unlike" in found.promise


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"slice_mm": 1.5}, "slices 1.5 mm apart; training 3 to 5 mm"),
        ({"kernel": "DETAIL"}, "kernel DETAIL; training SOFT, STANDARD"),
    ],
)
def test_another_scanner_alone_is_unusual_and_not_unlike(reference, changes, reason):
    usual = next(one for one in drawn(np.random.default_rng(2), 50) if judge(one, reference).verdict == "usual")
    kernel = changes.get("kernel", "SOFT")
    numbers = {**usual.numbers, **{name: value for name, value in changes.items() if name != "kernel"}}
    found = judge(replace(usual, numbers=numbers, categories={"ConvolutionKernel": kernel}), reference)
    assert found.verdict == "unusual"
    assert reason in " ".join(sorted(found.reasons, key=len)).replace("STANDARD, SOFT", "SOFT, STANDARD")


def test_a_rounded_header_is_within_the_range(reference):
    usual = next(one for one in drawn(np.random.default_rng(2), 50) if judge(one, reference).verdict == "usual")
    assert judge(replace(usual, numbers={**usual.numbers, "slice_mm": 5.1}), reference).verdict == "usual"


def test_a_scanner_outside_the_training_is_unusual_although_many_held_out_patients_share_it():
    """The limits of 'unlike' and 'unusual' are then the same number, which no such scanner exceeds."""
    rng = np.random.default_rng(8)
    held_out = [*drawn(rng, 180), *drawn(rng, 20, slice_mm=1.0)]
    found = fit_reference(drawn(rng, 100), held_out, "calibration")
    assert found.limit("unusual") == found.limit("unlike")
    judged = [judge(one, found) for one in drawn(rng, 100, slice_mm=1.0)]
    assert "usual" not in [one.verdict for one in judged]
    assert all(any(reason.startswith("slices 1 mm apart") for reason in one.reasons) for one in judged)
    assert "outside the training's range is always called unusual, whatever these rates" in judged[0].promise


def test_another_scanner_is_unusual_with_the_fewest_held_out_patients():
    rng = np.random.default_rng(13)
    found = fit_reference(drawn(rng, 100), drawn(rng, 19), "validation")
    assert "usual" not in [judge(one, found).verdict for one in drawn(rng, 30, slice_mm=1.0)]


def test_the_acquisition_alone_never_exceeds_the_limit_of_unlike():
    assert combined({"features": 0.2, "acquisition": 50.0}, outside=False, most=1.7) == 1.7
    assert combined({"features": 0.2}, outside=True, most=1.7) == 1.7
    assert combined({"features": 2.0, "acquisition": 50.0}, outside=True, most=1.7) == 2.0


def test_what_a_case_lacks_is_said():
    rng = np.random.default_rng(9)
    whole = [replace(one, vectors={**one.vectors, "tissue": rng.normal(size=10)}) for one in drawn(rng, 80)]
    found = fit_reference(whole[:40], whole[40:], "validation")
    (picture,) = drawn(rng, 1)
    judged = judge(replace(picture, numbers={}, categories={}), found)
    assert judged.reasons[-1] == "without HU and millimetres, only the picture and the features were compared"


def test_what_the_training_lacks_is_said(reference):
    (one,) = drawn(np.random.default_rng(9), 1)
    more = {**one.vectors, "tissue": np.zeros(10), "acquisition": np.zeros(4)}
    assert judge(replace(one, vectors=more), reference).reasons[-1] == (
        "the model has no record of tissue and acquisition: only features and picture were compared"
    )


def test_a_kernel_is_compared_without_its_case_and_only_if_many_training_cases_state_it(reference):
    usual = next(one for one in drawn(np.random.default_rng(2), 50) if judge(one, reference).verdict == "usual")
    assert judge(replace(usual, categories={"ConvolutionKernel": "Soft"}), reference).verdict == "usual"
    rng = np.random.default_rng(14)
    training = [one if i < 19 else replace(one, categories={}) for i, one in enumerate(drawn(rng, 60))]
    assert fit_reference(training, drawn(rng, 40), "validation").categories == {}


@pytest.mark.parametrize(("part", "wrong"), [("features", np.nan), ("features", np.inf), ("picture", np.nan)])
def test_what_is_not_finite_is_not_usual(reference, part, wrong):
    (one,) = drawn(np.random.default_rng(2), 1)
    damaged = one.vectors[part].copy()
    damaged[0] = wrong
    with pytest.raises(InputError, match=f"The {part} of the case contain NaN or infinite"):
        judge(replace(one, vectors={**one.vectors, part: damaged}), reference)


def test_few_patients_are_said(reference):
    rng = np.random.default_rng(10)
    found = fit_reference(drawn(rng, 40), drawn(rng, 49), "validation")
    assert familiarity.promise(found).endswith("these rates. So few patients do not allow 1%.")


# -- in a result ---------------------------------------------------------------------------------------------------


def test_a_model_without_a_reference_says_not_known():
    found = with_roi().familiarity
    assert (found.verdict, found.distance, found.percentile, found.reasons) == ("not known", None, None, ())
    assert "no record of what it learned from" in found.promise
    assert found.numbers == {}


def test_an_unlike_case_is_warned_of():
    rng = np.random.default_rng(12)
    model = replace(a_small_model(), card=replace(a_small_model().card, recipe=SMALL))
    features = model.network.features

    def bodies(count, **changes):
        return [measured(a_body(rng, noise=rng.uniform(8, 12), radius=rng.uniform(90, 110), right=rng.uniform(-5, 5),
                                bone=rng.uniform(10, 30), **changes), rng.normal(size=(3, features)))
                for _ in range(count)]  # fmt: skip

    found = fit_reference(bodies(30), bodies(30), "validation")
    image = a_body(rng, noise=80.0, bone=20.0)
    result = stage_case(scan_of(image), ready(replace(model, reference=found), "cpu", "torch"), key_slice=1)
    assert result.familiarity.verdict == "unlike"
    assert any(reason.startswith("noise of ") for reason in result.familiarity.reasons)
    assert any(text.startswith("This case is UNLIKE those that the model learned from") for text in result.warnings)


# -- stored --------------------------------------------------------------------------------------------------------


LENGTHS = {"features": 6, "picture": 9, "tissue": 10, "acquisition": 4}


def a_card(reference):
    return {"parts": list(reference.clouds),
            "side": reference.side, "ranges": {k: list(v) for k, v in reference.ranges.items()},
            "categories": {k: list(v) for k, v in reference.categories.items()}}  # fmt: skip


def test_a_reference_comes_back_from_its_arrays(reference):
    back = Reference.from_stored(a_card(reference), reference.arrays(), LENGTHS)
    assert (back.ranges, back.categories, back.side) == (reference.ranges, reference.categories, "calibration")
    for one in drawn(np.random.default_rng(4), 30):
        before, after = judge(one, reference), judge(one, back)
        assert (after.verdict, after.reasons) == (before.verdict, before.reasons)
        assert after.distance == pytest.approx(before.distance, abs=1e-4)


@pytest.mark.parametrize(
    ("name", "wrong", "text"),
    [
        ("features.mean", np.full(6, np.nan), "NaN or infinite"),
        ("features.axes", np.zeros((6, 5)), "expected \\(d,\\), \\(k, d\\)"),
        ("features.variances", np.zeros(6), "not all above 0"),
        ("held_out", np.arange(199.0)[::-1], "ascending"),
        ("held_out", np.arange(5.0), "19 or more"),
        ("features.spread", None, "lacks the array 'features.spread'"),
        ("picture.mean", None, "lacks the array 'picture.mean'"),
        ("picture.mean", np.zeros(8), "with d 9"),
        ("features.variances", np.float32(1), "have the shapes"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(reference, name, wrong, text):
    stored = {**reference.arrays(), name: wrong}
    if wrong is None:
        del stored[name]
    with pytest.raises(WeightsError, match=text):
        Reference.from_stored(a_card(reference), stored, LENGTHS)


@pytest.mark.parametrize("wrong", [
    {"ranges": {"slice_mm": [1]}}, {"ranges": {"slice_mm": [5, 1]}}, {"side": 3}, {"categories": {"Manufacturer": "A"}},
    {"parts": ["features"]}, {"parts": ["features", "picture", "tissue"]}, {"parts": ["features", "picture", "noise"]},
])  # fmt: skip
def test_a_card_that_does_not_fit_is_refused(reference, wrong):
    with pytest.raises(WeightsError, match="is not valid"):
        Reference.from_stored({**a_card(reference), **wrong}, reference.arrays(), LENGTHS)
