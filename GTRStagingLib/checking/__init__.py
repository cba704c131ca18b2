"""Check on a cohort whether a model's attention maps are reliable, calibrate it, and write its card.

In: a `Model` or its name, and cases. Out: a `Check` or a `Calibration`, and the card of a model folder with it.

- `rules`: `judge`, `Verdict`
- `model_check`: `Check`, `check_model`
- `calibrate`: `Calibration`, `calibrate_model`
- `card_writing`: `write_check`, `write_calibrated`, `require_writable`
"""
