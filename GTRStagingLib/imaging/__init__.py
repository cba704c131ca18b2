"""Read CTs and ROIs with their geometry, and choose the key slice.

In: a path, or a SimpleITK image. Out: `Scan`, `Roi`, `KeySlice`, each in the geometry of the input (LPS, mm). Images
are resampled only on request.

- `geometry`: `Grid`, `ImageOrGrid`, `axial_lps`, `axial_slices`, `same_grid`, `onto_grid`
- `scans`: `Scan`, `read_scan`, `remote_scan`, `scan_of`
- `volumes`: `read_volume`, `format_of`
- `rois`: `Roi`, `read_roi`, `read_stomach`
- `hounsfield`: `require_hounsfield`
- `segments`: `Segment`, `choose_segment`
- `dicom_seg`: `DrawnPlanes`, `read_seg`
- `rtstruct`: `Contours`, `read_contours`
- `keyslice`: `KeySlice`, `find`, `choose`, `by_index`, `by_position`, `by_key_object`, `by_area`
- `coverage`: `coverage`, `pooled`
- `dicom`: `DicomCT`, `read_ct`, `read_remote_ct`
- `dicom_remote`: `RemoteFile`
- `dicom_source`: `DicomSource`
- `dicom_headers`: `Header`, `DicomSeries`, `list_series`, `choose_series`, `remote_header`
- `dicom_acquisitions`: `Part`, `split`
- `dicom_pixels`: `decoded`, `pixel_format`, `compact`
- `dicom_references`: `References`, `choose_referred`, `of_seg`, `of_rtstruct`
- `key_objects`: `KeyObject`, `KeyObjects`, `read_key_objects`, `rejected_slices`
- `inputs`: `Inputs`, `read_inputs`
- `dicom_files`: `open_dataset`, `begins_as_dicom`
- `dicom_layout`: `HeaderReader`
- `stack`: `Plane`, `Stack`, `stack_planes`
- `stored`: `StoredVolume`, `Part`, `read_stored`, `require_grid`, `require_finite`
- `nifti`: `read_header`
- `nrrd`: `read_header`
- `metaimage`: `read_header`
- `png`: `read_grey`
"""
