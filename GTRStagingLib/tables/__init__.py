"""Read tables as text and check tables of cases.

In: a CSV or Parquet file. Out: rows of text with their spreadsheet row numbers, and a list of all errors.

- `cells`: `plain_text`, `visible_text`, `unaltered_id`, `covariate_value`, `cell_text`, `guarded`, `unguarded`
- `table_files`: `Table`, `read_table`, `write_table`
- `case_table`: `CaseTable`, `read_case_table`
- `case_row`: `CohortRow`, `validate_row`
- `case_files`: `input_files`, `file_stats`, `OUTPUTS`
- `case_texts`: `shared_text`
"""
