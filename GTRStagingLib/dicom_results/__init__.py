"""Write a result as DICOM objects of the CT's study, and read them back.

In: a `StagingResult` of a CT that was read from DICOM. Out: files of DICOM objects, each in a series of its own.

- `evidence`: `Evidence`, `evidence_of`
- `identity`: `Identity`, `identity_of`
- `write`: `write_dicom_results`
"""
