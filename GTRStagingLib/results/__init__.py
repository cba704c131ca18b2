"""Write one result: the JSON record, the overlay picture, the report, and the folder that contains them.

In: a `StagingResult`. Out: result.json, attention.nrrd, overlay.png, report.html. For a `Profile`: profile.csv,
profile.html, profile.json.

- `record`: `to_json`, `schema`
- `words`: `vote_in_words`, `stage_set_in_words`, `stability_in_words`, `map_in_words`,
  `region_in_words`, `baselines_in_words`
- `canvas`: `Canvas`, a page of pixels
- `overlay`: `render`, `png`
- `report`: `html`
- `outputs`: `write_outputs`
- `profile_plot`: `svg`
- `profile_outputs`: `write_profile`
"""
