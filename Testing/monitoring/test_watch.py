"""Comparing a stream with a reference: alarms, what changed, periods, and refusals."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from helpers import streams

from GTRStagingLib.errors import InputError
from GTRStagingLib.model import registry
from GTRStagingLib.model.backbone import load_model
from GTRStagingLib.model.reference import Reference
from GTRStagingLib.monitoring.measures import INSIDE, MEASURES, OUTSIDE, expected_of_batch, expected_of_model
from GTRStagingLib.monitoring.stream import ObservedCase, Stream
from GTRStagingLib.monitoring.watch import LEAST_CASES, parse_by, shares, stability, watch

CARD = "ab" * 32


def a_case(rng, index, prefix="case", **changes):
    stage = f"T{rng.integers(1, 5)}"
    made = ObservedCase(
        case_id=f"{prefix}-{index}", time=streams.BEGIN + timedelta(days=index), stage=stage,
        confidence=float(rng.beta(5, 2)), set_size="1" if rng.random() < 0.8 else "2",
        verdict="usual" if rng.random() < 0.95 else "unusual", distance=float(rng.normal()),
        numbers={"slice_mm": float(rng.choice([3, 5])), "noise_hu": float(rng.lognormal(2, 0.2))},
        header={"Manufacturer": str(rng.choice(["Alpha", "Beta"]))},
        truth=stage if rng.random() < 0.9 else "T1", digest=f"{prefix} {index}",
    )  # fmt: skip
    return replace(made, **changes)


def a_stream(cases, seed=0, prefix="case", change=lambda index: {}):
    rng = np.random.default_rng(seed)
    made = tuple(a_case(rng, i, prefix, **change(i)) for i in range(cases))
    return Stream(prefix, made, "model", CARD, "the time of staging", {})


@pytest.fixture(scope="module")
def earlier():
    return expected_of_batch(a_stream(200, 1, "earlier"))


def of(found, name):
    return next(one for one in found.measures if one.measure.name == name)


def test_neighbours_at_another_distance_than_the_references_are_refused():
    """The features are means of the voting slices: such a stream would look changed."""
    earlier = expected_of_batch(a_stream(60, 1, "earlier", lambda index: {"neighbours": (1, 1.5)}))
    same = watch(a_stream(30, 2, change=lambda index: {"neighbours": (1, 5.0)}), earlier, horizon=40)
    assert same.stream.neighbour_mm == (0, 7.5)
    with pytest.raises(InputError, match=r"case and the reference: .* at 3.75 mm or more, others at 2.25 mm or less"):
        watch(a_stream(30, 2, change=lambda index: {"neighbours": (3, 1.5)}), earlier, horizon=40)


def test_an_undisturbed_stream_raises_no_alarm_and_states_its_promise(earlier):
    found = watch(a_stream(120, 2), earlier, horizon=150)
    assert found.alarms == ()
    assert {one.measure.name for one in found.measures} == {
        "familiarity", "verdict", "stage", "confidence", "set_size", "accuracy", "slice_mm", "noise_hu",
        "ct_manufacturer",
    }  # fmt: skip
    assert found.promise == (
        "A stream like the reference raises any alarm within 150 cases with a probability of at most 5 %, however "
        "often one looks: each of 9 charts has 0.56 %."
    )
    assert found.without["Tube voltage"] == "known in 0 cases of the reference; 20 are needed"
    assert found.without["Kernel"] == "no header of the reference states it"


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("familiarity", {"distance": 4.0}, "4 in"),
        ("slice_mm", {"numbers": {"slice_mm": 1.5}}, "1.5 mm in"),
        ("noise_hu", {"numbers": {"noise_hu": 60.0}}, "60 HU in"),
        ("stage", {"stage": "T4", "truth": None}, "T4 in"),
        ("set_size", {"set_size": "withheld"}, "withheld in"),
        ("verdict", {"verdict": "unlike"}, "unlike in"),
        ("ct_manufacturer", {"header": {"Manufacturer": "Gamma"}}, "Gamma in"),
        ("ct_manufacturer", {"header": {}}, "not stated in"),
        ("confidence", {"confidence": 0.26}, "0.26 in"),
        ("accuracy", {"stage": "T2", "truth": "T3"}, "wrong in"),
    ],
)
def test_each_measure_finds_its_change_and_says_what_changed(name, change, words, earlier):
    found = watch(a_stream(120, 3, change=lambda i: change if i >= 60 else {}), earlier, horizon=150)
    one = of(found, name)
    assert 60 <= one.first < 85
    assert 55 <= one.since <= 64
    assert one.changed.startswith(words) or words in one.changed
    assert "; reference " in one.changed
    assert found.alarms[0].first == min(alarm.first for alarm in found.alarms)


def test_a_single_value_outside_the_range_does_not_stand_for_a_shift(earlier):
    """All numbers rise by a fifth, and one case is far outside."""
    rng = np.random.default_rng(12)
    noise = [float(rng.lognormal(2.25, 0.15)) for _ in range(90)]
    noise[30] = 80.0
    found = watch(a_stream(90, 4, change=lambda i: {"numbers": {"noise_hu": noise[i]}}), earlier, horizon=150)
    one = of(found, "noise_hu")
    shown = np.median(noise[one.since : one.first + 1])
    assert one.changed.startswith(f"median {shown:.3g} HU, reference ")
    assert "80 HU in" not in one.changed


def test_a_case_without_a_measure_is_left_out_of_its_chart_alone(earlier):
    found = watch(a_stream(90, 4, change=lambda i: {"truth": None} if i % 3 else {}), earlier, horizon=150)
    one = of(found, "accuracy")
    assert one.where.tolist() == list(range(0, 90, 3))
    assert len(one.chart.statistic) == 30
    assert len(of(found, "stage").where) == 90


def test_outcomes_of_too_few_cases_are_not_charted_and_the_reason_is_given(earlier):
    found = watch(a_stream(90, 5, change=lambda i: {"truth": None} if i >= 19 else {}), earlier, horizon=150)
    assert found.without["Predicted stage, by outcome"] == "known in 19 cases of the stream; 20 are needed"


def test_periods_are_iso_weeks_months_or_numbers_of_cases(earlier):
    """Case i is on day i after Monday, 2026-01-05."""
    stream = a_stream(60, 6)
    weeks, months, fifties = (watch(stream, earlier, by=by, horizon=150) for by in ("week", "month", 50))
    assert [(one.name, one.first, one.end) for one in weeks.periods[:2]] == [("2026-W02", 0, 7), ("2026-W03", 7, 14)]
    assert [(one.name, one.cases) for one in months.periods] == [("2026-01", 27), ("2026-02", 28), ("2026-03", 5)]
    assert [(one.name, one.cases) for one in fifties.periods] == [("1-50", 50), ("51-60", 10)]
    for one, other in zip(weeks.measures, fifties.measures, strict=True):
        assert one.chart.statistic.tolist() == other.chart.statistic.tolist()


def test_a_row_is_of_one_period_and_measure(earlier):
    found = watch(a_stream(60, 7), earlier, by=25, horizon=150)
    rows = list(found.rows())
    assert len(rows) == 3 * len(found.measures)
    first = next(row for row in rows if row["measure"] == "noise_hu")
    cases = found.stream.cases[:25]
    assert first["median"] == np.median([case.numbers["noise_hu"] for case in cases])
    assert (first["from"], first["to"], first["cases"], first["unit"]) == ("2026-01-05", "2026-01-29", 25, "HU")
    assert first["statistic"] == of(found, "noise_hu").chart.statistic[24]
    stages = next(row for row in rows if row["measure"] == "stage")
    assert stages["shares"].startswith(f"T1 {sum(case.stage == 'T1' for case in cases) / 25:.3f}; T2 ")
    last = next(row for row in rows if row["period"] == "51-60" and row["measure"] == "stage")
    assert (last["stability_index"], last["alarm"]) == (None, "no")  # 10 cases are too few


def test_shares_and_stability_are_of_the_cases_of_a_period(earlier):
    one = of(watch(a_stream(60, 8), earlier, horizon=150), "stage")
    assert sum(shares(one, range(60)).values()) == pytest.approx(1)
    assert stability(one, range(19)) is None
    assert 0 <= stability(one, range(60)) < 0.5


# -- a model as the reference --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def demonstration():
    model = load_model("demonstration", device="cpu")
    return model.card, model.reference


def test_a_model_expects_its_distances_ranges_and_accuracy(demonstration):
    card, reference = demonstration
    found = expected_of_model(card, reference)
    assert isinstance(reference, Reference)
    assert np.array_equal(found.expected["familiarity"].sample, reference.held_out)
    low, high = reference.ranges["slice_mm"]
    assert found.expected["slice_mm"].limits == (low * 0.95, high * 1.05)
    assert found.expected["noise_hu"].limits == reference.ranges["noise_hu"]
    assert found.expected["noise_hu"].counts == {INSIDE: pytest.approx(198), OUTSIDE: pytest.approx(2)}
    test = card.training["metrics"]["test"]
    accuracy = found.expected["accuracy"].counts
    assert accuracy["right"] / test["cases"] == pytest.approx(test["accuracy"]["value"])
    assert "earlier batch" in found.without["stage"]
    assert set(found.expected) | set(found.without) == {measure.name for measure in MEASURES}


def test_a_model_without_a_record_is_no_reference():
    card = registry.read_card(registry.locate("demonstration"))
    with pytest.raises(InputError, match="has no record of what it learned from"):
        expected_of_model(replace(card, familiarity=None), None)


def test_a_scanner_that_the_model_does_not_know_raises_an_alarm(demonstration):
    baseline = expected_of_model(*demonstration)
    stream = a_stream(60, 9, change=lambda i: {"numbers": {"slice_mm": 1.5}} if i >= 30 else
                      {"numbers": {"slice_mm": 3.0}})  # fmt: skip
    found = watch(replace(stream, card_sha256=baseline.card_sha256), baseline, horizon=60)
    assert 30 <= of(found, "slice_mm").first < 40
    assert "1.5 mm in" in of(found, "slice_mm").changed
    assert "reference 2.85 to 5.25 mm" in of(found, "slice_mm").changed


# -- refusals ------------------------------------------------------------------------------------------------------


def test_too_few_cases_are_no_answer(earlier):
    with pytest.raises(InputError, match=f"has 19 cases that can be used; expected {LEAST_CASES} or more"):
        watch(a_stream(19), earlier)


def test_more_cases_than_the_horizon_are_refused(earlier):
    with pytest.raises(InputError, match="60 cases; expected at most 50.*`horizon`"):
        watch(a_stream(60), earlier, horizon=50)


def test_a_stream_of_another_calibration_is_refused(earlier):
    with pytest.raises(InputError, match=r"\(card cdcdcdcd\), the reference of another model or calibration"):
        watch(replace(a_stream(60), card_sha256="cd" * 32), earlier)


def test_cases_of_the_reference_are_refused(earlier):
    with pytest.raises(InputError, match="60 cases of earlier are in the reference, too"):
        watch(a_stream(60, 1, "earlier"), earlier)


def test_a_small_reference_is_refused():
    with pytest.raises(InputError, match="has 49 cases that can be used; expected 50 or more"):
        expected_of_batch(a_stream(49))


def test_a_stream_without_a_common_measure_is_refused(earlier):
    bare = replace(earlier, expected={}, without={measure.name: "not recorded" for measure in MEASURES})
    with pytest.raises(InputError, match="No measure is known in both"):
        watch(a_stream(30), bare)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"by": "day"}, "`by` is 'day'"), ({"by": 0}, "`by` is '0'"), ({"by": None}, "`by` is 'None'"),
     ({"false_alarms": 2}, "`false_alarms` is 2; expected"), ({"horizon": 0}, "`horizon` is 0; expected"),
     ({"horizon": 100.5}, "`horizon` is 100.5; expected")],
)  # fmt: skip
def test_options_out_of_range_are_refused_from_python_too(wrong, message, earlier):
    with pytest.raises(InputError, match=message):
        watch(a_stream(30), earlier, **wrong)


@pytest.mark.parametrize("text", ["day", "0", "-5", "", "٥"])
def test_a_period_that_is_none_is_refused(text):
    with pytest.raises(InputError, match="expected week, month, or a number of cases"):
        parse_by(text)
