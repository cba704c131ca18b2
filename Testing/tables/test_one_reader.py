"""Every command reads and refuses the same tables of cases, whoever wrote them."""

import csv
import io
from dataclasses import dataclass

import openpyxl
import pandas as pd
import pytest
from helpers.golden_data import GOLDEN

from GTRStagingLib.batch.cases import read_cases
from GTRStagingLib.cli.main import main
from GTRStagingLib.cohort.cohort import read_cohort
from GTRStagingLib.cohort.partitions import read_partitions
from GTRStagingLib.errors import InputError
from GTRStagingLib.evaluation.predictions import read_predictions
from GTRStagingLib.radscore.fit import fit_cohort
from GTRStagingLib.radscore.inputs import from_table, read_rows
from GTRStagingLib.tables.case_table import read_case_table

HEAD = ["case_id", "patient_id", "image", "stage", "split", "age", "p_T1", "p_T2", "p_T3", "p_T4"]
ROWS = [
    ["007", "P1", "a.nii", "T1", "test", "61.5", "0.7", "0.1", "0.1", "0.1"],
    ["008", "P1", "b.nii", "T4", "test", "61.5", "0.1", "0.1", "0.1", "0.7"],
    ["009", "P2", "c.nii", "T2", "test", "70", "0.1", "0.5", "0.2", "0.2"],
]


@dataclass(frozen=True)
class Read:
    """What a command has read, with None for what it does not look at."""

    ids: list[str]
    patients: list[str] | None
    stages: list[str]
    ages: list[float] | None
    notes: tuple[str, ...]


def as_cohort(path):
    found = read_cohort(path)
    return Read([c.case_id for c in found], [c.patient_id for c in found], [str(c.stage) for c in found],
                [c.covariates["age"] for c in found], found.notes)  # fmt: skip


def as_batch(path):
    found = read_cases(path)
    kept = [c for c in found if c.skip is None]
    notes = found.notes if len(kept) == len(found) else (*found.notes, "left out")
    return Read([c.case_id for c in kept], [c.patient_id for c in kept], [c.given["stage"] for c in kept],
                [float(c.given["age"]) for c in kept], notes)  # fmt: skip


def as_radscore(path):
    found = read_rows(path)
    return Read([c.case_id for c in found], [c.patient_id for c in found], [str(c.stage) for c in found],
                [c.covariates["age"] for c in found], found.notes)  # fmt: skip


def as_nomogram(path):
    found = read_case_table(path, ("stage",), may_be_empty=("stage",), own=("age",))
    return Read([r["case_id"] for r in found.rows], [r["patient_id"] for r in found.rows],
                [r["stage"] for r in found.rows], [float(r["age"]) for r in found.rows], found.notes)  # fmt: skip


def as_predictions(path):
    found = read_predictions(path)
    notes = found.notes if "excluded" not in found.flow.excluded else (*found.notes, "left out")
    return Read(found.case_names.tolist(), found.patient_names[found.patients].tolist(),
                [f"T{s + 1}" for s in found.stages], found.numbers("age").tolist(), notes)  # fmt: skip


def as_truth(path):
    table = path.with_name("predictions.csv")
    table.write_text("case_id,predicted\n" + "".join(f"{row[0]},T1\n" for row in ROWS))
    found = read_predictions(table, truth=path)
    notes = found.notes if "excluded" not in found.flow.excluded else (*found.notes, "left out")
    return Read(found.case_names.tolist(), found.patient_names[found.patients].tolist(),
                [f"T{s + 1}" for s in found.stages], found.numbers("age").tolist(), notes)  # fmt: skip


COMMANDS = {
    "cohort, train, models check": as_cohort,
    "batch": as_batch,
    "radscore fit": as_radscore,
    "nomogram fit": as_nomogram,
    "evaluate": as_predictions,
    "evaluate --cohort": as_truth,
}


def text_of(head, rows, separator=","):
    file = io.StringIO()
    csv.writer(file, delimiter=separator, lineterminator="\n").writerows([head, *rows])
    return file.getvalue()


def renamed(**names):
    return [names.get(name, name) for name in HEAD]


def with_column(name, *cells):
    return [*HEAD, name], [[*row, cell] for row, cell in zip(ROWS, cells, strict=True)]


def altered(column, *cells, head=HEAD):
    index = HEAD.index(column)
    return head, [[*row[:index], cell, *row[index + 1 :]] for row, cell in zip(ROWS, cells, strict=True)]


def commas(rows=ROWS):
    return [[cell if i in (0, 1, 2) else cell.replace(".", ",") for i, cell in enumerate(row)] for row in rows]


def percent(rows=ROWS):
    return [[*row[:6], *(f"{float(cell) * 100:g} %" for cell in row[6:])] for row in rows]


def workbook(change=lambda sheet: None, further=()):
    def write(path):
        book = openpyxl.Workbook()
        for row in (HEAD, *ROWS):
            numbers = [float(cell) for cell in row[5:]] if row is not HEAD else row[5:]
            book.active.append([*row[:5], *numbers])
        for name in further:
            book.create_sheet(name)
        change(book.active)
        book.save(path)

    return ".xlsx", write


def a_text(text, encoding="utf-8"):
    return ".csv", lambda path: path.write_bytes(text.encode(encoding))


def merged(sheet):
    sheet.merge_cells("B2:B3")


def formula(sheet):
    sheet["F2"] = "=60+1.5"


def dated(sheet):
    sheet["A2"] = pd.Timestamp("2024-10-03").to_pydatetime()


def hidden(sheet):
    sheet.row_dimensions[3].hidden = True


def zeros(sheet):
    sheet["A2"] = 7
    sheet["A2"].number_format = "000"


READ = {
    "plain": (a_text(text_of(HEAD, ROWS)), None),
    "Split": (a_text(text_of(renamed(split="Split"), ROWS)), "'Split' is read as 'split'"),
    "PatientID": (a_text(text_of(renamed(patient_id="PatientID"), ROWS)), "'PatientID' is read as 'patient_id'"),
    "Patient ID": (a_text(text_of(renamed(patient_id="Patient ID"), ROWS)), "'Patient ID' is read as 'patient_id'"),
    "subject": (a_text(text_of(renamed(patient_id="subject"), ROWS)), "'subject' is read as 'patient_id'"),
    "semicolons": (a_text(text_of(HEAD, commas(), ";")), "separated by semicolons"),
    "tabs": (a_text(text_of(HEAD, commas(), "\t")), "separated by tabs"),
    "decimal commas": (a_text(text_of(HEAD, commas())), "'61,5' as 61.5"),
    "thousandths with semicolons": (
        a_text(text_of(*altered("age", "61,500", "61,500", "70,000"), ";")), "'61,500' as 61.500"),
    "percent signs": (a_text(text_of(HEAD, percent())), "'10 %' as 0.1"),
    "UTF-16": (a_text(text_of(HEAD, ROWS, "\t"), "utf-16"), "UTF-16"),
    "GB18030": (a_text(text_of(*with_column("医院", "北京", "上海", "北京")), "gb18030"), "GB18030"),
    "byte-order mark": (a_text("\ufeff" + text_of(HEAD, ROWS)), None),
    "empty columns": (a_text(text_of([*HEAD, "", ""], [[*row, "", ""] for row in ROWS])), None),
    "Test": (a_text(text_of(*altered("split", "Test", "TEST", "test"))), None),
    "workbook": (workbook(), None),
    "sheets": (workbook(further=["Notes"]), "2 sheets; 'Sheet', the first one, is read"),
    "hidden row": (workbook(hidden), "1 hidden row of"),
    "007 as a number": (workbook(zeros), None),
    "Parquet": ((".parquet", lambda path: pd.DataFrame(ROWS, columns=HEAD).to_parquet(path)), None),
}  # fmt: skip

REFUSED = {
    "two splits": (a_text(text_of(*with_column("Split", "train", "train", "train"))), "Split"),
    "id as a number": (a_text(text_of(*altered("case_id", "7.0", "8", "9"))), "7.0"),
    "patient as a number": (a_text(text_of(*altered("patient_id", "1.2E+05", "1.2E+05", "2"))), "1.2E"),
    "invisible": (a_text(text_of(*altered("patient_id", "P1", "P\u200b1", "P2"))), "U.200B"),
    "repeated id": (a_text(text_of(*altered("case_id", "007", "007", "009"))), "007"),
    "stage": (a_text(text_of(*altered("stage", "T1", "T5", "T2"))), "T5"),
    "thousands": (a_text(text_of(*altered("age", "1,234", "1,234", "2,345"))), "'1,234' could be 1234 or 1.234"),
    "commas and points": (a_text(text_of(*altered("age", "61,5", "61.5", "70"))), "'age' has commas and points"),
    "thousands and decimals": (a_text(text_of(*altered("age", "1.234,5", "1,5", "2"), ";")), "separators of thousands"),
    "some percent": (a_text(text_of(*altered("age", "61 %", "61", "70 %"))), "with and without %"),
    "Latin-1": (a_text(text_of(*with_column("centre", "Köln", "Größe", "Köln")), "latin-1"), "not UTF-8"),
    "Korean": (a_text(text_of(*with_column("병원", "서울", "부산", "대구")), "euc-kr"), "not UTF-8"),
    "bars": (a_text(text_of(HEAD, ROWS, "|")), "separated by '.'"),
    "yes or no": (a_text(text_of(*with_column("exclude", "0", "1", "0"))), "expected the reason"),
    "merged cells": (workbook(merged), "B2:B3 are merged"),
    "formula without a result": (workbook(formula), "cell F2 has a formula without a result"),
    "date for an id": (workbook(dated), "row 2, case_id '2024-10-03': expected the original id"),
    "no workbook": ((".xlsx", lambda path: path.write_bytes(b"PK")), "cannot be read as an Excel workbook"),
}


def write(tmp_path, table):
    suffix, maker = table
    path = tmp_path / f"cases{suffix}"
    maker(path)
    return path


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("odd", READ)
def test_every_command_reads_the_same(tmp_path, command, odd):
    table, note = READ[odd]
    found = COMMANDS[command](write(tmp_path, table))
    assert found.ids == ["007", "008", "009"]
    assert found.patients == ["P1", "P1", "P2"]
    assert found.stages == ["T1", "T4", "T2"]
    assert found.ages == [61.5, 61.5, 70]
    if note is not None and not (command == "evaluate" and "is read as" in note):  # it reports the columns it uses
        assert [one for one in found.notes if note in one], found.notes


# Tables of other software may repeat case_id if another column names the rows, and have columns of any name.
OF_OTHERS = {("evaluate", "two splits"), ("evaluate", "repeated id")}


@pytest.mark.parametrize(
    ("command", "odd"), [(one, odd) for one in COMMANDS for odd in REFUSED if (one, odd) not in OF_OTHERS]
)
def test_every_command_refuses_the_same(tmp_path, command, odd):
    table, message = REFUSED[odd]
    with pytest.raises(InputError, match=message):
        COMMANDS[command](write(tmp_path, table))


@pytest.mark.parametrize("command", COMMANDS)
def test_a_case_with_a_reason_to_exclude_is_left_out_by_every_command(tmp_path, command):
    path = write(tmp_path, a_text(text_of(*with_column("exclude", "", "metal", ""))))
    found = COMMANDS[command](path)
    assert found.ids == ["007", "009"]
    assert [one for one in found.notes if "left out" in one]


@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "evaluate"])
def test_stages_of_reports_are_read_and_said(tmp_path, command):
    found = COMMANDS[command](write(tmp_path, a_text(text_of(*altered("stage", "pT1", "T4a", "ypT2")))))
    assert found.stages == ["T1", "T4", "T2"]
    assert [one for one in found.notes if "'pT1' is read as 'T1'" in one]


# -- patients ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_a_patient_for_every_row_is_a_note(tmp_path, command):
    head, rows = altered("patient_id", "a.nii", "b.nii", "c.nii", head=renamed(patient_id="PatientID"))
    notes = COMMANDS[command](write(tmp_path, a_text(text_of(head, rows)))).notes
    assert [one for one in notes if "different in every row" in one]


def test_site_is_a_centre_in_no_command_and_that_is_said(tmp_path):
    path = write(tmp_path, a_text(text_of(*with_column("site", "antrum", "cardia", "antrum"))))
    assert [case.centre for case in read_cohort(path)] == [None] * 3
    assert read_predictions(path).columns.centre is None
    entries, notes = read_partitions({"train": path, "test": path}, None, None)
    assert {entry.centre for entry in entries} == {None}
    for found in (read_cohort(path).notes, read_predictions(path).notes, notes):
        assert [one for one in found if "'site' is not read as the centre" in one]


def test_a_patient_pattern_finds_the_same_patients_in_audit_and_evaluation(tmp_path):
    text = "image,label,predicted\nP7/P01_slice_1.png,0,0\nP7/P01_slice_2.png,3,3\nP7/P02_slice_1.png,1,1\n"
    path = write(tmp_path, a_text(text))
    pattern = "^(.+?)_slice"
    found = read_predictions(path, patient_pattern=pattern)
    entries, _ = read_partitions({"train": path, "test": path}, pattern, None)
    assert found.patient_names[found.patients].tolist() == ["P01", "P01", "P02"]
    assert [entry.patient for entry in entries[:3]] == ["P01", "P01", "P02"]


# -- splits --------------------------------------------------------------------------------------------------------


def split_copy(tmp_path, header, cell):
    """Return golden cases with a column of splits: `cell` of the number of a patient."""
    with (GOLDEN / "cohort.csv").open() as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row[header] = cell(int(row["patient_id"][1:]))
    path = tmp_path / "cohort.csv"
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    return path


def test_the_rad_score_is_fitted_on_the_training_rows_whatever_the_spelling_of_split(tmp_path):
    features = from_table(GOLDEN / "features.csv")
    made = [
        fit_cohort(read_rows(split_copy(tmp_path, header, lambda p: "test" if p % 4 == 0 else "train")), features,
                   folds=3, name="x")
        for header in ("split", "Split")
    ]  # fmt: skip
    assert made[1].fit.radscore == made[0].fit.radscore
    assert made[1].fit.radscore.record["split"] == ["train"]


def test_commands_print_how_a_table_was_read(tmp_path, capsys):
    path = write(tmp_path, a_text(text_of(renamed(split="Split"), commas(), ";")))
    main(["cohort", "audit", str(path), "--no-content", "--json"])
    printed = capsys.readouterr()
    assert '"cases.csv is separated by semicolons."' in printed.out
    assert "NOTE: Column 'Split' is read as 'split'." in printed.err
    assert main(["evaluate", str(path)]) == 0
    assert "NOTE          cases.csv is separated by semicolons." in capsys.readouterr().out
