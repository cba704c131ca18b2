"""Check on a cohort whether a model's maps are reliable, record what it learned from, calibrate it; write its card.

In: a `Model` or its name, and cases. Out: a `Check`, a `Fitted` reference, a `FittedHead` or a `Calibration`, and the
card of a model folder with it.

- `case_runs`: `run_cases`, `prepared`, `require_training_cohort`
- `rules`: `judge`, `Verdict`
- `model_check`: `Check`, `check_model`
- `familiarity_fit`: `Fitted`, `fit_familiarity`
- `proposal_fit`: `FittedHead`, `fit_proposal`
- `calibrate`: `Calibration`, `calibrate_model`
- `card_writing`: `write_check`, `write_familiarity`, `write_graphs`,
  `write_proposal`, `write_calibrated`, `require_writable`
"""
