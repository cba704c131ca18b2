"""Load models: card, recipe, weights and network, and run the network by a backend.

In: a model's name or folder. Out: `ModelCard` (no torch), `Model`, and a `Backbone` that classifies slices on a
device by a backend. What stages by ONNX Runtime imports no torch: all but the modules marked with (torch).

- `card`: `ModelCard`
- `registry`: `available`, `locate`, `read_card`
- `several`: `joined`, `members_of`, `with_folds`
- `recipe`: `Recipe`, `find_recipe`
- `cells`: `CellGrid`, `half_pixel_centres`
- `head`: `Head`
- `logits`: `probabilities`
- `network` (torch): `GTRNet`, `GatedHead`
- `reference`: `Reference`, `Cloud`
- `proposal`: `ProposalHead`
- `arrays`: `read_beside`, `read_head`, `read_mean_mask`
- `weights` (torch): `Model`, `load`, `save`
- `randomised` (torch): `randomised`, `parts_of`
- `checkpoints` (torch): `import_checkpoint`, `import_imagenet`
- `pretrained` (torch): `Pretrained`, `read_pretrained`
- `device`: `choose`
- `passes`: `Backbone`, `Pass`, `PassRequest`
- `backbone`: `load_model`, `load_models`, `ready`, `verify`
- `torch_backbone` (torch): `TorchBackbone`
- `onnx_backbone`: `OnnxBackbone`, `from_folder`
- `onnx_session`: `opened`, `stored_session`
- `onnx_files` (torch): `make_graphs`
- `onnx_graph` (torch): `verified_session`
- `gradient_graph` (torch): `NetworkWithMaps`
"""
