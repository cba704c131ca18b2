"""GTR Reading in 3D Slicer: let a reader of a study read, in a scene and a panel.

`GTRStagingLib.reading.session` decides what may be shown and when; nothing here does.

- `answer_form`: what the reader has chosen so far, without Qt and MRML;
- `case_scene`: the nodes of the case on the screen: CT, map, key slice, mark; what was seen of it;
- `sitting`: a session, its form and its case in the scene, without Qt;
- `presenter`: what the panel shows and enables, decided from facts, without Qt;
- `keys`: the panel's keys, without Qt; their shortcuts;
- `form_view`, `earlier_view`: the widgets of the answer, and of earlier answers;
- `selftest`: the self-test, which needs the application.
"""
