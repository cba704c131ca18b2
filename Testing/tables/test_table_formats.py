"""Formats of tables: encodings, separators, numbers with commas and percent signs, workbooks."""

import datetime

import openpyxl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from GTRStagingLib.errors import InputError
from GTRStagingLib.tables.headers import COLUMNS, columns_read, find
from GTRStagingLib.tables.numerals import plain_numbers
from GTRStagingLib.tables.table_files import read_table, write_table
from GTRStagingLib.tables.text_formats import text_format

TEXT = "case_id,image,{}\n1,a.nii,{}\n2,b.nii,{}\n"


def a_file(tmp_path, text, encoding="utf-8", name="table.csv"):
    path = tmp_path / name
    path.write_bytes(text.encode(encoding))
    return path


# -- encodings -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["gb18030", "gbk", "gb2312"])
@pytest.mark.parametrize(
    "words",
    [("性别", "男", "女"), ("中心", "四川大学华西医院", "浙江省人民医院"), ("肿瘤大小（厘米）", "3.5", "4"),
     ("姓名", "王小明", "李红"), ("Lauren分型", "弥漫型", "肠型"), ("分化程度", "低分化", "中分化")],
)  # fmt: skip
def test_chinese_is_read_without_a_mark(tmp_path, encoding, words):
    path = a_file(tmp_path, TEXT.format(*words), encoding)
    table = read_table(path)
    assert (table.columns[2], *(row[words[0]] for row in table.rows)) == words
    assert "GB18030 (Chinese)" in table.notes[0]


@pytest.mark.parametrize(
    ("encoding", "words"),
    [
        ("latin-1", ("Köln", "Größe", "Müller")),
        ("cp1252", ("ÉTÉ À", "ÄÖÜ", "ÀÉÈ")),
        ("cp1250", ("Łódź", "Kraków", "żółć")),
        ("cp1251", ("Пациент", "БОЛЬНИЦА", "МОСКВА")),
        ("cp1251", ("больница", "женский", "мужской")),
        ("cp1253", ("Αθήνα", "άνδρας", "γυναίκα")),
        ("cp1254", ("İstanbul", "şğüöç", "Çınar")),
        ("cp874", ("กรุงเทพ", "ชาย", "หญิง")),
        ("euc-kr", ("성별", "남", "여")),
        ("cp949", ("병원", "서울대학교병원", "부산")),
        ("cp949", ("환자 위암", "삼성서울병원", "연세대학교")),
        ("shift-jis", ("年齢", "男性", "女性")),
        ("euc-jp", ("年齢", "男性", "女性")),
        ("big5", ("醫院", "台大醫院", "高雄")),
        ("gb18030", ("ö", "é", "ü")),
    ],
)
def test_other_encodings_are_not_taken_for_chinese(tmp_path, encoding, words):
    with pytest.raises(InputError, match=r"not UTF-8 .*Save the table as 'CSV UTF-8'"):
        read_table(a_file(tmp_path, TEXT.format(*words), encoding))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-8-sig"])
def test_a_byte_order_mark_names_the_encoding(tmp_path, encoding):
    table = read_table(a_file(tmp_path, TEXT.format("性别", "男", "é"), encoding))
    assert [row["性别"] for row in table.rows] == ["男", "é"]
    assert len(table.notes) == (encoding != "utf-8-sig")


def test_what_is_written_needs_no_note(tmp_path):
    path = tmp_path / "table.csv"
    write_table(path, {"case_id": ["男", "é"], "size": [3.5, 4.0]})
    assert read_table(path).notes == ()


# -- separators ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "separator"),
    [
        ("case_id,size;cm\n1,2\n", ","),
        ('case_id,image,"a;b;c;d"\n1,2,3\n', ","),
        ("case_id;size, cm;stage\n1;2;T1\n", ";"),
        ("case_id\tsize, cm\n1\t2\n", "\t"),
        ("a;b,c\n1;2\n3;4,5\n", ";"),
        ("DL-1,DL-2\n1,2\n", ","),
        ("case_id\n1\n", ","),
    ],
)
def test_the_header_tells_the_separator(tmp_path, text, separator):
    assert text_format(a_file(tmp_path, text)).separator == separator


def test_a_header_with_two_separators_is_refused(tmp_path):
    with pytest.raises(InputError, match="could be separated by commas or semicolons"):
        text_format(a_file(tmp_path, "a,b;c\n"))


@pytest.mark.parametrize("name", ["table.csv", "table.tsv", "table.txt", "TABLE.CSV"])
def test_text_is_told_by_its_content_not_its_name(tmp_path, name):
    assert read_table(a_file(tmp_path, "a\tb\n1\t2,5\n", name=name)).rows == ({"a": "1", "b": "2.5"},)


def test_ids_keep_their_commas(tmp_path):
    (row,) = read_table(a_file(tmp_path, "case_id;patient_id;image\n1,5;2,5;a,1\n")).rows
    assert row == {"case_id": "1,5", "patient_id": "2,5", "image": "a,1"}


# -- numbers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("texts", "numbers"),
    [
        (["3,5", "4", "-0,25"], {"3,5": "3.5", "-0,25": "-0.25"}),
        (["1,234", "61,5"], {"1,234": "1.234", "61,5": "61.5"}),  # 61,5 shows that the comma is decimal
        (["0,123"], {"0,123": "0.123"}),  # no separator of thousands follows a 0
        (["12%", "7 %", "12.5 ％"], {"12%": "0.12", "7 %": "0.07", "12.5 ％": "0.125"}),
        (["3,5 %", "NA"], {"3,5 %": "0.035"}),
        (["100 %", "0%"], {"100 %": "1", "0%": "0"}),
        (["1,5e-3"], {"1,5e-3": "1.5e-3"}),
        (["3.5", "4"], {}),
        (["diffuse", "a, b"], {}),
    ],
)
def test_columns_of_numbers(texts, numbers):
    assert plain_numbers("x", texts)[0] == numbers


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["1,234"], "'1,234' could be 1234 or 1.234"),
        (["1,234", "12,345", "7"], "could be"),
        (["1,234,567"], "separators of thousands"),
        (["1.234,5"], "separators of thousands"),
        (["1,5", "1.5"], "commas and points"),
        (["12 %", "12"], "with and without %"),
    ],
)
def test_numbers_with_two_meanings_are_refused(texts, message):
    with pytest.raises(ValueError, match=message):
        plain_numbers("x", texts)


def test_numbers_beside_a_text_stay_texts_and_that_is_said():
    altered, note = plain_numbers("size", ["3,5", "4,5", "unknown"])
    assert altered == {}
    assert "read as text, since 'unknown' is not a number; '3,5' is then no number either" in note
    assert plain_numbers("lymph nodes", ["1,2", "none", "left", "right"]) == ({}, None)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.decimals(-9999, 9999, places=2), min_size=1, max_size=5))
def test_a_decimal_comma_is_the_point_of_the_number(numbers):
    texts = [str(number).replace(".", ",") for number in numbers]
    altered, note = plain_numbers("x", texts)
    assert [altered[text] for text in texts] == [str(number) for number in numbers]
    assert note


# -- headers -------------------------------------------------------------------------------------------------------


def test_the_exact_name_comes_before_other_spellings():
    assert find(["Stage", "stage"], ["stage"]) == "stage"
    assert find(["subject", "Patient-ID"], COLUMNS["patient_id"]) == "Patient-ID"
    assert find(["age"], COLUMNS["patient_id"]) is None
    with pytest.raises(ValueError, match="'Split' and 'SPLIT' are both read as 'split'"):
        find(["Split", "SPLIT"], ["split"])


def test_columns_that_a_caller_uses_keep_their_names():
    found, notes, faults = columns_read(["case_id", "hospital"], own=["hospital"])
    assert (found, notes, faults) == ({"case_id": "case_id"}, [], [])
    assert columns_read(["case_id", "hospital"])[0]["centre"] == "hospital"


# -- workbooks -----------------------------------------------------------------------------------------------------


def a_workbook(tmp_path, rows, change=lambda book: None):
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    change(book)
    path = tmp_path / "table.xlsx"
    book.save(path)
    return path


def test_cells_of_a_workbook_are_texts(tmp_path):
    rows = [["case_id", "a", "b", "c", "d", "e"],
            [7, 61.0, 0.1, True, datetime.datetime(2024, 3, 1), datetime.datetime(2024, 3, 1, 12, 30)],
            [None] * 6,
            ["008", "3,5", None, False, None, " x "]]  # fmt: skip
    table = read_table(a_workbook(tmp_path, rows))
    first, second = table.rows
    assert list(first.values()) == ["7", "61", "0.1", "TRUE", "2024-03-01", "2024-03-01 12:30:00"]
    assert list(second.values()) == ["008", "3.5", None, "FALSE", None, "x"]
    assert table.numbers == (2, 4)
    assert table.notes == ("Column 'a': decimal commas are read as points, '3,5' as 3.5.",)


@pytest.mark.parametrize("value", [3.1, 1234567890123456, datetime.datetime(2024, 3, 1)])
@pytest.mark.parametrize("column", ["case_id", "PatientID", "series"])
def test_ids_that_excel_altered_are_refused(tmp_path, column, value):
    with pytest.raises(InputError, match=f"row 2, {column} .*: expected the original id.* Format the column as text"):
        read_table(a_workbook(tmp_path, [[column, "age"], [value, 61]]))


def test_hidden_columns_and_sheets_are_said(tmp_path):
    def change(book):
        book.create_sheet("Notes")
        book.active.column_dimensions["B"].hidden = True

    notes = read_table(a_workbook(tmp_path, [["case_id", "age"], ["a", 61]], change)).notes
    assert notes == ("table.xlsx has 2 sheets; 'Sheet', the first one, is read.",
                     "Hidden columns of table.xlsx are read, too (from column B).")  # fmt: skip


def test_a_stored_result_of_a_formula_is_read(tmp_path):
    """As Excel saves it; openpyxl writes no results, so that the cell is changed in the file."""
    import zipfile

    path = a_workbook(tmp_path, [["case_id", "age"], ["a", "=60+1.5"]])
    with zipfile.ZipFile(path) as book:
        parts = {name: book.read(name) for name in book.namelist()}
    sheet = "xl/worksheets/sheet1.xml"
    assert parts[sheet].count(b"<f>60+1.5</f><v></v>") + parts[sheet].count(b"<f>60+1.5</f><v/>") == 1
    for empty in (b"<f>60+1.5</f><v></v>", b"<f>60+1.5</f><v/>"):
        parts[sheet] = parts[sheet].replace(empty, b"<f>60+1.5</f><v>61.5</v>")
    with zipfile.ZipFile(path, "w") as book:
        for name, content in parts.items():
            book.writestr(name, content)
    assert read_table(path).rows == ({"case_id": "a", "age": "61.5"},)
