"""Fit and apply a Rad-score: a LASSO of the stage on the network's penultimate features.

Input: the features of many cases and the table of their stages. Output: `RadScore`, out-of-fold scores, figures.

- `radscore`: `RadScore`, `read`, `save`, `of_case`
- `inputs`: `CaseFeatures`, `from_results`, `from_table`, `read_rows`
- `fit`: `fit`, `fit_cohort`, `CohortFit`
- `figures`: `write_figures`
"""
