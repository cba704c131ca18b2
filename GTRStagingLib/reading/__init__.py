"""Run reader studies: who reads which case when and with what, and what was answered.

In: a cohort, readers, and the predictions of a batch. Out: a study folder with a folder for each reader, the answers in
a log that is only appended to, and tables of all answers. Neither Qt nor 3D Slicer: the front-ends use `session`, which
decides what may be shown; `server` lets a browser use it.

- `designs`: `Design`, `Planned`, `Schedule`, `schedule`, `case_codes`
- `expected_widths`: `Assumptions`, `ExpectedWidths`, `expected_widths`
- `readers_table`: `ReaderRow`, `read_readers`
- `advice`: `Advice`, `PARTS`, `read_advice`
- `plan`: `Plan`, `PlannedCase`, `PlannedItem`, `Rules`, `read_plan`, `reader_folders`
- `seals`: `seal`, `require_sealed`, `Manifest`, `read_manifest`
- `case_images`: `read_case`, `write_case_image`, `write_map`
- `folders`: `StudyOptions`, `write_study`
- `log`: `Entry`, `Log`, `read_log`
- `answers`: `Answer`, `Mark`, `Seen`
- `course`: `Course`, `Reading`, `course_of`
- `session`: `open_session`, `Session`, `Item`, `Progress`
- `case_voxels`: `CaseVoxels`, `case_voxels`, `position_mm`
- `viewer_images`: `ViewerImages`, `viewer_images`
- `browser_session`: `BrowserSession`, `StalePageError`
- `server`: `serving`
- `organiser`: `Study`, `read_study`
- `readings`: `COLUMNS`, `reading_rows`
- `deviations`: `Deviation`, `course_and_deviations`
- `collect`: `Collected`, `collect`, `write_collected`
"""
