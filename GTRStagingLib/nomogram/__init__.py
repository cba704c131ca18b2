"""Fit, read, draw and show nomograms: proportional-odds models as data.

In: a table of patients, or a nomogram's file. Out: `Nomogram`, probabilities and points of one patient, a drawing, a
page.

- `nomogram`: `Nomogram`, `Term`, `Reading`, `load`, `save`, `available`
- `fit`: `fit_nomogram`, `Wording`
- `drawing`: `draw`, `figure`
- `page`: `fragment`, `page`
"""
