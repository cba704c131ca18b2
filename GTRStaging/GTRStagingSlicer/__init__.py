"""GTR Staging in a MRML scene: convert nodes to images and back, show results as layers and tables, fill the panel.

- `nodes`: voxels, geometry and segments, from MRML to the library and back;
- `state`: the fields that are saved with a scene;
- `scene_staging`: stage the case of a state and show the result in the scene, without Qt;
- `case_results`: one result for each CT of a scene, in a folder of its own;
- `case_list`, `case_view`: the list of results: its rows and buttons, without Qt; its part of the panel;
- `candidates`: nodes that may be the CT and the tumour, and whether they belong together;
- `content`: whether voxels, segments or transforms have changed since a result;
- `presenter`: what the panel shows and enables, decided from facts, without Qt;
- `result_content`: what the panel shows of a result, without Qt;
- `scene_watch`: observers of the case's nodes and of the views;
- `input_view`, `report_view`: the panel's sections of the input and of the report;
- `reporting`: errors as message boxes, and a waiting cursor;
- `records`: read the record of a scene's result, also of older versions, and describe it in words;
- `layers`, `tables`, `charts`: show a result in a scene;
- `model_import`, `model_view`: take a model from a folder, a zip file or a checkpoint, without Qt; its buttons;
- `samples`, `models`: phantoms for the Sample Data module; the models that the panel offers;
- `nomograms`, `nomogram_content`, `nomogram_view`: the nomogram of a scene; what its section of the panel shows,
  without Qt; the section;
- `profiles`, `profile_view`: the staging along the scan, in a scene; its part of the panel;
- `dependencies`, `packages_row`: find, install and remove packages in Slicer's Python; the panel's row;
- `dicom_export`, `dicom_view`: write a result into Slicer's DICOM database, without Qt; its buttons in the panel;
- `terminology`: codes of the segments that the module makes;
- `help_texts`: help of the module, with links;
- `words`, `mrml`: translated texts; short names of Slicer's classes, for annotations;
- `background`, `time_left`, `loading_view`: work in a thread and how long it takes, without Qt; both in the panel;
- `batch_cases`, `batch_cases_view`: the cases of a batch that has ended, without Qt; in the panel;
- `organs`, `segment_view`: the stomach that is recognised and a new segment of the tumour, without Qt; in the panel;
- `bare`, `mrb`, `headless`: scenes outside the application, scene files, runs without a window;
- `key_slice_content`, `proposal_view`: the key slice and the model's proposal in words, without Qt; its pictures;
- `layouts`, `layout_view`: the module's own layouts; their buttons in the panel;
- `logic`, `result_view`, `batch_process`, `selftest`: the other parts of the module. Only these, `packages_row`,
  `reporting`, and the views of batch cases, cases, DICOM, input, layouts, loading, models, nomogram,
  profile, proposal, report and segments need the application.
"""
