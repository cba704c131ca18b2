"""Weights of other ResNets in the formats of training scripts, compared with torchvision's own network."""

from functools import partial

import pytest
import safetensors.torch
import torch
import torchvision
from helpers.checkpoints import a_resnet
from torch import nn
from torchvision.models.resnet import BasicBlock, ResNet

from GTRStagingLib.errors import WeightsError
from GTRStagingLib.model import weights
from GTRStagingLib.model.pretrained import read_pretrained
from GTRStagingLib.support.files import sha256_of

CLASSES = 7


class Holder(nn.Module):
    """Network with a ResNet under a name, and a classifier of its own."""

    def __init__(self, name, part):
        super().__init__()
        setattr(self, name, part)
        self.classifier = nn.Linear(512, CLASSES)


def parts(network, leave=1):
    """torchvision's own modules as a Sequential, without the last ones."""
    return nn.Sequential(*list(network.children())[:-leave])


def momentum_contrast(network):
    """MoCo's checkpoint: the encoder, its running average of other values, and a queue."""
    model = nn.Module()
    model.encoder_q, model.encoder_k = network, a_resnet(classes=CLASSES, seed=99)
    model.register_buffer("queue", torch.randn(128, 16))
    return {"epoch": 200, "arch": "resnet18", "state_dict": nn.DataParallel(model).state_dict()}


def radiologynet(network):
    """Checkpoint as its training script saves it: 'model_state', and the network under 'model'."""
    model = nn.Module()
    model.model = network
    return {"time": "2024-01-01 12:00:00", "model_state": model.state_dict(), "model_name": "ResNet18", "epoch": 9}


FORMS = {
    "bare": lambda network: network.state_dict(),
    "module.": lambda network: nn.DataParallel(network).state_dict(),
    **{
        f"{name}.": lambda network, name=name: Holder(name, network).state_dict()
        for name in ("backbone", "encoder", "resnet", "base_model")
    },
    "module.backbone.": lambda network: nn.DataParallel(Holder("backbone", network)).state_dict(),
    "model_state_dict": lambda network: {"epoch": 1, "model_state_dict": network.state_dict()},
    "state_dict": lambda network: {"state_dict": Holder("net", network).state_dict()},
    "model": lambda network: {"model": network.state_dict()},
    "RadiologyNET": radiologynet,
    "RadImageNet": lambda network: Holder("backbone", parts(network)).state_dict(),
    "numbers": lambda network: parts(network, leave=2).state_dict(),
    "numbers with its classifier": lambda network: nn.Sequential(*network.children()).state_dict(),
    "MoCo": momentum_contrast,
}


def feature_map(found, depth, pixels, fusion="none"):
    """Return the feature map of a `GTRNet` with these tensors under a random head."""
    state = {**weights.seeded_network(depth, fusion, 3).state_dict(), **found.tensors}
    with torch.no_grad():
        return weights.network_with(state, depth, fusion).layers(pixels)["layer4"]


def torchvisions(network, pixels):
    with torch.no_grad():
        return parts(network.eval(), leave=2)(pixels)


@pytest.fixture(scope="module")
def pixels():
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("form", FORMS)
def test_the_feature_map_is_torchvisions_for_all_names(tmp_path, pixels, form):
    network = a_resnet(classes=CLASSES)
    path = tmp_path / "weights.pth"
    torch.save(FORMS[form](network), path)
    found = read_pretrained(path, 18)
    expected = torchvisions(network, pixels)
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(feature_map(found, 18, pixels), expected)
    assert not any(key.startswith("fc.") for key in found.tensors)
    assert found.sha256 == sha256_of(path)
    assert f"weights.pth, sha256 {found.sha256}" in found.provenance
    assert str(tmp_path) not in found.provenance
    assert found.doubt is None  # basic blocks stride in one place only


@pytest.mark.parametrize("form", ["bare", "module.backbone.", "RadImageNet"])
def test_safetensors_are_read_as_well(tmp_path, pixels, form):
    network = a_resnet(10, classes=CLASSES)
    safetensors.torch.save_file(FORMS[form](network), tmp_path / "weights.safetensors")
    found = read_pretrained(tmp_path / "weights.safetensors", 10)
    torch.testing.assert_close(feature_map(found, 10, pixels, "add"), torchvisions(network, pixels))


def test_the_provenance_describes_the_mapping_of_names(tmp_path):
    network = a_resnet(classes=CLASSES)
    torch.save(FORMS["bare"](network), tmp_path / "bare.pt")
    assert (
        "(names as torchvision's; 2 tensors of its classifier" in read_pretrained(tmp_path / "bare.pt", 18).provenance
    )
    torch.save(parts(network).state_dict(), tmp_path / "numbers.pt")
    provenance = read_pretrained(tmp_path / "numbers.pt", 18).provenance
    assert provenance.endswith("under a random head (names numbered as in a Sequential, 0 to 7)")
    torch.save(FORMS["RadImageNet"](network), tmp_path / "holder.pt")
    assert "names under 'backbone.' numbered" in read_pretrained(tmp_path / "holder.pt", 18).provenance


def test_bottlenecks_have_a_doubt_unless_pytorch_trained_them(tmp_path, pixels):
    network, path = a_resnet(50, classes=165), tmp_path / "resnet50.pt"
    torch.save(parts(network).state_dict(), path)
    found = read_pretrained(path, 50)
    torch.testing.assert_close(feature_map(found, 50, pixels), torchvisions(network, pixels))
    taken = "strides, which a file does not contain, assumed to be torchvision's"
    assert f"{taken}, although its batch norms counted no batch" in found.provenance
    assert "counted no batch" in found.doubt
    network.train()(pixels)  # as each step of a training does
    torch.save(network.state_dict(), path)
    trained = read_pretrained(path, 50)
    assert trained.doubt is None
    assert f"{taken})" in trained.provenance


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_weights_of_one_channel_give_the_same_features(tmp_path, pixels, dtype):
    network = a_resnet(classes=CLASSES)
    network.conv1 = nn.Conv2d(1, 64, 7, stride=2, padding=3, bias=False)
    network = network.to(dtype).float()
    torch.save({key: tensor.to(dtype) for key, tensor in network.state_dict().items()}, tmp_path / "grey.pth")
    found = read_pretrained(tmp_path / "grey.pth", 18)
    grey = pixels[:, :1]
    three = feature_map(found, 18, grey.expand(-1, 3, -1, -1))
    torch.testing.assert_close(three, torchvisions(network, grey), atol=1e-4, rtol=1e-4)
    assert "1 channel copied to 3" in found.provenance


def test_biases_that_are_all_zero_change_nothing(tmp_path, pixels):
    network = a_resnet(classes=CLASSES)
    state = {**network.state_dict(), "conv1.bias": torch.zeros(64), "layer2.0.downsample.0.bias": torch.zeros(128)}
    torch.save(state, tmp_path / "biased.pth")
    found = read_pretrained(tmp_path / "biased.pth", 18)
    torch.testing.assert_close(feature_map(found, 18, pixels), torchvisions(network, pixels))
    assert "2 convolution biases, all zero, left out" in found.provenance


# -- refused -------------------------------------------------------------------------------------------------------


def with_biases(network):
    """Give each convolution a bias, as Keras does, although a batch norm follows it."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.bias = nn.Parameter(torch.full((module.out_channels,), 0.1))
    return network


def changed(depth=18, **tensors):
    state = {**a_resnet(depth).state_dict(), **{key.replace("__", "."): value for key, value in tensors.items()}}
    return {key: tensor for key, tensor in state.items() if tensor is not None}


def group_norms():
    return ResNet(BasicBlock, [2, 2, 2, 2], norm_layer=lambda width: nn.GroupNorm(8, width)).state_dict()


def no_statistics():
    norm = partial(nn.BatchNorm2d, track_running_stats=False)
    return ResNet(BasicBlock, [2, 2, 2, 2], norm_layer=norm).state_dict()


def deep_stem():
    network = a_resnet()
    network.conv1 = nn.Sequential(nn.Conv2d(3, 32, 3), nn.BatchNorm2d(32), nn.ReLU(), nn.Conv2d(32, 64, 3))
    return network.state_dict()


def two_networks():
    return {f"{name}.{key}": t for name in ("student", "teacher") for key, t in a_resnet().state_dict().items()}


REFUSED = {
    "another depth": (lambda: a_resnet(50).state_dict(), r"is a ResNet-50; expected a ResNet-18. Use `depth=50`"),
    "a depth that is not trained here": (
        lambda: torchvision.models.resnet34().state_dict(),
        r"is a ResNet-34; expected a ResNet-18. .*depth that can be trained: 10, 18, 50, 152",
    ),
    "ResNet-101": (lambda: torchvision.models.resnet101().state_dict(), "is a ResNet-101; expected a ResNet-18"),
    "other blocks": (
        lambda: ResNet(BasicBlock, [2, 2, 3, 2]).state_dict(),
        r"another architecture, with blocks \[2, 2, 3, 2\]",
    ),
    "another architecture": (
        lambda: torchvision.models.squeezenet1_1().state_dict(),
        "contains no ResNet: 52 tensors, the first classifier.1.bias",
    ),
    "biases": (
        lambda: with_biases(a_resnet()).state_dict(),
        r"biased convolutions \(20, the first conv1.bias\).*Keras.*1x1.*3x3",
    ),
    "biases of bottlenecks by numbers": (
        lambda: parts(with_biases(a_resnet(50))).state_dict(),
        r"biased convolutions \(53, the first conv1.bias\)",
    ),
    "two networks": (two_networks, r"contains 2 ResNets, under 'student.', 'teacher.'; expected one"),
    "group norms": (group_norms, r"20 norms without running statistics \(the first bn1\)"),
    "no statistics": (no_statistics, r"20 norms without running statistics \(the first bn1\)"),
    "a wide one": (
        lambda: torchvision.models.wide_resnet50_2(num_classes=2).state_dict(),
        r"layer1.0.conv2.weight of shape \(128, 128, 3, 3\); expected \(64, 64, 3, 3\)",
    ),
    "ResNeXt": (
        lambda: torchvision.models.resnext50_32x4d(num_classes=2).state_dict(),
        r"layer1.0.conv2.weight of shape \(128, 4, 3, 3\); expected \(64, 64, 3, 3\)",
    ),
    "four channels": (
        lambda: changed(conv1__weight=torch.zeros(64, 4, 7, 7)),
        r"conv1.weight has shape \(64, 4, 7, 7\), expected \(64, 3, 7, 7\)",
    ),
    "a small stem": (
        lambda: changed(conv1__weight=torch.zeros(64, 3, 3, 3)),
        r"conv1.weight has shape \(64, 3, 3, 3\), expected \(64, 3, 7, 7\)",
    ),
    "a deep stem": (deep_stem, r"1 keys missing \(conv1.weight\), \d+ unknown \(conv1.0.bias"),
    "attention": (
        lambda: changed(layer1__0__se__fc__weight=torch.zeros(4, 64)),
        r"1 unknown \(layer1.0.se.fc.weight\)",
    ),
    "a key missing": (lambda: changed(layer4__1__conv2__weight=None), r"1 keys missing \(layer4.1.conv2.weight\)"),
    "not a number": (lambda: changed(bn1__weight=torch.full((64,), torch.nan)), "NaN or infinite values in bn1.weight"),
    "one channel, whole numbers": (
        lambda: changed(conv1__weight=torch.zeros(64, 1, 7, 7, dtype=torch.int32)),
        "conv1.weight as torch.int32",
    ),
    "sparse": (lambda: changed(conv1__weight=torch.zeros(64, 1, 7, 7).to_sparse()), "conv1.weight as .*sparse_coo"),
    "without values": (lambda: changed(conv1__bias=torch.zeros(64, device="meta")), "conv1.bias as .* on meta"),
    "a list": (lambda: [torch.zeros(3)], "contains a list without weights"),
    "code": (lambda: a_resnet(), "contains code"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_other_networks_are_refused_with_the_reason(tmp_path, what):
    make, message = REFUSED[what]
    torch.save(make(), tmp_path / "weights.pth")
    with pytest.raises(WeightsError, match=message) as met:
        read_pretrained(tmp_path / "weights.pth", 18)
    assert str(met.value).startswith("weights.pth")


def test_files_that_are_none(tmp_path):
    with pytest.raises(WeightsError, match="is not a file"):
        read_pretrained(tmp_path / "none.pth", 18)
    keras = tmp_path / "RadImageNet-ResNet50_notop.h5"
    keras.write_bytes(b"\x89HDF\r\n\x1a\n")
    with pytest.raises(WeightsError, match="a Keras file; expected a PyTorch file"):
        read_pretrained(keras, 50)
    whole = tmp_path / "whole.safetensors"
    safetensors.torch.save_file(a_resnet(10).state_dict(), whole)
    (tmp_path / "cut.safetensors").write_bytes(whole.read_bytes()[:-100])
    with pytest.raises(
        WeightsError, match=r"cut.safetensors .* cannot be read: .*Expected a complete safetensors file"
    ):
        read_pretrained(tmp_path / "cut.safetensors", 10)
    (tmp_path / "noise.pt").write_bytes(b"no weights")
    with pytest.raises(WeightsError, match="noise.pt"):
        read_pretrained(tmp_path / "noise.pt", 10)


def test_a_model_of_this_software_is_refused_as_a_weights_file(tmp_path):
    weights.save(weights.untrained(10, "none"), tmp_path / "m")
    with pytest.raises(WeightsError, match=r"Use `init=.*m`, which also takes over the model's recipe"):
        read_pretrained(tmp_path / "m" / "model.safetensors", 10)
