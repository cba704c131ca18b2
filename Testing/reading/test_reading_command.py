"""`gtrstaging reading design` and `collect`, and the evaluation of what they write."""

import csv
import json

import pytest
import SimpleITK as sitk
from helpers.reading_studies import Watch, read_all, write_cohort_folder

from GTRStagingLib.cli import reading as command
from GTRStagingLib.cli.main import main, make_parser
from GTRStagingLib.reading.advice import PARTS
from GTRStagingLib.reading.designs import KINDS
from GTRStagingLib.reading.folders import COPIED, REFERRED
from GTRStagingLib.reading.plan import Rules
from GTRStagingLib.stages import TStage


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cohort")
    table = write_cohort_folder(folder / "data", 24)
    (folder / "readers.csv").write_text("reader,years\nr1,3\nr2,15\n")
    return folder, table


def design(cohort, out, *more):
    folder, table = cohort
    given = ["--readers", str(folder / "readers.csv"), "--predictions", str(folder / "data" / "batch")]
    return main(["reading", "design", str(table), *given, "--out", str(out), "--studies", "20", "--seed", "5", *more])


def test_a_study_goes_from_its_design_to_its_evaluation(cohort, tmp_path, capsys):
    study = tmp_path / "study"
    assert design(cohort, study, "--washout-days", "1", "--repeats", "2") == 0
    printed = capsys.readouterr().out
    assert (
        "2 readers, 24 cases: every reader reads every case in both phases. All begin unaided, 1 day between" in printed
    )
    assert "Assumed: accuracy 0.6 unaided and 0.7 aided" in printed
    assert "Expected in 20 simulated studies:" in printed
    assert sum(line.startswith(("accuracy ", "auc_T3-4 ")) for line in printed.splitlines()) == 4
    facts = json.loads((study / "organiser" / "study.json").read_text())
    assert facts["design"]["seed"] == 5
    assert facts["readers"]["r2"]["given"] == {"years": "15"}
    assert len(facts["expected"]["widths"]) == 4

    truth = {row["case_id"]: row["stage"] for row in
             csv.DictReader((study / "organiser" / "truth.csv").open(encoding="utf-8"))}  # fmt: skip
    key = {(row["reader"], row["code"]): row["case_id"] for row in
           csv.DictReader((study / "organiser" / "key.csv").open(encoding="utf-8"))}  # fmt: skip
    watch = Watch()
    skill = {("r1", "unaided"): 3, ("r1", "aided"): 6, ("r2", "unaided"): 2, ("r2", "aided"): 4}

    def thinker(reader):
        def think(item):
            case_id = key[reader, item.code]
            stage = TStage[truth[case_id]]
            right = int(case_id[-2:]) % 8 < skill[reader, item.phase]
            return stage if right else TStage((stage + 1) % 4)

        return think

    for _ in range(2):
        for reader in ("r1", "r2"):
            read_all(study, reader, watch, think=thinker(reader))
        watch.pass_by(days=1)
    out = tmp_path / "out" / "table.csv"
    collect = ["reading", "collect", str(study), "--truth", str(study / "organiser" / "truth.csv"), "--predictions",
               str(cohort[0] / "data" / "batch" / "predictions.csv"), "--out", str(out)]  # fmt: skip
    # The clock of the simulated readers is that of the past: nothing is later than now.
    assert main(collect) == 0
    printed = capsys.readouterr().out
    assert "r1: 52 of 52 readings" in printed
    assert "The protocol was kept." in printed
    assert main(["evaluate", str(out), "--out", str(tmp_path / "evaluation")]) == 0
    metrics = json.loads((tmp_path / "evaluation" / "metrics.json").read_text())
    rows = {row["reader"]: row for row in metrics["reader_study"]["rows"]}
    for reader in ("r1", "r2"):
        for phase in ("unaided", "aided"):
            assert rows[reader][phase]["accuracy"]["value"] == pytest.approx(skill[reader, phase] / 8)
    assert metrics["reader_study"]["rows"][0]["overlap"]["design"] == "paired"


def test_a_study_that_was_not_read_ends_with_code_1_and_all_tables(cohort, tmp_path, capsys):
    study, out = tmp_path / "study", tmp_path / "table.csv"
    options = ["--design", "halves", "--images", "reference", "--show", "stage", "--keep-advice", "--no-key-slice",
               "--revise", "--counterbalanced", "--training", "4", "--window", "40", "400"]  # fmt: skip
    assert design(cohort, study, *options) == 0
    printed = capsys.readouterr().out
    assert "WARNING: readers can see the paths and headers" in printed
    assert "copy the folder in organiser/advice/NAME" in printed
    plan = json.loads((study / "readers" / "r1" / "plan.json").read_text())
    assert plan["rules"] == {"washout_days": 28, "shows": ["stage"], "marks_key_slice": False, "may_revise": True,
                             "window_level": 40, "window_width": 400}  # fmt: skip
    assert main(["reading", "collect", str(study), "--truth", str(study / "organiser" / "truth.csv"), "--predictions",
                 str(cohort[0] / "data" / "batch" / "predictions.csv"), "--out", str(out)]) == 1  # fmt: skip
    assert "The protocol was not kept: 4 deviations." in capsys.readouterr().out
    assert {path.name for path in tmp_path.glob("*.csv")} == {"table.csv", "readings.csv", "deviations.csv"}


@pytest.mark.parametrize(
    ("readers", "message"),
    [
        ("reader\nr1\nR1\n", "row 3, reader 'R1': expected a unique id, ignoring case; row 2 has the same"),
        ("reader\nr1_aided\n", "expected an id that does not end in 'aided'"),
        ("reader\n../r1\n", "expected a valid folder name"),
        ("who\nr1\n", "expected a column reader with an id of each reader"),
    ],
)
def test_wrong_tables_of_readers_are_refused(cohort, tmp_path, capsys, readers, message):
    folder, table = cohort
    (tmp_path / "readers.csv").write_text(readers)
    assert main(["reading", "design", str(table), "--readers", str(tmp_path / "readers.csv"), "--predictions",
                 str(folder / "data" / "batch"), "--out", str(tmp_path / "study")]) == 1  # fmt: skip
    assert message in capsys.readouterr().err
    assert not (tmp_path / "study").exists()


def test_what_is_missing_for_a_study_is_refused_before_anything_is_written(cohort, tmp_path, capsys):
    folder, table = cohort
    out = tmp_path / "study"
    (tmp_path / "study2").mkdir()
    assert design(cohort, tmp_path / "study2") == 1
    assert "study2 exists; expected a new folder. Choose another --out." in capsys.readouterr().err
    assert design(cohort, out, "--repeats", "20") == 1
    assert "Use fewer --repeats" in capsys.readouterr().err
    rows = list(csv.DictReader(table.open(encoding="utf-8")))
    bare = folder / "data" / "bare.csv"
    with bare.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["case_id", "patient_id", "image", "stage"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    assert design((folder, bare), out) == 1
    assert "24 cases have no key slice (case00, " in capsys.readouterr().err
    assert design((folder, bare), out, "--no-key-slice") == 0
    lone = tmp_path / "lone"
    lone.mkdir()
    assert main(["reading", "design", str(table), "--readers", str(folder / "readers.csv"), "--predictions", str(lone),
                 "--out", str(tmp_path / "other")]) == 1  # fmt: skip
    assert "lone has no predictions.csv" in capsys.readouterr().err
    assert not [one for one in tmp_path.iterdir() if one.name.startswith(".")]


def test_a_map_on_other_voxels_than_the_ct_is_refused(cohort, tmp_path, capsys):
    """A map is a block of the CT's slices; one that is moved, or reaches beyond it, is of another CT."""
    table = write_cohort_folder(tmp_path / "data", 8)
    drawn = next((tmp_path / "data" / "batch" / "cases").glob("*/attention.nrrd"))
    image = sitk.ReadImage(str(drawn))
    (tmp_path / "readers.csv").write_text("reader\nr1\n")
    for moved_mm in ((0.7, 0, 0), (0, 0, 500)):
        image.SetOrigin([at + by for at, by in zip(image.GetOrigin(), moved_mm, strict=True)])
        sitk.WriteImage(image, str(drawn))
        assert design((tmp_path, table), tmp_path / "study") == 1
        assert "attention map of a case is on other voxels than its CT" in capsys.readouterr().err
        assert not (tmp_path / "study").exists()


def test_the_choices_of_the_command_are_those_of_the_library():
    assert tuple(KINDS) == command.KINDS
    assert command.SHOWN_PARTS == PARTS
    assert command.IMAGES == (COPIED, REFERRED)
    options = make_parser().parse_args(
        ["reading", "design", "a.csv", "--readers", "b", "--predictions", "c", "--out", "d"]
    )
    rules = Rules()
    assert tuple(options.shows) == rules.shows
    assert options.window == [rules.window_level, rules.window_width]
    assert options.washout_days == rules.washout_days
