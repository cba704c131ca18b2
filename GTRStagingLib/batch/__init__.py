"""Stage the cases of a table; each ends as done, failed or skipped.

Input: a case table and `BatchSettings`. Output: a case folder for each case, predictions.csv and predictions.parquet.

- `cases`: `read_cases`
- `columns`: `PREDICTIONS`, `PARQUET`
- `local_log`: `write_log`, `log_file`
- `records`: `Job`, `Outcome`, `write_tables`
- `batch`: `Batch`, `Counts`
- `report_rows`: `row_of_report`, `write_report_table`
- `scoring`: `ScoreColumns`
- `storing`: `Storing`
- `run`: `run_batch`
- `local`: `BatchSettings`, `WorkerGroup`, `with_workers`
- `model_process`: `RemoteBackbone`
- `cluster`: `Cluster`
"""
