"""Train a model on a cohort: audit, prepare, fit and calibrate, and write the model's card from the run.

In: a `Cohort` and a `Plan`. Out: a model folder, and a run folder with the checkpoint and the history.

- `plan`: `Plan`, `Hardware`
- `slice_cache`: `cache_slices`, `CachedCase`
- `dataset`: `SliceSet`, `training_loader`
- `augment`: `augmented`, `augmented_with`, `write_contact_sheet`
- `gating`: `mask_loss`, `dice`
- `loop`: `fit`, `History`
- `train`: `train`
- `cross_validation`: `train_folds`
"""
