"""Make phantoms: synthetic CTs with a tumour of known stage, depth and mask.

In: a stage, a seed, a scanner profile. Out: a `Phantom` in memory, or files in DICOM (with a SEG) or NIfTI.

- `phantom`: `make_phantom`, `Phantom`
- `anatomy`: `Body`, `build_abdomen`
- `scanner`: `ScannerProfile`, `profile`, `PROFILES`, `HELD_OUT`
- `export`: `write_dicom`, `write_nifti`
- `phantom_cohort`: `make_phantom_cohort`
"""
