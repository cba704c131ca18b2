"""Write a result as DICOM objects of the CT's study, and read them back.

In: a `StagingResult` of a CT that was read from DICOM. Out: files of DICOM objects, each in a series of its own.

- `evidence`: `Evidence`, `evidence_of`
- `identity`: `Identity`, `identity_of`, `equipment_of`, `is_result`
- `codes`: `concept`, `finish_codes`, and the coded concepts
- `study`: `plain`, `in_study`
- `parametric_map`: `make_map`
- `region`: `make_region`
- `picture`: `make_picture`
- `content_items`: `container`, `coded`, `text`, `number`, `uid`, `image`
- `report_content`: `ReportContent`, `content_of`
- `structured_report`: `make_report`
- `key_objects`: `make_key_objects`
- `write`: `write_dicom_results`
- `read_report`: `read_reports`
"""
