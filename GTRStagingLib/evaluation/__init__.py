"""Evaluate a table of predictions, of this software or another, and write the report.

Input: a table. Output: `Predictions`, `Evaluation`, and metrics.json, report.html, figures and tables.

- `columns`: `Columns`, `columns_of`
- `readings`: `StageColumn`, `StageColumns`, `find_stage_columns`, `shown_name`
- `parsing`: `read_cells`, `stages_of`, `probabilities_of`, `patients_of`
- `predictions`: `Predictions`, `Flow`, `read_predictions`
- `flow`: `PatientFlow`, `patient_flow`
- `performance`: `Performance`, `performance`, `curves`
- `table_one`: `describe_patients`
- `cohort_table`: `CohortLine`, `describe_cohorts`
- `scanner_table`: `ScannerLine`, `scanner_table`
- `stage_sets`: `stage_sets`, `set_sizes`
- `risk_scores`: `risk_by_scores`
- `slice_stability`: `slice_stability`
- `cohorts`: `Cohorts`, `CohortEvaluation`, `evaluate_cohorts`
- `study_answers`: `StudyAnswers`, `answers_beside`, `read_answers`
- `answer_analysis`: `AnswerAnalysis`, `analyse_answers`, `wrong_advice_of`
- `answer_tables`: `supplementary_table`, `printed`, `words`, `rows_of_files`
- `training_overlap`: `find_siblings`
- `evaluate`: `Evaluation`, `evaluate`
- `study_facts`: `study_facts`
- `checklist_facts`: `facts`
- `checklists`: `Checklist`, `checklist`, `fill`
- `figure_style`: `Grid`, `wrapped`
- `figure_panels`: `roc`, `confusion`, `calibration`, `risk_coverage`, `decision_curves`, `attention`
- `flow_figure`: `flow_figure`
- `reader_figures`: `reader_figures`
- `figures`: `figures`
- `reader_tables`: `shown`, `rows_of_files`
- `tables`: `tables`
- `gallery`: `misclassified`, `wrong_advice_cases`, `gallery_page`
- `report_tables`: `PrintedTable`, and a function for each table of the report
- `set_tables`: `stage_sets`, `risk_coverage`, `slice_stability`
- `nomogram_tables`: `terms`, `tests`, `validation`
- `manuscript`: `manuscript_docx`
- `report`: `write_evaluation`
"""
