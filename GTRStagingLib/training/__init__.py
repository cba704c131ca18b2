"""Train a model on a cohort: audited, cached, fitted, calibrated, and described by the run itself.

In: a `Cohort` and a `Plan`. Out: a model folder, and the run's checkpoint and history beside it.

- `plan`: `Plan`, `Hardware`
- `slice_cache`: `cache_slices`, `CachedCase`
- `dataset`: `SliceSet`, `training_loader`
- `augment`: `augmented`, `augmented_with`, `write_contact_sheet`
- `gating`: `mask_loss`, `dice`
- `loop`: `fit`, `History`
- `train`: `train`
- `cross_validation`: `train_folds`
"""
