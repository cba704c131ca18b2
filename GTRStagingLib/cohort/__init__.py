"""Describe many cases: the cohort table, its splits by patient, and the audit that searches it for leaks.

In: a table of cases, or the partitions of others. Out: `Cohort`, splits and folds, `Audit` with its findings.

- `cohort`: `Case`, `Cohort`, `read_cohort`, `write_cohort`, `split_cohort`, `folds`
- `rules`: `Finding`
- `partitions`: `read_partitions`, `read_covariates`
- `fingerprint`: `Fingerprint`, `fingerprints`, `same_slices`
- `audit`: `Audit`, `audit`, `audit_partitions`
"""
