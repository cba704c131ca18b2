"""Read tables as text: cells, files, and what every table of cases must be.

In: a CSV or Parquet file. Out: rows of texts with the number a spreadsheet gives them, and one list of all faults.

- `cells`: `plain_text`, `unaltered_id`, `covariate_value`, `cell_text`
- `table_files`: `Table`, `read_table`, `write_table`
- `case_table`: `CaseTable`, `read_case_table`
- `case_row`: `CohortRow`, `validated`
- `case_files`: `input_files`, `file_stats`, `OUTPUTS`
"""
