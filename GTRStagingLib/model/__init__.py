"""Load models: card, recipe, weights and network, and run the network by a backend.

In: a model's name or folder. Out: `ModelCard` (no torch), `Model`, and a `Backbone` that classifies slices on a
device by a backend. `card`, `registry`, `several`, `recipe`, `reference` and `proposal` import no torch.

- `card`: `ModelCard`
- `registry`: `available`, `locate`, `read_card`
- `several`: `joined`, `members_of`, `with_folds`
- `recipe`: `Recipe`, `find_recipe`
- `cells`: `CellGrid`, `half_pixel_centres`
- `network`: `GTRNet`, `GatedHead`, `Head`
- `reference`: `Reference`, `Cloud`
- `proposal`: `ProposalHead`
- `weights`: `Model`, `load`, `verify`, `save`
- `randomised`: `randomised`, `parts_of`
- `checkpoints`: `import_checkpoint`, `import_imagenet`
- `pretrained`: `Pretrained`, `read_pretrained`
- `device`: `choose`
- `backbone`: `Backbone`, `Pass`, `PassRequest`, `load_model`, `load_models`, `ready`
- `gradient_graph`: `NetworkWithMaps`
- `onnx_graph`: `verified_session`
"""
