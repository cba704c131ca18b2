"""Read, split by patient, and audit cohort tables.

In: a table of cases, or splits given as separate tables. Out: `Cohort`, splits and folds, `Audit` with its findings.

- `cohort`: `Case`, `Cohort`, `read_cohort`, `write_cohort`, `split_cohort`, `folds`
- `rules`: `Finding`
- `partitions`: `read_partitions`, `read_covariates`
- `fit_side`: `FitSide`, `fit_side`
- `fingerprint`: `Fingerprint`, `fingerprints`, `same_slices`
- `audit`: `Audit`, `audit`, `audit_partitions`
"""
