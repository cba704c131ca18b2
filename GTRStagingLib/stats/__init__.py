"""Measure performance, calibration, readers and attention from arrays, with 95 % intervals.

Input: stages, probabilities and patients as arrays; patients may be given as `Clusters`. Output: `Estimate`.
The unit of every interval is the patient, not the row.

- `estimates`: `Clusters`, `Estimate`, `mean`, `jackknifed`, `proportion`
- `risk_coverage`: `risk_coverage`, `RiskCoverage`
- `roc`: `Area`, `area`, `stage_areas`, `difference`
- `metrics`: `Metrics`, `measure`
- `calibration`: `Calibration`, `calibrate`
- `decisions`: `Decisions`, `decide`
- `mcnemar`: `clustered_mcnemar`
- `readers`: `Reader`, `Reading`, `Comparison`, `compare`
- `reader_study`: `ReaderStudy`, `reader_study`
- `mrmc`: `Mrmc`, `analyse`
- `advice_taking`: `Advised`, `AdviceTaking`, `advice_taking`
- `reader_answers`: `times`, `time_change`, `confidence`, `constancy`, `concord`, `contrast`
- `attention_by_stage`: `AttentionStudy`, `attention`
- `group_differences`: `compare_numbers`, `compare_choices`
- `heterogeneity`: `Heterogeneity`, `compare_shares`, `compare_areas`, `compare_means`
- `control_charts`: `Chart`, `number_chart`, `share_chart`, `stability_index`
- `split_scores`: `SplitScores`, `scores`, `fitted_temperature`
- `set_calibration`: `calibrate_sets`, `first_cases`
- `set_coverage`: `SetCoverage`, `set_coverage`
- `stage_stability`: `StageStability`, `stage_stability`
- `lasso`: `path_of`, `patient_folds`
- `proportional_odds`: `Design`, `OrdinalFit`, `fit`
- `proportional_odds_checks`: `Validation`, `brant`, `validate`
"""
