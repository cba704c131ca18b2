"""Evaluate a table of predictions, ours or another's, and write the evidence.

In: a table. Out: `Predictions`, `Evaluation`, and metrics.json, report.html, figures and tables.

- `columns`: `Columns`, `columns_of`
- `parsing`: `read_cells`, `stages_of`, `probabilities_of`, `patients_of`
- `predictions`: `Predictions`, `Flow`, `read_predictions`
- `table_one`: `patients_described`
- `training_overlap`: `find_siblings`
- `evaluate`: `Evaluation`, `evaluate`
- `checklist_facts`: `facts`
- `checklists`: `Checklist`, `checklist`, `fill`
- `figures`: `figures`
- `tables`: `tables`
- `report`: `write_evaluation`
"""
