"""Reading the cases of batches in the order of time."""

import json
from datetime import UTC, datetime, timedelta

import jsonschema
import pytest
from helpers import streams

from GTRStagingLib.errors import InputError
from GTRStagingLib.monitoring.stream import read_outcomes, read_stream
from GTRStagingLib.results.record import schema
from GTRStagingLib.stages import TStage
from GTRStagingLib.staging.familiarity import NUMBERS


def test_a_real_batch_is_read_as_its_records_have_it(real_batch):
    stream = read_stream([real_batch])
    assert [case.case_id for case in stream.cases] == sorted(
        (path.name for path in (real_batch / "cases").iterdir()), key=lambda name: utc_of(real_batch, name)
    )
    assert stream.ordered_by == "the time of staging"
    assert stream.left_out == {}
    for case in stream.cases:
        record = json.loads((real_batch / "cases" / case.case_id / "result.json").read_text())
        assert case.stage == record["prediction"]["stage"]
        assert case.confidence == record["prediction"]["probabilities"][["T1", "T2", "T3", "T4"].index(case.stage)]
        assert case.distance == record["familiarity"]["distance"]
        assert case.numbers["slice_mm"] == record["input"]["spacing_mm"][2]
        assert {"noise_hu", "soft_hu", "pixel_mm"} <= set(case.numbers)
    truths = {row["case_id"]: row["true_stage"] for row in streams.rows_of(real_batch)}
    assert {case.case_id: case.truth for case in stream.cases} == truths


def test_records_with_compared_numbers_follow_the_schema(real_batch):
    for path in (real_batch / "cases").glob("*/result.json"):
        record = json.loads(path.read_text())
        jsonschema.validate(record, schema())
        assert set(record["familiarity"]["numbers"]) <= set(NUMBERS)
    names = schema()["$defs"]["familiarity"]["properties"]["numbers"]["propertyNames"]["enum"]
    assert sorted(names) == sorted(NUMBERS)


def utc_of(batch, name):
    return json.loads((batch / "cases" / name / "result.json").read_text())["provenance"]["utc"]


def test_several_batches_are_one_stream_in_the_order_of_the_day_of_the_scan(real_batch, tmp_path):
    late = streams.many(real_batch, tmp_path / "late", 6, column="scan_date", prefix="late")
    early = streams.many(real_batch, tmp_path / "early", 6, column="scan_date", prefix="early",
                         begin=streams.BEGIN.replace(year=2025))  # fmt: skip
    stream = read_stream([late, early])
    assert [case.case_id[:5] for case in stream.cases] == ["early"] * 6 + ["late-"] * 6
    assert stream.ordered_by == "the column scan_date of the case table"
    assert stream.cases[0].time.year == 2025


def test_a_day_that_one_batch_lacks_gives_way_to_the_time_of_staging(real_batch, tmp_path):
    one = streams.many(real_batch, tmp_path / "one", 3, column="scan_date", prefix="a")
    two = streams.many(real_batch, tmp_path / "two", 3, prefix="b")
    assert read_stream([one, two]).ordered_by == "the time of staging"
    assert read_stream([one, two]).notes == ("The column scan_date was not used, since two has none.",)
    with pytest.raises(InputError, match=r"two/predictions.csv has no column 'scan_date'.*`time`"):
        read_stream([one, two], time="scan_date")


def test_cases_that_cannot_be_used_are_counted_by_their_reason(real_batch, tmp_path):
    batch = streams.many(real_batch, tmp_path / "b", 9, column="scan_date")
    rows = streams.rows_of(batch)
    rows[0]["status"], rows[1]["status"] = "failed", "skipped"
    rows[2]["scan_date"] = ""
    (batch / "cases" / "case-0003" / "result.json").unlink()
    (batch / "cases" / "case-0004" / "result.json").write_text("{")
    streams.write_rows(batch, rows)
    stream = read_stream([batch, batch])
    assert [case.case_id for case in stream.cases] == [f"case-000{i}" for i in range(5, 9)]
    assert stream.left_out == {"failed": 2, "skipped": 2, "no time": 2, "no record": 4, "twice": 4}


def test_images_under_another_id_count_once(real_batch, tmp_path):
    def same(record, index):
        record["provenance"]["input_digest"] = "ab"

    stream = read_stream([streams.many(real_batch, tmp_path / "b", 5, change=same)])
    assert (len(stream.cases), stream.left_out) == (1, {"twice": 4})


@pytest.mark.parametrize(("text", "day"), [("20251231", "2025-12-31"), ("2025-12-31T23:30:00+02:00", "2025-12-31")])
def test_days_are_read_as_dicom_and_iso_write_them(text, day, real_batch, tmp_path):
    batch = streams.many(real_batch, tmp_path / "b", 2, column="scan_date")
    streams.write_rows(batch, [{**row, "scan_date": text} for row in streams.rows_of(batch)])
    assert f"{read_stream([batch]).cases[0].time:%Y-%m-%d}" == day


def test_a_time_that_cannot_be_read_is_an_error(real_batch, tmp_path):
    batch = streams.many(real_batch, tmp_path / "b", 2, column="scan_date")
    streams.write_rows(batch, [{**row, "scan_date": "31/12/26"} for row in streams.rows_of(batch)])
    with pytest.raises(InputError, match=r"row 2: the time is '31/12/26'; expected a day such as 2026-12-31"):
        read_stream([batch])


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+05:00", "9999-12-31T23:00:00-05:00"])
def test_a_zone_that_leads_out_of_the_calendar_is_no_traceback(text, real_batch, tmp_path):
    batch = streams.many(real_batch, tmp_path / "b", 2, column="scan_date")
    streams.write_rows(batch, [{**row, "scan_date": text} for row in streams.rows_of(batch)])
    with pytest.raises(InputError, match="row 2: the time is"):
        read_stream([batch])


@pytest.mark.parametrize(("days", "refused"), [(1, False), (3, True), (2_900_000, True)])
def test_a_scan_of_the_future_is_refused(days, refused, real_batch, tmp_path):
    """By more than a day, since a day begins earlier in the east."""
    day = f"{datetime.now(UTC) + timedelta(days=days):%Y-%m-%d}"
    batch = streams.many(real_batch, tmp_path / "b", 2, column="scan_date")
    streams.write_rows(batch, [{**row, "scan_date": day} for row in streams.rows_of(batch)])
    if not refused:
        assert len(read_stream([batch]).cases) == 2
        return
    with pytest.raises(InputError, match=rf"row 2: the day of the scan is '{day}', in the future.*Correct the case"):
        read_stream([batch])


def at(step, slice_mm):
    """A change of records to neighbours so many slices away, of slices so far apart."""

    def change(record, index):
        for one in record["prediction"]["slices"]:
            one["offset"] *= step
        record["prediction"]["stability"]["step_mm"] = step * slice_mm

    return change


@pytest.mark.parametrize(
    ("one", "other", "refused"),
    [((1, 1.5), (3, 1.5), True),  # adjacent slices, and those nearest 5 mm
     ((2, 1.5), (3, 1.5), False),  # 3.75 mm rounds to both
     ((1, 5.0), (3, 1.5), False),  # both are nearest to 5 mm
     ((1, 5.0), (1, 1.5), False),
     ((2, 5.0), (2, 1.5), True)],
)  # fmt: skip
def test_neighbours_at_different_distances_are_no_stream(one, other, refused, real_batch, tmp_path):
    batches = [streams.many(real_batch, tmp_path / name, 3, change=at(*how), prefix=name)
               for name, how in (("one", one), ("other", other))]  # fmt: skip
    if not refused:
        assert len(read_stream(batches).cases) == 6
        return
    with pytest.raises(InputError, match="one, other: some cases were staged with neighbouring slices at"):
        read_stream(batches)


def test_a_damaged_record_is_named_in_place_of_the_case_table(real_batch, tmp_path):
    def no_time(record, index):
        record["provenance"]["utc"] = "yesterday"

    def no_stage(record, index):
        record["prediction"]["stage"] = "T9"

    with pytest.raises(InputError, match=r"a, case-0000, result.json: the time is 'yesterday'.* Stage the case again"):
        read_stream([streams.many(real_batch, tmp_path / "a", 2, change=no_time)])
    with pytest.raises(InputError, match=r"case-0000, result.json: the stage is 'T9'; expected T1 to T4"):
        read_stream([streams.many(real_batch, tmp_path / "b", 2, change=no_stage)])


def test_a_folder_alone_and_no_folder_are_refused(real_batch):
    for wrong in (real_batch, str(real_batch)):
        with pytest.raises(InputError, match="expected a list of folders"):
            read_stream(wrong)
    with pytest.raises(InputError, match="No batch; expected"):
        read_stream([])
    assert len(read_stream([str(real_batch)]).cases) == 3


def test_outcomes_are_stages_and_those_of_unknown_cases_are_counted(real_batch):
    case_id = read_stream([real_batch]).cases[0].case_id
    found = read_stream([real_batch], outcomes={case_id: TStage.T4, "nobody": "T1"})
    assert found.cases[0].truth == "T4"
    assert found.notes == ("Outcomes: 1 of 2 are of cases of batch.",)
    with pytest.raises(InputError, match=f"The outcome of {case_id} is 'cancer'; expected T1 to T4"):
        read_stream([real_batch], outcomes={case_id: "cancer"})


def test_cases_of_two_models_are_no_stream(real_batch, tmp_path):
    def other(record, index):
        record["provenance"]["card_sha256"] = f"{index % 2}" * 64

    with pytest.raises(InputError, match=r"of 2 models or calibrations: demonstration \(card 00000000\)"):
        read_stream([streams.many(real_batch, tmp_path / "b", 4, change=other)])


def test_cases_of_several_looks_are_no_stream(real_batch, tmp_path):
    """Their means are spread less than single looks, although the model's card is the same."""

    def change(record, index):
        if index == 2:
            record["looks"] = {"spread": 0.1}

    with pytest.raises(InputError, match="case-0002 was staged with several looks; expected one look"):
        read_stream([streams.many(real_batch, tmp_path / "batch", 3, change=change)])


def test_a_folder_without_a_table_is_no_batch(tmp_path):
    with pytest.raises(InputError, match=r"has no predictions.csv; expected the output folder of a finished batch"):
        read_stream([tmp_path])


def test_outcomes_replace_the_stages_of_the_table(real_batch, tmp_path):
    names = [row["case_id"] for row in streams.rows_of(real_batch)]
    (tmp_path / "outcomes.csv").write_text(f"case_id,stage\n{names[0]},T4a\n{names[1]},\n")
    outcomes, notes = read_outcomes(tmp_path / "outcomes.csv")
    assert outcomes == {names[0]: "T4"}
    assert notes[-1].startswith("outcomes.csv (sha256 ")
    assert notes[-1].endswith(") has the true stages of 1 case.")
    found = {case.case_id: case.truth for case in read_stream([real_batch], outcomes=outcomes).cases}
    own = {row["case_id"]: row["true_stage"] for row in streams.rows_of(real_batch)}
    assert found == {**own, names[0]: "T4"}
