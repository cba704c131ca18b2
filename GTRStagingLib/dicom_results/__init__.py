"""Write a result as DICOM objects of the CT's study, and read them back.

In: a `StagingResult` of a CT that was read from DICOM. Out: files of DICOM objects, each in a series of its own.

- `evidence`: `Evidence`, `evidence_of`
- `identity`: `Identity`, `identity_of`, `equipment_of`
- `image_codes`: `coded`, and the codes
- `study`: `plain`, `in_study`
- `parametric_map`: `make_map`
- `region`: `make_region`
- `picture`: `make_picture`
- `write`: `write_dicom_results`
"""
