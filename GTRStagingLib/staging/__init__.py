"""Stage one case: prepare the voting slices, vote, compute the attention maps, compare them with the ROI.

In: a `Scan`, one or several `Backbone`s, an optional `Roi` and `KeySlice`. Out: a `StagingResult`.

- `preprocess`: `prepare`, `PreparedSlices`, `body_mask`
- `voting`: `vote`, `Prediction`, `SlicePrediction`, `VOTE_RULE`
- `stability`: `stability`, `stability_of`, `Stability`
- `stage_set`: `stage_set`, `StageSet`
- `familiarity`: `Familiarity`, `Measures`, `compare`, `measure`, `judge`
- `proposal`: `Proposal`, `propose`
- `attention`: `Attention`
- `looks`: `View`, `VIEWS`, `Looks`, `spread`, `mean_map`
- `cam`: `compute_attention`, `raw_maps`
- `agreement`: `compute_agreement`, `Agreement`, `Overlap`
- `options`: `StagingOptions`, `METHODS`
- `inputs`: `require_case`
- `result`: `StagingResult`, `Provenance`, `versions`
- `pipeline`: `stage_case`
- `profile`: `Profile`, `ProfileSlice`, `slices_between`, `slices_near`
- `scanning`: `profile_scan`
- `covering`: `fill_region`, `find_controls`
- `map_checks`: `measure`, `Measured`, `compare_maps`
"""
