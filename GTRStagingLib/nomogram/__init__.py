"""Fit, read, draw and show nomograms: proportional-odds models as data.

Input: a table of patients, or a nomogram's file. Output: `Nomogram`, probabilities and points of a patient, a drawing,
a page.

- `terms`: `Term`, `entered_number`
- `nomogram`: `Nomogram`, `Reading`, `load`, `save`, `available`
- `effects`: `Effect`, `effects`, `ratio_text`
- `measures`: `Measure`, `measures`
- `fit`: `fit_nomogram`, `Wording`
- `radscores`: `RadScoreChain`, `Origin`, `origin_of`, `named_like_scores`
- `drawing`: `draw`, `figure`
- `page`: `fragment`, `page`
"""
