"""Fit, read, draw and show nomograms: proportional-odds models as data.

Input: a table of patients, or a nomogram's file. Output: `Nomogram`, probabilities and points of a patient, a drawing,
a page.

- `nomogram`: `Nomogram`, `Term`, `Reading`, `load`, `save`, `available`
- `fit`: `fit_nomogram`, `Wording`
- `drawing`: `draw`, `figure`
- `page`: `fragment`, `page`
"""
