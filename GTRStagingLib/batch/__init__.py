"""Stage the cases of a table; each ends as done, failed or skipped.

In: a table of cases and `BatchSettings`. Out: a folder for each case with its record, and predictions.csv and .parquet.

- `cases`: `BatchCase`, `read_cases`
- `columns`: `PREDICTIONS`, `PARQUET`
- `records`: `Job`, `Outcome`, `write_tables`
- `batch`: `Batch`, `Counts`
- `scoring`: `ScoreColumns`
- `run`: `run_batch`
- `local`: `BatchSettings`, `WorkerGroup`, `with_workers`
- `model_process`: `RemoteBackbone`
- `cluster`: `Cluster`
"""
