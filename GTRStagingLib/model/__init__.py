"""Load models: card, recipe, weights and network, and run the network by a backend.

In: a model's name or folder. Out: `ModelCard` (no torch), `Model`, and a `Backbone` that classifies slices on a
device by a backend. What stages by ONNX Runtime imports no torch; `network`, `weights`, `randomised`,
`checkpoints`, `pretrained`, `torch_backbone`, `onnx_files`, `onnx_graph` and `gradient_graph` import it.

- `card`: `ModelCard`
- `registry`: `available`, `locate`, `read_card`
- `several`: `joined`, `members_of`, `with_folds`
- `recipe`: `Recipe`, `find_recipe`
- `cells`: `CellGrid`, `half_pixel_centres`
- `head`: `Head`
- `logits`: `probabilities`
- `network`: `GTRNet`, `GatedHead`
- `reference`: `Reference`, `Cloud`
- `proposal`: `ProposalHead`
- `arrays`: `read_beside`, `read_head`, `read_mean_mask`
- `weights`: `Model`, `load`, `save`
- `randomised`: `randomised`, `parts_of`
- `checkpoints`: `import_checkpoint`, `import_imagenet`
- `pretrained`: `Pretrained`, `read_pretrained`
- `device`: `choose`
- `passes`: `Backbone`, `Pass`, `PassRequest`
- `backbone`: `load_model`, `load_models`, `ready`, `verify`
- `torch_backbone`: `TorchBackbone`
- `onnx_backbone`: `OnnxBackbone`, `from_folder`
- `onnx_session`: `opened`, `stored_session`
- `onnx_files`: `make_graphs`
- `onnx_graph`: `verified_session`
- `gradient_graph`: `NetworkWithMaps`
"""
