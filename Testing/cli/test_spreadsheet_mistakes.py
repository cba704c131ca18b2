"""Mistakes of a researcher with a spreadsheet: each is read right, with a note, or told what to do about."""

import csv
import io
import json
from contextlib import redirect_stdout

import pytest
from helpers.golden_data import GOLDEN

from GTRStagingLib.cli.main import main


@pytest.fixture(scope="module")
def golden():
    with (GOLDEN / "cohort.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def correct(tmp_path_factory, golden):
    """The fit of a nomogram, and the evaluation, of the table without mistakes."""
    folder = tmp_path_factory.mktemp("correct")
    path = save(folder / "cohort.csv", golden)
    return fitted(path, folder / "nomogram.json"), evaluated(path)


def save(path, rows, separator=",", encoding="utf-8"):
    with path.open("w", newline="", encoding=encoding) as file:
        table = csv.DictWriter(file, list(rows[0]), delimiter=separator)
        table.writeheader()
        table.writerows(rows)
    return path


def changed(rows, change, *columns):
    return [{name: change(text) if name in columns else text for name, text in row.items()} for row in rows]


def comma(text):
    return text.replace(".", ",")


def fitted(path, out, *predictors):
    """Fit a nomogram by the command, and return its coefficients and thresholds."""
    predictors = predictors or ("size_cm", "differentiation")
    code = main(["nomogram", "fit", str(path), "--on", *predictors, "--resamples", "1", "--out", str(out)])
    assert code == 0
    record = json.loads(out.read_text())["record"]
    return [row["coefficient"]["value"] for row in record["coefficients"]], record["rows"]["used"]


def evaluated(path):
    """Evaluate by the command, and return the printed results and notes."""
    with redirect_stdout(io.StringIO()) as printed:
        assert main(["evaluate", str(path)]) == 0
    lines = printed.getvalue().splitlines()
    return ([line for line in lines if line.startswith(("Rows", "Accuracy", "AUC", "Kappa"))],
            [line for line in lines if line.startswith("NOTE")])  # fmt: skip


PROBABILITIES = ("p_T1", "p_T2", "p_T3", "p_T4")


def test_sizes_with_decimal_commas(tmp_path, capsys, golden, correct):
    path = save(tmp_path / "cohort.csv", changed(golden, comma, "size_cm"))
    capsys.readouterr()
    assert fitted(path, tmp_path / "n.json") == correct[0]
    assert "NOTE: Column 'size_cm': decimal commas are read as points, '" in capsys.readouterr().err


def test_sizes_of_which_one_has_a_comma(tmp_path, capsys, golden):
    rows = changed(golden, str, "size_cm")
    rows[4]["size_cm"] = "4,5"
    path = save(tmp_path / "cohort.csv", rows)
    assert main(["nomogram", "fit", str(path), "--on", "size_cm", "--out", str(tmp_path / "n.json")]) == 1
    error = capsys.readouterr().err
    assert "column 'size_cm' has commas and points, as in '4,5' and" in error
    assert "Write them with a point" in error


def test_sizes_that_could_be_thousands(tmp_path, capsys, golden):
    path = save(tmp_path / "cohort.csv", [{**row, "size_mm": "1,234"} for row in golden])
    assert main(["nomogram", "fit", str(path), "--on", "size_mm", "--out", str(tmp_path / "n.json")]) == 1
    assert "column 'size_mm': '1,234' could be 1234 or 1.234" in capsys.readouterr().err


def test_a_request_for_the_test_split_names_the_column_and_no_flag(tmp_path, capsys, golden):
    path = save(tmp_path / "cohort.csv", [{**row, "split": "test"} for row in golden])
    arguments = ["--on", "size_cm", "--split", "test", "--out", str(tmp_path / "n.json")]
    assert main(["nomogram", "fit", str(path), *arguments]) == 1
    assert "remove the column 'split' from the table" in capsys.readouterr().err


def test_semicolons(tmp_path, capsys, golden, correct):
    numbers = ("size_cm", "radscore", "dice", "chance_dice", *PROBABILITIES, "q_T1", "q_T2", "q_T3", "q_T4")
    path = save(tmp_path / "cohort.csv", changed(golden, comma, *numbers), ";")
    capsys.readouterr()
    assert fitted(path, tmp_path / "n.json") == correct[0]
    assert "NOTE: cohort.csv is separated by semicolons." in capsys.readouterr().err
    results, notes = evaluated(path)
    assert results == correct[1][0]
    assert "NOTE          cohort.csv is separated by semicolons." in notes


def test_percent_signs(tmp_path, golden, correct):
    path = save(tmp_path / "cohort.csv", changed(golden, lambda p: f"{float(p) * 100:.2f}%", *PROBABILITIES))
    results, notes = evaluated(path)
    assert len(results) == 4
    assert results == correct[1][0]
    assert [note for note in notes if "Column 'p_T1': percentages are read as shares, '" in note]


def test_percentages_without_the_sign(tmp_path, capsys, golden):
    path = save(tmp_path / "cohort.csv", changed(golden, lambda p: f"{float(p) * 100:.2f}", *PROBABILITIES))
    assert main(["evaluate", str(path)]) == 1
    assert "If they are percentages, divide them by 100." in capsys.readouterr().err


def test_chinese_headers_in_gbk(tmp_path, capsys, golden, correct):
    chinese = {"size_cm": "肿瘤大小", "differentiation": "分化程度"}
    rows = [{chinese.get(name, name): text for name, text in row.items()} for row in golden]
    path = save(tmp_path / "cohort.csv", rows, encoding="gbk")
    capsys.readouterr()
    assert fitted(path, tmp_path / "n.json", *chinese.values()) == correct[0]
    assert "it is read as GB18030 (Chinese), as in '肿瘤大小'" in capsys.readouterr().err


def test_a_table_in_an_encoding_that_cannot_be_told(tmp_path, capsys, golden):
    path = save(tmp_path / "cohort.csv", [{**row, "centre": "Köln"} for row in golden], encoding="latin-1")
    assert main(["evaluate", str(path)]) == 1
    assert "expected UTF-8, UTF-16 with a byte-order mark, or Chinese in GB18030" in capsys.readouterr().err


@pytest.mark.parametrize("empty", ["some", "all"])
def test_empty_splits(tmp_path, capsys, golden, empty):
    rows = [{**row, "split": "" if empty == "all" or int(row["patient_id"][1:]) % 3 else "train"} for row in golden]
    path = save(tmp_path / "cohort.csv", rows)
    arguments = ["radscore", "fit", path, "--features", GOLDEN / "features.csv", "--folds", 3,
                 "--out", tmp_path / "score.json"]  # fmt: skip
    assert main(list(map(str, arguments))) == 0
    printed = capsys.readouterr()
    used = sum(row["split"] == "train" for row in rows) or len(rows)
    assert f"300 rows: {used} used for the fit" in printed.out
    where = "in all rows" if empty == "all" else f"in {300 - used} of 300 rows"
    assert f"NOTE: Column 'split' is empty {where}" in printed.err
    assert "Write train, validation, test or calibration into" in printed.err
