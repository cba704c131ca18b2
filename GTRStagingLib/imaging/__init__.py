"""Read CTs and ROIs, and know where every voxel lies.

In: a path, or a SimpleITK image. Out: `Scan`, `Roi`, `KeySlice`, each in the input's own geometry (LPS, mm). Nothing
is resampled here unless the caller asks for it.

- `geometry`: `Grid`, `axial_lps`, `axial_slices`, `onto_grid`, `same_grid`
- `scans`: `Scan`, `read_scan`, `scan_of`
- `rois`: `Roi`, `read_roi`
- `keyslice`: `KeySlice`, `choose`, `by_index`, `by_position`, `by_area`
- `dicom`: `read_dicom`
- `dicom_headers`: `list_series`
- `dicom_layout`: `HeaderReader`
- `stack`: `ordered`
- `nifti`: `require_one_place`
"""
