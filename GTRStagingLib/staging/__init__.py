"""Stage one case: prepare the voting slices, vote, map the attention, compare it with the ROI.

In: a `Scan`, a `Backbone`, an optional `Roi` and `KeySlice`. Out: a `StagingResult`.

- `preprocess`: `prepare`, `PreparedSlices`, `body_mask`
- `voting`: `vote`, `Prediction`, `SlicePrediction`, `VOTE_RULE`
- `attention`: `attend`, `Attention`, `METHODS`
- `agreement`: `agree`, `Agreement`, `Overlap`
- `pipeline`: `stage_case`, `StagingResult`, `Provenance`
"""
