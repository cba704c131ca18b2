"""The options of proposals and of the stomach: what they print, and what contradicts them."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import SimpleITK as sitk

from GTRStagingLib.batch.run import _require_proposals
from GTRStagingLib.cli import main as cli
from GTRStagingLib.errors import WeightsError
from GTRStagingLib.model import registry
from GTRStagingLib.tables.case_row import CaseRow


@pytest.fixture(scope="module")
def files(tmp_path_factory, a_small_phantom):
    folder = tmp_path_factory.mktemp("case")
    for name, image in (("ct", a_small_phantom.ct), ("tumour", a_small_phantom.tumour),
                        ("stomach", a_small_phantom.stomach)):  # fmt: skip
        sitk.WriteImage(image, str(folder / f"{name}.nrrd"))
    organs = sitk.Cast(a_small_phantom.stomach, sitk.sitkUInt8) * 6
    organs = sitk.Maximum(organs, sitk.Cast(a_small_phantom.ct > 150, sitk.sitkUInt8))
    sitk.WriteImage(organs, str(folder / "organs.nrrd"))
    return folder


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--propose-key-slice", "--key-slice", "3"], "not allowed with argument"),
        (["--propose-key-slice", "--key-position-mm", "3"], "not allowed with argument"),
        (["--propose-key-slice", "--segmentation", "roi.nrrd"], "the ROI determines the key slice"),
        (["--stomach-segment", "stomach"], "--stomach-segment requires --stomach"),
        (["--resample-roi"], "--resample-roi requires --segmentation or --stomach"),
    ],
)
def test_contradictions_are_code_2(options, message, capsys):
    with pytest.raises(SystemExit) as left:
        cli.main(["stage", "ct.nrrd", "--json", *options])
    assert left.value.code == 2
    assert message in capsys.readouterr().err


def test_a_proposed_slice_is_printed_with_the_others(files, tmp_path, capsys):
    out = tmp_path / "out"
    assert cli.main(["stage", str(files / "ct.nrrd"), "--propose-key-slice", "--stomach", str(files / "stomach.nrrd"),
                     "--device", "cpu", "--out", str(out)]) == 0  # fmt: skip
    printed = capsys.readouterr().out
    assert "proposed by the model: confirm it\n" in printed
    assert printed.count("           proposed: ") == 3
    assert "WARNING    The key slice" in printed
    record = json.loads((out / "result.json").read_text())
    assert record["key_slice"]["chosen_by"] == "proposed"
    assert record["key_slice"]["proposal"]["in_stomach"] is True
    assert "PROPOSED BY THE MODEL" in (out / "report.html").read_text()


def test_without_the_option_nothing_is_proposed(files, capsys):
    assert cli.main(["stage", str(files / "ct.nrrd"), "--device", "cpu", "--json"]) == 1
    err = capsys.readouterr().err
    assert "No key slice is chosen among 24 slices" in err
    assert "let the model propose one (--propose-key-slice)" in err


def test_a_model_without_a_head_is_refused(files, capsys):
    command = ["stage", str(files / "ct.nrrd"), "--propose-key-slice", "--device", "cpu", "--json"]
    assert cli.main([*command, "--model", "untrained"]) == 1
    err = capsys.readouterr().err
    assert "'untrained' has no head that proposes key slices" in err
    assert "choose the --key-slice" in err


def test_a_batch_with_a_model_without_a_head_is_refused_before_its_cases(files, tmp_path, capsys):
    table = tmp_path / "cases.csv"
    ct, roi = files / "ct.nrrd", files / "tumour.nrrd"
    table.write_text(f"case_id,image,roi,key_slice\na,{ct},,\nb,{ct},{roi},\nc,{ct},,\n")
    command = ["batch", str(table), "--out", str(tmp_path / "out"), "--propose-key-slice", "--device", "cpu"]
    assert cli.main([*command, "--model", "untrained", "--workers", "1"]) == 1
    printed = capsys.readouterr()
    assert printed.err.count("'untrained' has no head that proposes key slices") == 1
    assert "choose the column key_slice" in printed.err
    assert not (tmp_path / "out" / "predictions.csv").exists()


def test_only_cases_that_need_a_proposal_require_a_head():
    card = registry.read_card(registry.locate("demonstration"))
    headless = replace(card, proposal=None, proposal_sha256=None)
    known = [CaseRow(case_id="a", image=Path("a"), key_slice=3), CaseRow(case_id="b", image=Path("b"), roi=Path("r")),
             CaseRow(case_id="c", image=Path("c"), skip="left out")]  # fmt: skip
    _require_proposals(known, headless)
    unknown = [*known, CaseRow(case_id="d", image=Path("d"))]
    _require_proposals(unknown, card)
    with pytest.raises(WeightsError, match="has no head"):
        _require_proposals(unknown, headless)


def test_the_stomach_among_other_organs_has_to_be_named(files, capsys):
    command = ["stage", str(files / "ct.nrrd"), "--key-slice", "0", "--device", "cpu", "--json"]
    assert cli.main([*command, "--stomach", str(files / "organs.nrrd")]) == 1
    err = capsys.readouterr().err
    assert "organs.nrrd has 2 segments" in err
    assert "choose the stomach's with --stomach-segment: 1 (" in err
    assert cli.main([*command, "--stomach", str(files / "organs.nrrd"), "--stomach-segment", "6"]) == 0
    warnings = json.loads(capsys.readouterr().out)["warnings"]
    assert any("NO STOMACH" in one for one in warnings) != bool(_stomach_in(files, 0))


def _stomach_in(files, index):
    return sitk.GetArrayFromImage(sitk.ReadImage(str(files / "stomach.nrrd")))[index].any()
