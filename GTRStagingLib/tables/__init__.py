"""Read every table of cases, with one list of columns and one set of rules, and write tables.

In: a table of text, an Excel workbook or a Parquet file. Out: rows of text with their spreadsheet row numbers, checked
rows of cases, notes on what was not read as it stands, and a list of all errors.

- `cells`: `plain_text`, `visible_text`, `unaltered_id`, `covariate_value`, `covariate_number`, `cell_text`, `guarded`
- `column_words`: `label_of`, `label_and_unit`
- `headers`: `COLUMNS`, `CASES`, `PATIENTS`, `CENTRES`, `STAGES`, `find`
- `patient_pattern`: `patients_in`, `last_part`
- `numerals`: `plain_numbers`
- `text_formats`: `TextFormat`, `text_format`
- `workbook`: `read_workbook`
- `table_files`: `Table`, `read_table`, `write_table`
- `case_row`: `CaseRow`, `Cases`
- `case_table`: `read_case_table`, `read_cases`
- `case_files`: `input_files`, `file_stats`, `OUTPUTS`, `DISAGREEMENT`
- `case_texts`: `shared_text`
- `stage_cells`: `named_stage`, `coded_stage`, `code_of`
"""
