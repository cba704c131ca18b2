"""Read tables as text: cells, files, and what every table of cases must be.

In: a CSV or Parquet file. Out: rows of texts with the number a spreadsheet gives them, and one list of all faults.

- `cells`: `TextId`
- `table_files`: `read_rows`
- `case_table`: `CaseTable`, `read_case_table`
- `case_row`: `CaseRow`
- `case_files`: `files_of`, `look_of`, `OUTPUTS`
"""
