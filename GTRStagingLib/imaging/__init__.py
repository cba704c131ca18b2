"""Read CTs and ROIs, and know where every voxel lies.

In: a path, or a SimpleITK image. Out: `Scan`, `Roi`, `KeySlice`, each in the input's own geometry (LPS, mm). Nothing
is resampled here unless the caller asks for it.

- `geometry`: `Grid`, `ImageOrGrid`, `axial_lps`, `axial_slices`, `same_grid`, `onto_grid`
- `scans`: `Scan`, `read_scan`, `scan_of`
- `rois`: `Roi`, `read_roi`
- `keyslice`: `KeySlice`, `choose`, `by_index`, `by_position`, `by_area`
- `coverage`: `coverage`, `pooled`
- `dicom`: `DicomCT`, `read_ct`
- `dicom_headers`: `Header`, `DicomSeries`, `list_series`, `choose_series`
- `dicom_layout`: `HeaderReader`
- `stack`: `Plane`, `Stack`, `stacked`
- `nifti`: `require_one_place`
"""
