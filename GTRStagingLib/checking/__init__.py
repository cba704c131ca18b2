"""Check on a cohort whether a model's attention maps are reliable, and write the verdict into the model's card.

In: a `Model` or its name, and cases. Out: a `Check`, and the card of the model's folder with the check.

- `rules`: `judge`, `Verdict`
- `model_check`: `Check`, `check_model`
- `card_writing`: `write_check`, `require_writable`
"""
