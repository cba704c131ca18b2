import numpy as np
import pytest
import torch
import torchvision
from helpers.passes import passed
from torch import nn

from GTRStagingLib.errors import WeightsError
from GTRStagingLib.model import weights
from GTRStagingLib.model.cells import CellGrid, half_pixel_centres
from GTRStagingLib.model.network import (
    BLOCKS,
    GTRNet,
    receptive_centres,
)

PIXELS = np.random.default_rng(0).normal(size=(3, 3, 224, 224)).astype(np.float32)


def plain_twin(network):
    """torchvision's own ResNet with the same weights."""
    block, layers = BLOCKS[network.depth]  # torchvision names no ResNet-10
    plain = torchvision.models.ResNet(block, layers, num_classes=4)
    own = {key: value for key, value in network.state_dict().items() if not key.startswith("detail.")}
    plain.load_state_dict(own, strict=True)
    return plain.eval()


@pytest.mark.parametrize("depth", [10, 18, *(pytest.param(one, marks=pytest.mark.slow) for one in (50, 152))])
@pytest.mark.parametrize("fusion", ["none", "add", "concat"])
def test_untouched_fusion_is_the_plain_resnet(depth, fusion):
    network = weights.untrained(depth, fusion).network
    with torch.no_grad():
        expected = plain_twin(network)(torch.from_numpy(PIXELS)).numpy()
    found = passed(network, PIXELS)
    assert np.abs(expected).max() > 1e-2
    np.testing.assert_allclose(found.logits, expected, atol=1e-5)
    assert found.features.shape == (3, network.features)
    assert tuple(found.feature_map.shape) == (3, network.features, 7, 7)


@pytest.mark.parametrize("fusion", ["add", "concat"])
def test_a_touched_fusion_is_not(fusion):
    network = weights.untrained(18, fusion).network
    with torch.no_grad():
        if fusion == "add":
            network.detail[1].weight.fill_(1.0)
        else:
            network.detail[0].weight[:, 64:] = 0.1
        expected = plain_twin(network)(torch.from_numpy(PIXELS)).numpy()
    assert np.abs(passed(network, PIXELS).logits - expected).max() > 1e-3


@pytest.mark.parametrize(("rows", "columns"), [(56, 56), (56, 75), (40, 32)])
def test_the_detail_lies_at_its_true_place(rows, columns):
    """A spot at full resolution must leave the detail stream in the same cell as in the context."""
    network = GTRNet(18, "add").eval()
    with torch.no_grad():
        network.conv1.weight.zero_()
        network.conv1.weight[0, 0, 3, 3] = 1.0
        network.detail[0].weight.zero_()
        network.detail[0].weight[0, 0, 1, 1] = 1.0
        network.detail[1].weight.fill_(1.0)
        row, column = rows // 2 - 5, columns // 2 + 6  # within a quarter of the sides from the middle
        x = torch.zeros(1, 3, 4 * rows, 4 * columns)
        x[0, 0, 4 * row, 4 * column] = 1.0
        both = network.stem(x)[0, 0]
        network.fusion = "none"
        context = network.stem(x)[0, 0]
    assert context[row, column] > 0.9
    detail = both - context
    assert detail[row, column] > 0.9
    assert torch.count_nonzero(detail.abs() > 1e-6) == 1


def test_the_detail_is_the_central_quarter_at_twice_the_resolution():
    seen = {}
    network = GTRNet(18, "add").eval()
    network.detail.register_forward_hook(lambda module, args, out: seen.update(crop=args[0].shape, out=out.shape))
    with torch.no_grad():
        network(torch.zeros(1, 3, 224, 224))
    assert seen == {"crop": (1, 64, 56, 56), "out": (1, 64, 28, 28)}


@pytest.mark.parametrize("fusion", ["none", "add", "concat"])
def test_pictures_that_are_not_square_pass(fusion):
    network = weights.untrained(18, fusion).network
    assert passed(network, np.zeros((1, 3, 224, 298), dtype=np.float32)).logits.shape == (1, 4)


@pytest.mark.parametrize("depth", [10, 18, 50, 152])
def test_cells_are_centred_on_multiples_of_32(depth):
    with torch.device("meta"):
        assert receptive_centres(GTRNet(depth)) == CellGrid(step=32, first=0)


def test_other_paddings_move_the_cells():
    network = GTRNet(18)
    network.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=0)
    assert receptive_centres(network) == CellGrid(step=32, first=3)
    network.layer1[0].conv1 = nn.Conv2d(64, 64, 3, padding=2, dilation=2)  # dilated, but centred
    assert receptive_centres(network) == CellGrid(step=32, first=3)


def test_half_a_pixel_is_what_upsampling_assumes():
    cells = half_pixel_centres(7, 224)
    assert cells == CellGrid(step=32, first=15.5)
    ramp = torch.arange(7.0)[None, None, None].expand(1, 1, 7, 7)
    stretched = nn.functional.interpolate(ramp, (224, 224), mode="bilinear", align_corners=False)[0, 0, 0]
    places = np.arange(16, 208)
    np.testing.assert_allclose(stretched[places], (places - cells.first) / cells.step, atol=1e-4)


def test_the_gradient_of_a_cell_is_centred_where_the_formula_says():
    """In input space, with positive weights so that nothing cancels, on an input larger than the whole field."""
    network = GTRNet(18, "none").eval().requires_grad_(False)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.fill_(1.0 / module.weight[0].numel())
    generator = torch.Generator().manual_seed(0)
    x = torch.rand((1, 3, 768, 768), generator=generator).add_(1.0).requires_grad_()
    cell = (11, 13)
    network.layers(x)["layer4"][0, :, cell[0], cell[1]].sum().backward()
    heat = x.grad[0].abs().sum(0).double()
    axis = torch.arange(768, dtype=torch.float64)
    centroid = (float((heat.sum(1) * axis).sum() / heat.sum()), float((heat.sum(0) * axis).sum() / heat.sum()))
    cells = receptive_centres(network)
    expected = [cells.first + cells.step * k for k in cell]
    np.testing.assert_allclose(centroid, expected, atol=2.0)  # 15.5 would be the usual mistake


@pytest.mark.parametrize("arguments", [(34, "add"), (152, "mean")])
def test_unknown_architectures_are_refused(arguments):
    with pytest.raises(WeightsError, match="18, 50, 152"):
        GTRNet(*arguments)
