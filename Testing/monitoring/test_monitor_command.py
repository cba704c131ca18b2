"""`gtrstaging monitor`: exit codes, what it prints, and its three files."""

import csv
import json
import re

import pytest
from helpers import accessibility, browser, streams
from helpers.markup import Page

from GTRStagingLib.cli.main import main
from GTRStagingLib.monitoring.page import COLUMNS
from GTRStagingLib.stages import RESEARCH_USE_ONLY


@pytest.fixture(scope="module")
def batches(real_batch, tmp_path_factory):
    """Return the folder of the batches earlier, calm, changed and few; earlier has two kernels."""
    folder = tmp_path_factory.mktemp("batches")

    def kernel(record, index):
        record["input"]["acquisition"]["ConvolutionKernel"] = ("B30f", "B40f")[index % 2]

    def later(record, index):
        kernel(record, index)
        if index >= 40:
            record["familiarity"]["numbers"]["slice_mm"] = 1.5
            record["input"]["acquisition"]["ConvolutionKernel"] = "<b>I50</b>"

    streams.many(real_batch, folder / "earlier", 90, seed=1, change=kernel, prefix="old")
    streams.many(real_batch, folder / "calm", 60, seed=2, change=kernel, prefix="calm")
    streams.many(real_batch, folder / "changed", 70, seed=3, change=later, prefix="new")
    streams.many(real_batch, folder / "few", 19, seed=4, change=kernel, prefix="few")
    return folder


def monitor(*arguments):
    return main(["monitor", *map(str, arguments), "--horizon", "100"])


@pytest.fixture(scope="module")
def changed(batches, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "watch"
    assert monitor(batches / "changed", "--reference", batches / "earlier", "--by", "week", "--out", out) == 1
    return out


@pytest.mark.smoke
def test_a_change_is_an_alarm_with_exit_code_1_and_what_changed(batches, capsys):
    assert monitor(batches / "changed", "--reference", batches / "earlier") == 1
    printed = capsys.readouterr().out
    alarm = re.search(r"ALARM +Slice distance, case (\d+) \((.*?)\), since about case (\d+).*: (.*)", printed)
    assert 41 <= int(alarm[1]) <= 50
    assert 39 <= int(alarm[3]) <= 42
    assert re.fullmatch(r"1.5 mm in \d+ of \d+ cases; reference 3 to 5 mm", alarm[4])
    assert "ALARM      Kernel, case " in printed
    assert printed.endswith(f"{RESEARCH_USE_ONLY}\n")


def test_no_change_is_exit_code_0(batches, capsys):
    assert monitor(batches / "calm", "--reference", batches / "earlier", "--by", "20") == 0
    printed = capsys.readouterr().out
    assert "No alarm   in " in printed
    assert "ALARM" not in printed
    assert "raises any alarm within 100 cases with a probability of at most 5 %" in printed


def test_too_few_cases_are_exit_code_2_and_no_file(batches, tmp_path, capsys):
    assert monitor(batches / "few", "--reference", batches / "earlier", "--out", tmp_path / "out") == 2
    caught = capsys.readouterr()
    assert "few has 19 cases that can be used; expected 20 or more" in caught.err
    assert caught.out == ""
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [(["--by", "day"], "--by day; expected week, month"), (["--false-alarms", "5"], "--false-alarms 5; expected"),
     (["--horizon", "0"], "--horizon 0; expected"), (["--seed", "-1"], "--seed -1; expected")],
)  # fmt: skip
def test_wrong_arguments_are_exit_code_2(wrong, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["monitor", "batch", "--reference", "demonstration", *wrong])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_a_message_names_the_option(batches, capsys):
    assert main(["monitor", str(batches / "calm"), "--reference", str(batches / "earlier"), "--horizon", "30"]) == 2
    assert "Raise --horizon" in capsys.readouterr().err


def test_the_model_is_a_reference(batches, capsys):
    """The small phantoms have larger pixels than those of its training."""
    assert monitor(batches / "calm", "--reference", "demonstration") == 1
    printed = capsys.readouterr().out
    assert "Reference  the model demonstration: 400 held-out patients, 200 training cases" in printed
    assert "ALARM      Pixel size, case " in printed
    assert "not watched: Predicted stage, Probability of the predicted stage" in printed


def test_outcomes_are_joined_to_both(batches, tmp_path, capsys):
    stages = {case: json.loads((case / "result.json").read_text())["prediction"]["stage"]
              for name in ("earlier", "changed") for case in (batches / name / "cases").iterdir()}  # fmt: skip
    other = {"T1": "T2", "T2": "T3", "T3": "T4", "T4": "T1"}
    wrong = {f"new-{index:04d}" for index in range(40, 70)}
    rows = [f"{case.name},{other[stage] if case.name in wrong else stage}" for case, stage in stages.items()
            if case.name.startswith("old") or case.name >= "new-0020"]  # fmt: skip
    (tmp_path / "truth.csv").write_text("\n".join(["case_id,stage", *rows]))
    assert monitor(batches / "changed", "--reference", batches / "earlier", "--outcomes", tmp_path / "truth.csv") == 1
    caught = capsys.readouterr()
    assert re.search(
        r"ALARM +Predicted stage, by outcome, case \d+ .*: wrong in \d+ of \d+ cases; reference", caught.out
    )
    assert re.search(rf"NOTE: truth.csv \(sha256 .*\) has the true stages of {len(rows)} cases\.", caught.err)
    assert f"NOTE: Outcomes: 50 of {len(rows)} are of cases of changed." in caught.err


def test_a_reference_that_is_neither_batch_nor_model_is_told_what_was_expected(batches, capsys):
    for wrong in ("nothing", "earlier/predictions.csv"):
        assert monitor(batches / "calm", "--reference", batches / wrong) == 2
        assert "is neither the output folder of a finished batch (with predictions.csv) nor a model: " in (
            capsys.readouterr().err
        )


def test_the_table_has_a_row_for_each_period_and_measure(changed):
    with (changed / "monitor.csv").open(encoding="utf-8", newline="") as file:
        table = csv.DictReader(file)
        rows = list(table)
    assert tuple(table.fieldnames) == COLUMNS
    record = json.loads((changed / "monitor.json").read_text())
    periods = list(dict.fromkeys(row["period"] for row in rows))
    assert periods == ["2026-W02", "2026-W03", "2026-W04", "2026-W05"]  # three cases a day, 70 in all
    assert len(rows) == len(periods) * len(record["measures"])
    alarmed = {row["measure"]: row for row in rows if row["alarm"] == "yes"}
    assert alarmed["slice_mm"]["changed"].startswith("1.5 mm in ")
    assert set(alarmed) == {one["measure"] for one in record["measures"] if one["alarm"]}


def test_the_record_has_the_series_and_is_strict_json(changed):
    record = json.loads((changed / "monitor.json").read_text(), parse_constant=lambda name: pytest.fail(name))
    assert (record["kind"], record["schema"], record["alarm"]) == ("monitor", 1, True)
    assert record["research_use_only"] == RESEARCH_USE_ONLY
    slices = next(one for one in record["measures"] if one["measure"] == "slice_mm")
    assert slices["cases"] == list(range(1, 71))
    assert len(slices["values"]) == len(slices["statistic"]) == 70
    first = slices["alarm"]["case"]
    assert slices["alarm"]["case_id"] == f"new-{first - 1:04d}"
    assert abs(slices["statistic"][first - 1]) > slices["limit"] >= abs(slices["statistic"][first - 2])


def test_the_page_states_what_changed_and_is_escaped(changed):
    text = (changed / "monitor.html").read_text(encoding="utf-8")
    page = Page(text)
    assert {"Slice distance", "Kernel"} <= {row[0] for row in page.rows if row}
    assert RESEARCH_USE_ONLY in " ".join(page.texts)
    assert "&lt;b&gt;I50&lt;/b&gt; in " in text
    assert "<b>I50" not in text
    record = json.loads((changed / "monitor.json").read_text())
    assert len(page.all("img")) == len(record["measures"])
    assert all(image["alt"].endswith(".") for image in page.all("img"))


def test_the_page_is_clean_in_a_browser_and_fits_a_phone(changed, chromium):
    with chromium.open(changed / "monitor.html") as view:
        assert view.complaints == []
        assert accessibility.violations(view) == []
        view.resize(browser.PHONE)
        assert view.overflow == 0


def test_the_output_replaces_an_earlier_one_whole(batches, tmp_path):
    out = tmp_path / "out"
    for name, code in (("changed", 1), ("calm", 0)):
        assert monitor(batches / name, "--reference", batches / "earlier", "--out", out) == code
    assert sorted(path.name for path in out.iterdir()) == ["monitor.csv", "monitor.html", "monitor.json"]
    assert json.loads((out / "monitor.json").read_text())["alarm"] is False
    assert "No alarm" in (out / "monitor.html").read_text(encoding="utf-8")
