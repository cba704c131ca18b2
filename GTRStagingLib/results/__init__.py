"""Write one result: the JSON record, the overlay picture, the report, and the folder that holds them.

In: a `StagingResult`. Out: result.json, attention.nrrd, overlay.png, report.html.

- `record`: `to_json`, `schema`
- `overlay`: `render`, `png`
- `report`: `html`
- `outputs`: `write_outputs`
"""
