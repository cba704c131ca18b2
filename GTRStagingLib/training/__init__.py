"""Train a model on a cohort: audited, cached, fitted, calibrated, and described by the run itself.

In: a `Cohort` and a `Plan`. Out: a model folder, and the run's checkpoint and history beside it.

- `plan`: `Plan`, `Hardware`
- `slice_cache`: `cached`, `CachedCase`
- `dataset`: `SliceSet`, `training_loader`
- `augment`: `augmented`, `write_contact_sheet`
- `loop`: `fit`, `History`
- `train`: `train`
- `cross_validation`: `train_folds`
"""
