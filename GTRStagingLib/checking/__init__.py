"""Check whether a model's attention maps can be believed, on a cohort, and write the verdict into its card.

In: a `Model` or its name, and cases. Out: a `Check`, and the card of the model's folder with it.

- `rules`: `judge`, `Verdict`
- `model_check`: `Check`, `check_model`
- `card_writing`: `write_check`, `require_writable`
"""
