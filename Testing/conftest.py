"""Fixtures of all tests; numeric libraries use one thread, since pytest-xdist uses all cores."""

import gc
import os
import shutil
import sys
import tempfile
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

# The wheel has no package of this module, which only Slicer can use; one that is installed comes first.
sys.path.append(str(Path(__file__).parents[1] / "GTRReading"))

DATA = Path(os.environ.get("GTR_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))


POOLS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def pytest_configure(config):
    os.environ.setdefault("MPLBACKEND", "Agg")
    # Set before the workers start, so that their child processes inherit it: threads that wait on a busy machine spin.
    if getattr(config.option, "numprocesses", None) or "PYTEST_XDIST_WORKER" in os.environ:
        for pool in POOLS:
            os.environ.setdefault(pool, "1")
    # The tests use their own cache, one for all processes of a run, not the user's.
    if "GTRSTAGING_CACHE" not in os.environ:
        os.environ["GTRSTAGING_CACHE"] = tempfile.mkdtemp(prefix="gtrstaging-tests-")
        config.add_cleanup(partial(shutil.rmtree, os.environ["GTRSTAGING_CACHE"], ignore_errors=True))
    if "PYTEST_XDIST_WORKER" in os.environ:
        import torch

        torch.set_num_threads(1)


def pytest_collection_finish(session):
    """Exclude the imported objects, about a million, from garbage collection."""
    gc.collect()
    gc.freeze()


def shared(name="."):
    """Return a file or folder of the public test data; without it the test is skipped, and fails under CI."""
    path = DATA / name
    if not path.exists():
        message = f"test data not found at {path}; set GTR_TEST_DATA"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return path


@pytest.fixture(scope="session")
def shared_data():
    """Real public CTs and the release's files."""
    return shared()


def ct_like(shape=(9, 40, 50), spacing=(0.9, 1.1, 4.0), direction=None, origin=(-20.0, 30.0, -400.0), seed=0):
    """Return HU of shape (z, y, x): a soft-tissue ellipse in air, with different values in all voxels."""
    rng = np.random.default_rng(seed)
    z, y, x = np.indices(shape)
    inside = ((y - shape[1] / 2) / (0.42 * shape[1])) ** 2 + ((x - shape[2] / 2) / (0.42 * shape[2])) ** 2 < 1
    hu = np.where(inside, 40.0 + 3 * z, -1000.0) + rng.normal(0, 20, shape)
    image = sitk.GetImageFromArray(hu.astype(np.float32))
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    if direction is not None:
        image.SetDirection(np.asarray(direction, dtype=float).ravel().tolist())
    return image


@pytest.fixture
def a_ct():
    return ct_like()


def on_grid_of(array, image):
    """Return a (z, y, x) array as an image of the same geometry."""
    made = sitk.GetImageFromArray(array)
    made.CopyInformation(image)
    return made


def rotation(axis, degrees):
    """Return the (3, 3) rotation about an axis (Rodrigues)."""
    axis = np.asarray(axis, dtype=float) / np.linalg.norm(axis)
    k = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    angle = np.radians(degrees)
    return np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * k @ k


@pytest.fixture(scope="session")
def a_model():
    """A small network with random weights, ten times as fast as the large one with the same code."""
    from GTRStagingLib.model import weights

    return weights.untrained(depth=10)


@pytest.fixture
def homeless(monkeypatch):
    """A user without a home directory, as in a container with an arbitrary user id."""
    pwd = pytest.importorskip("pwd")

    def no_user(uid):
        raise KeyError(uid)

    for name in ("HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "LOCALAPPDATA", "GTRSTAGING_MODELS", "GTRSTAGING_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", no_user)


@pytest.fixture(scope="session")
def a_phantom():
    from GTRStagingLib.phantoms.phantom import make_phantom
    from GTRStagingLib.stages import TStage

    return make_phantom(TStage.T3, seed=3)


@pytest.fixture(scope="session")
def real_batch(tmp_path_factory):
    """Return the output folder of a batch of three small phantoms, staged by the demonstration model."""
    from helpers.streams import staged

    return staged(tmp_path_factory.mktemp("real"))


@pytest.fixture(scope="module")
def one_thread():
    """One thread: the small networks of the tests are slower on two threads, above all on a busy machine."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def planted_network(stage=2, depth=18):
    """Return a GTRNet that detects only bright spots and predicts `stage` for them.

    Each stride halves the grid with a [1 2 1] kernel, which keeps the centre of mass exactly: the map and the spot have
    the same centroid at any position between cells.
    """
    import torch

    from GTRStagingLib.model.network import GTRNet

    network = GTRNet(depth, "none").eval().requires_grad_(False)
    halving = torch.outer(torch.tensor([1.0, 2, 1]), torch.tensor([1.0, 2, 1])) / 16
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.weight.zero_()
    network.conv1.weight[0, :, 2:5, 2:5] = halving / 3
    network.bn1.bias.fill_(-1.0)  # values below one standard deviation above the mean give 0
    for layer in (network.layer1, network.layer2, network.layer3, network.layer4):
        for block in layer:
            if block.downsample is None:
                continue  # the zeroed branch adds nothing: identity
            convolutions = [one for one in block.children() if isinstance(one, torch.nn.Conv2d)]
            for convolution in convolutions:
                if convolution.stride[0] == 2:
                    convolution.weight[0, 0] = halving * 4
                else:
                    middle = convolution.kernel_size[0] // 2
                    convolution.weight[0, 0, middle, middle] = 1.0
    network.fc.weight.zero_()
    network.fc.bias.zero_()
    network.fc.weight[stage, 0] = 1.0
    return network


def planted_model(stage=2, depth=18):
    """Return the planted network as a model with recipe `gtr`."""
    from GTRStagingLib.model import weights

    return weights.Model(planted_card(depth), planted_network(stage, depth))


@cache
def planted_card(depth=18):
    """Return the card of the planted model, with the hash of random weights."""
    from dataclasses import replace

    from GTRStagingLib.model import weights

    return replace(weights.untrained(depth=depth, fusion="none").card, name="planted")


def a_spot(ct, point, radius_mm=18.0):
    """Return air on the CT's grid with a bright ball around a physical point."""
    axes = [np.arange(n) for n in ct.GetSize()]
    index = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    direction = np.reshape(ct.GetDirection(), (3, 3))
    places = (index * ct.GetSpacing()) @ direction.T + ct.GetOrigin()
    distance = np.linalg.norm(places - point, axis=1).reshape(ct.GetSize()).T
    spot = sitk.GetImageFromArray((-1000 + 1225 * np.exp(-0.5 * (distance / radius_mm) ** 2)).astype(np.float32))
    spot.CopyInformation(ct)
    return spot


@pytest.fixture
def bare():
    """An empty MRML scene with its logics, by slicer-core."""
    from GTRStagingSlicer.bare import bare_scene

    made = bare_scene()
    yield made
    made.close()


@pytest.fixture
def scene(bare):
    """The scene of `bare`."""
    return bare.scene


@pytest.fixture
def desk(bare):
    """Slicer's desktop parts around that scene, by the stand-in in Testing/Slicer."""
    import standin

    made = standin.install(bare)
    yield made
    made.uninstall()


@pytest.fixture(scope="session")
def a_small_phantom():
    from GTRStagingLib.phantoms.phantom import make_phantom
    from GTRStagingLib.stages import TStage

    return make_phantom(TStage.T3, seed=3, size=128)


@pytest.fixture
def panel(desk):
    """The module's panel, opened on an empty scene."""
    return desk.open_module()


@pytest.fixture
def reading_panel(desk):
    """The panel of the module GTR Reading, opened on an empty scene."""
    return desk.open_module("GTRReading")


@pytest.fixture
def loaded(panel, scene, a_small_phantom):
    """The panel with a phantom and its tumour chosen, as by a user."""
    from GTRStagingSlicer import samples
    from helpers.lists import choose_node

    ct = samples.add_ct(scene, a_small_phantom.ct, "patient")
    tumour = samples.add_tumour(scene, ct, a_small_phantom.tumour, "drawn")
    choose_node(panel.ui.inputSelector, ct)
    choose_node(panel.ui.tumourSelector, tumour)
    return panel


@pytest.fixture
def staged(loaded):
    """The same, staged at the tumour's largest section."""
    loaded.ui.largestSectionButton.click()
    loaded.ui.applyButton.click()
    return loaded


@pytest.fixture(scope="module")
def chromium():
    """The system's browser, without a screen; of one module, since Playwright keeps its event loop while it runs."""
    from helpers import browser

    with browser.running() as started:
        yield started


@pytest.fixture(scope="session")
def a_study(tmp_path_factory):
    """A phantom's study as DICOM files: the CT, and a SEG of the tumour."""
    from helpers import orthanc

    return orthanc.a_study(tmp_path_factory.mktemp("study") / "phantom")


@pytest.fixture(scope="session")
def filled_archive(a_study, tmp_path_factory):
    """An Orthanc with the phantom's study; tests leave it as it is."""
    from helpers import orthanc

    with orthanc.running(tmp_path_factory.mktemp("orthanc")) as made:
        made.add(*a_study.slices, a_study.seg)
        yield made


@pytest.fixture
def empty_archive(tmp_path):
    """An Orthanc of one test."""
    from helpers import orthanc

    with orthanc.running(tmp_path / "orthanc") as made:
        yield made


@pytest.fixture
def no_credentials(monkeypatch, tmp_path):
    """No credentials for archives, of whoever runs the tests."""
    for name in ("USER", "PASSWORD", "TOKEN"):
        monkeypatch.delenv(f"GTRSTAGING_DICOMWEB_{name}", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))


@pytest.fixture(scope="session")
def small_study(tmp_path_factory):
    """A reader study of eight cases, two readers, crossed, 28 days of wash-out; a test that changes it takes a copy."""
    from helpers.reading_studies import make_study

    return make_study(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="session")
def full_study(tmp_path_factory):
    """A study with training, repeats, halves of 12 cases, counter-balanced; a test that changes it takes a copy."""
    from helpers.reading_studies import make_study

    from GTRStagingLib.reading.designs import Design

    design = Design(kind="halves", counterbalanced=True, repeats=1, training=4, seed=11)
    return make_study(tmp_path_factory.mktemp("full"), cases=12, design=design, may_revise=True, washout_days=30)
