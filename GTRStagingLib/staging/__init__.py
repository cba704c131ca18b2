"""Stage one case: prepare the voting slices, vote, map the attention, compare it with the ROI.

In: a `Scan`, a `Backbone`, an optional `Roi` and `KeySlice`. Out: a `StagingResult`.

- `preprocess`: `prepare`, `PreparedSlices`, `body_mask`
- `voting`: `vote`, `Prediction`, `SlicePrediction`, `VOTE_RULE`
- `attention`: `Attention`
- `cam`: `attend`, `raw_maps`
- `agreement`: `agree`, `Agreement`, `Overlap`
- `options`: `StagingOptions`, `METHODS`
- `result`: `StagingResult`, `Provenance`, `versions`
- `pipeline`: `stage_case`
- `covering`: `covered`, `controls_of`
- `map_checks`: `measure`, `Measured`, `remains`
"""
