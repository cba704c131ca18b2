"""GTR Staging in a MRML scene: nodes to images and back, the layers of a result, its tables; and what the panel needs.

- `nodes`: voxels, place and segments, from MRML to the library and back;
- `state`: the list of everything that a saved scene must bring back;
- `scene_staging`: from that state to a staged scene, without Qt;
- `records`: the record of a scene's result, of older versions too, and what it says in words;
- `layers`, `tables`: what a result looks like in a scene;
- `samples`, `models`: phantoms for the Sample Data module; the models on offer;
- `nomograms`, `nomogram_view`: the nomogram of a scene; its section of the panel;
- `dependencies`: the packages in Slicer's own Python;
- `words`, `mrml`: texts that Slicer translates; short names of its classes, for annotations;
- `bare`, `mrb`, `headless`: scenes outside the application, scenes as files, runs without a window;
- `logic`, `result_view`, `batch_process`, `selftest`: the other parts of the module; with `nomogram_view` they alone
  need the application.
"""
