"""The command line as a user meets it: exit codes, messages, files."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
import torch
from conftest import ct_like
from helpers.checkpoints import a_resnet, as_the_release_writes_it

from GTRStagingLib.cli import main as cli
from GTRStagingLib.cli import train
from GTRStagingLib.imaging import geometry
from GTRStagingLib.model import recipe, registry, weights
from GTRStagingLib.stages import RESEARCH_USE_ONLY

FILES = ["attention.nrrd", "overlay.png", "report.html", "result.json"]


@pytest.fixture(scope="module")
def small(tmp_path_factory, a_model):
    folder = tmp_path_factory.mktemp("models") / "small"
    weights.save(a_model, folder)
    return folder


@pytest.fixture(autouse=True)
def small_models(monkeypatch, tmp_path_factory, small):
    """The user's models folder holds a small one, so that commands take a second."""
    folder = tmp_path_factory.mktemp("home") / "models"
    monkeypatch.setenv("GTRSTAGING_MODELS", str(folder))
    folder.mkdir()
    (folder / "small").symlink_to(small)


@pytest.fixture
def a_case(tmp_path):
    """A CT and a mask as NIfTI files."""
    ct = ct_like(shape=(9, 60, 70))
    mask = np.zeros((9, 60, 70), dtype=np.uint8)
    mask[3:6, 20:35, 25:45] = 1
    mask[4, 20:40, 25:45] = 1
    roi = sitk.GetImageFromArray(mask)
    roi.CopyInformation(ct)
    sitk.WriteImage(ct, str(tmp_path / "ct.nii.gz"))
    sitk.WriteImage(roi, str(tmp_path / "roi.nii.gz"))
    return tmp_path


def run(capsys, *arguments):
    code = cli.main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.smoke
def test_one_command_from_a_ct_to_a_stage(a_case, capsys):
    code, out, err = run(capsys, "stage", a_case / "ct.nii.gz", "--segmentation", a_case / "roi.nii.gz",
                         "--model", "small", "--out", a_case / "result")  # fmt: skip
    assert (code, err) == (0, "")
    assert sorted(path.name for path in (a_case / "result").iterdir()) == FILES
    data = json.loads((a_case / "result" / "result.json").read_text())
    assert f"Stage      {data['prediction']['stage']}" in out
    assert data["key_slice"]["index"] == 4
    assert RESEARCH_USE_ONLY in out
    assert "UNTRAINED" in out
    assert "Map        attention for" in out
    assert data["model"]["check_in_words"] in out
    assert data["familiarity"]["verdict"] == "not known"
    assert f"Likeness   likeness to the training not known: {data['familiarity']['promise']}" in out
    agreement = data["agreement"]
    assert "Agreement  The highlighted region (at least 0.5 of" in out
    assert f"the ROI's {agreement['roi_area_mm2']:,.0f} mm²" in out
    assert f"Dice with the ROI is {agreement['dice']:.3f}. The same area scores {agreement['chance_dice']:.3f}" in out
    assert f"{agreement['blob_dice']:.3f} as a centred blob" in out
    assert not any(reason in out for reason in agreement["reasons"].values())
    heat = sitk.ReadImage(str(a_case / "result" / "attention.nrrd"))
    assert heat.GetSize() == (70, 60, 3)
    assert heat.GetOrigin()[2] == pytest.approx(-400 + 3 * 4.0)


@pytest.fixture
def folds(tmp_path):
    """Two models beside each other, as of a training with folds."""
    for number in (1, 2):
        model = weights.untrained(10, "none", number)
        card = replace(model.card, name=f"mine-fold{number}")
        weights.save(weights.Model(card, model.network), tmp_path / f"mine-fold{number}")
    (tmp_path / "mine-folds.csv").write_text("fold\nmine-fold1\nmine-fold2\nmean\nsd\n")
    return tmp_path / "mine"


def test_several_models_and_views_look_at_one_case(a_case, folds, capsys):
    code, out, err = run(capsys, "stage", a_case / "ct.nii.gz", "--segmentation", a_case / "roi.nii.gz", "--model",
                         folds, "--model", "small", "--tta", "--out", a_case / "result")  # fmt: skip
    assert (code, err) == (0, "")
    assert "Looks      18 looks by 3 models: " in out
    assert "disagreement.nrrd" in out
    assert sorted(path.name for path in (a_case / "result").iterdir()) == sorted([*FILES, "disagreement.nrrd"])
    record = json.loads((a_case / "result" / "result.json").read_text())
    assert len(record["looks"]["each"]) == 18
    assert record["model"]["name"].startswith("mine-fold1 + mine-fold2 + ")
    for name in ("mine-fold1", "mine-fold2"):
        assert f"WARNING    Model '{name}' is UNTRAINED" in out


@pytest.mark.parametrize(
    ("models", "message"),
    [
        (["small", "small"], "have the same weights"),
        (["small", "nowhere"], "'nowhere' is neither one of"),
        (["mine", "mine-fold1"], "have the same weights"),
    ],
)
def test_models_that_do_not_go_together_are_refused(a_case, folds, monkeypatch, capsys, models, message):
    monkeypatch.chdir(folds.parent)
    given = [word for name in models for word in ("--model", name)]
    code, out, err = run(capsys, "stage", a_case / "ct.nii.gz", "--key-slice", "4", "--json", *given)
    assert (code, out) == (1, "")
    assert message in err
    if "same weights" in message:
        assert "Leave out one --model." in err


@pytest.mark.parametrize("command", ["check", "calibrate", "familiarity"])
def test_folds_are_no_model_to_check_or_calibrate(folds, capsys, command):
    """These commands write to the folder of one model."""
    (folds.parent / "t.csv").write_text("case_id,image,stage,split\na,a.nii.gz,T1,train\n")
    more = ["--out", folds.parent / "new"] if command == "calibrate" else []
    code, _, err = run(capsys, "models", command, folds, folds.parent / "t.csv", *more)
    assert code == 1
    assert "neither one of" in err or "expected" in err


def test_an_agreement_that_is_not_defined_says_why(a_case, capsys):
    code, out, _ = run(capsys, "stage", a_case / "ct.nii.gz", "--segmentation", a_case / "roi.nii.gz", "--key-slice", 1,
                       "--model", "small", "--out", a_case / "result")  # fmt: skip
    assert code == 0
    assert "Agreement  not defined: the ROI has no pixel in the key slice\n" in out
    assert "Dice" not in out


def test_json_alone_goes_to_stdout(a_case, capsys):
    code, out, err = run(capsys, "stage", a_case / "ct.nii.gz", "--key-slice", 4, "--model", "small", "--json",
                         "--cam", "layercam", "--target", "T2", "--alignment", "half-pixel")  # fmt: skip
    assert (code, err) == (0, "")
    data = json.loads(out)
    assert (data["attention"]["method"], data["attention"]["target"]) == ("layercam", "T2")
    assert data["attention"]["alignment"] == "half_pixel"
    assert data["agreement"] is None
    assert not (a_case / "result").exists()


def test_a_threshold_reaches_the_agreement(a_case, capsys):
    _, out, _ = run(capsys, "stage", a_case / "ct.nii.gz", "--segmentation", a_case / "roi.nii.gz", "--segment", 1,
                    "--threshold", 0.3, "--key-position-mm", -380, "--model", "small", "--json")  # fmt: skip
    data = json.loads(out)
    assert data["agreement"]["threshold"] == 0.3
    assert (data["key_slice"]["index"], data["key_slice"]["chosen_by"]) == (5, "position")


@pytest.mark.parametrize(
    "arguments",
    [
        ["stage", "ct.nii.gz"],
        ["stage", "ct.nii.gz", "--out", "x", "--key-slice", "3", "--key-position-mm", "2"],
        ["stage", "ct.nii.gz", "--out", "x", "--target", "T5"],
        ["stage", "ct.nii.gz", "--out", "x", "--cam", "scorecam"],
        ["stage", "ct.nii.gz", "--out", ""],
        ["stage", "ct.nii.gz", "--out", "x", "--threshold", "nan"],
        ["stage", "ct.nii.gz", "--out", "x", "--threshold", "0"],
        ["stage", "ct.nii.gz", "--out", "x", "--threshold", "2"],
        ["stage", "ct.nii.gz", "--out", "x", "--segment", "tumour"],
        ["stage", "ct.nii.gz", "--out", "x", "--resample-roi"],
        ["models", "import", "a.pth", "--recipe", "gtr", "--name", "x", "--depth", "18"],
        ["models", "import", "--pretrained", "imagenet", "--sha256", "0", "--recipe", "gtr", "--name", "x"],
        ["stage", "ct.nii.gz", "--out", "x", "--key-slice", "three"],
        ["stage"],
        ["models", "import", "--recipe", "gtr", "--name", "x"],
        ["models", "import", "a.pth", "--name", "x"],
        ["models", "import", "a.pth", "--recipe", "own", "--name", "x"],
        ["phantom", "--stage", "T0", "--out", "x"],
        ["unknown"],
        [],
    ],
)
def test_wrong_use_is_exit_2(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    assert stopped.value.code == 2
    assert "usage:" in capsys.readouterr().err


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["stage", "none.nii.gz", "--json"], "none.nii.gz"),
        (["stage", "ct.nii.gz", "--json"], "--key-slice"),
        (["stage", "ct.nii.gz", "--key-slice", "99", "--json"], "0 (nearest the feet) to 8"),
        (["stage", "ct.nii.gz", "--key-slice", "4", "--model", "none", "--json"], "neither one of"),
        (["stage", "ct.nii.gz", "--key-slice", "4", "--device", "cuda:9", "--json"], "no device 'cuda:9'"),
        (["stage", "ct.nii.gz", "--segmentation", "roi.nii.gz", "--segment", "7", "--json"], "7"),
        (["stage", "roi.nii.gz", "--key-slice", "4", "--json"], "HU"),
        (["stage", "text.txt", "--json"], "text.txt"),
        (["stage", "fake.nii.gz", "--json"], "fake.nii.gz"),
        (["models", "verify", "none"], "neither one of"),
        (["models", "import", "none.pth", "--recipe", "gtr", "--name", "x"], "none.pth"),
    ],
)  # fmt: skip
def test_failures_are_exit_1_with_one_line_that_helps(a_case, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(a_case)
    (a_case / "text.txt").write_text("hello")
    (a_case / "fake.nii.gz").write_text("hello")
    model = [] if "--model" in arguments or arguments[0] != "stage" else ["--model", "small"]
    code, out, err = run(capsys, *arguments, *model)
    assert (code, out) == (1, "")
    assert err.startswith("gtrstaging: ")
    assert message in err
    assert err.count("\n") == 1
    assert "Traceback" not in err


def test_models_from_the_release_to_a_stage(tmp_path, capsys):
    """Import, list, show, verify, stage: what a user of the published weights does."""
    from PIL import Image

    start = weights.untrained(18, "none")
    torch.save({"epoch": 1, "model_state_dict": start.network.state_dict(), "acc": 0.9}, tmp_path / "best_model.pth")
    code, out, _ = run(capsys, "models", "import", tmp_path / "best_model.pth", "--recipe", "released", "--name", "pub")
    assert code == 0
    assert "recipe released" in out
    assert "pub" in run(capsys, "models", "list")[1]
    assert json.loads(run(capsys, "models", "show", "pub")[1])["recipe"]["name"] == "released"
    assert "pub: valid" in run(capsys, "models", "verify", "pub")[1]
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (512, 512), dtype=np.uint8)).save(tmp_path / "case.png")
    code, out, _ = run(capsys, "stage", tmp_path / "case.png", "--model", "pub", "--out", tmp_path / "result")
    assert code == 0
    assert "UNTRAINED" not in out


def test_a_damaged_model_is_listed_as_such(capsys):
    folder = registry.models_folder() / "broken"
    folder.mkdir()
    (folder / "card.json").write_text("{")
    code, out, _ = run(capsys, "models", "list")
    assert code == 0
    assert "DAMAGED" in out
    assert "small" in out


def test_imagenet_weights_offline_are_exit_1(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    code, _, err = run(capsys, "models", "import", "--pretrained", "imagenet", "--recipe", "gtr", "--name", "start")
    assert code == 1
    assert "resnet152-394f9c45.pth" in err


@pytest.mark.smoke
@pytest.mark.parametrize("form", ["dicom", "nifti"])
def test_a_phantom_is_written_and_staged(tmp_path, capsys, form):
    code, _, _ = run(capsys, "phantom", "--stage", "T2", "--seed", 5, "--format", form, "--out", tmp_path / "p")
    assert code == 0
    ct, roi = {"dicom": ("ct", "tumour_seg.dcm"), "nifti": ("ct.nii.gz", "tumour.nii.gz")}[form]
    code, out, _ = run(capsys, "stage", tmp_path / "p" / ct, "--segmentation", tmp_path / "p" / roi, "--model", "small",
                       "--json")  # fmt: skip
    assert code == 0
    assert json.loads(out)["key_slice"]["chosen_by"] == "tumour area"


def test_the_choices_of_the_command_line_are_the_librarys():
    assert tuple(recipe.RECIPES) == train.RECIPES


@pytest.mark.smoke
def test_help_says_research_use_only(capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["stage", "--help"])
    assert stopped.value.code == 0
    assert "Research use only" in capsys.readouterr().out


def test_options_of_the_command_line_reach_the_library(a_case, capsys):
    """Each changes the result in its own way; an option that is dropped on the way would not."""
    ct, roi = a_case / "ct.nii.gz", a_case / "roi.nii.gz"
    base = ["stage", ct, "--key-slice", 4, "--model", "small", "--json"]
    far = json.loads(run(capsys, *base, "--neighbour-mm", 8)[1])
    assert far["prepared"]["offsets"] == [-2, 0, 2]
    finer = sitk.Resample(sitk.ReadImage(str(roi)), [140, 120, 9], sitk.Transform(), sitk.sitkNearestNeighbor,
                          (-20.0, 30.0, -400.0), (0.45, 0.55, 4.0))  # fmt: skip
    sitk.WriteImage(finer, str(a_case / "finer.nii.gz"))
    code, _, err = run(capsys, *base, "--segmentation", a_case / "finer.nii.gz")
    assert code == 1
    assert "--resample-roi" in err
    code, out, _ = run(capsys, *base, "--segmentation", a_case / "finer.nii.gz", "--resample-roi")
    assert code == 0
    assert any("by nearest neighbour" in text for text in json.loads(out)["warnings"])
    assert json.loads(run(capsys, *base, "--case-id", "A 7")[1])["case_id"] == "A 7"


def test_a_series_is_chosen_by_its_number(tmp_path, capsys):
    for number, stage in ((1, "T1"), (2, "T4")):
        assert run(capsys, "phantom", "--stage", stage, "--seed", 5, "--out", tmp_path / stage)[0] == 0
        for path in (tmp_path / stage / "ct").iterdir():
            header = pydicom.dcmread(path)
            header.SeriesNumber = number
            header.save_as(path)
    both = ["stage", tmp_path, "--key-slice", 12, "--model", "small", "--json"]
    code, _, err = run(capsys, *both)
    assert code == 1
    assert "number 1" in err
    assert "number 2" in err
    chosen = [json.loads(run(capsys, *both, "--series", number)[1])["input"]["digest"] for number in (1, 2)]
    alone = [run(capsys, "stage", tmp_path / stage / "ct", *both[2:])[1] for stage in ("T1", "T4")]
    assert chosen == [json.loads(out)["input"]["digest"] for out in alone]
    assert chosen[0] != chosen[1]


@pytest.mark.parametrize("form", ["files", "json"])
def test_identifiers_are_written_on_request_only(tmp_path, capsys, form):
    """Search the files and the output of a run for each value of the patient in a phantom's header."""
    run(capsys, "phantom", "--seed", 5, "--out", tmp_path / "secret-path")
    header = pydicom.dcmread(tmp_path / "secret-path" / "ct" / "0001.dcm")
    secrets = [
        str(header.PatientName),
        header.PatientID,
        header.StudyInstanceUID,
        header.StudyDescription,
        "secret-path",
    ]
    ct = tmp_path / "secret-path" / "ct"

    def everything(*options):
        out = tmp_path / f"out{len(options)}"
        how = ["--out", out] if form == "files" else ["--json"]
        code, printed, err = run(capsys, "stage", ct, "--key-slice", 12, "--model", "small", *how, *options)
        assert (code, err) == (0, "")
        files = [path.read_bytes() for path in out.iterdir()] if form == "files" else []
        return b"".join([printed.encode(), *files])

    plain, asked = everything(), everything("--include-phi")
    for secret in secrets:
        assert secret.encode() not in plain, secret
        assert secret.encode() in asked, secret


def test_real_input_goes_through_the_command(shared_data, tmp_path, capsys):
    """A real DICOM series with its SEG, a real NIfTI of flipped axes with its label map; all files of both."""
    ct = shared_data / "ct"
    for name, scan, roi, segment in (
        ("dicom", "ct_3slice_dicom", "ct_3slice_liver_seg.dcm", "Liver"),
        ("nifti", "totalseg_example_ct_sm.nii.gz", "totalseg_example_seg.nii.gz", "6"),
    ):
        code, _, err = run(capsys, "stage", ct / scan, "--segmentation", ct / roi, "--segment", segment,
                           "--model", "small", "--out", tmp_path / name)  # fmt: skip
        assert (code, err) == (0, "")
        assert sorted(path.name for path in (tmp_path / name).iterdir()) == FILES
        data = json.loads((tmp_path / name / "result.json").read_text())
        assert 0 < data["agreement"]["roi_area_mm2"] < 40_000
        heat, whole = (sitk.ReadImage(str(p)) for p in (tmp_path / name / "attention.nrrd", _volume(ct / scan)))
        assert geometry.lattice_drift(heat, whole) < 0.01


def _volume(path):
    """The path of a volume, or the names of a series' files in order."""
    return path if path.is_file() else sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(path))[0]


@pytest.mark.parametrize(
    "shape", ["best_model", *(pytest.param(one, marks=pytest.mark.slow) for one in ("bare", "module."))]
)
def test_the_released_pictures_by_an_imported_checkpoint(shared_data, tmp_path, capsys, shape):
    """The recipe `released` and a checkpoint in each shape of the release, through the command."""
    path = as_the_release_writes_it(a_resnet(), tmp_path / "m.pth", shape)
    assert run(capsys, "models", "import", path, "--recipe", "released", "--name", "pub")[0] == 0
    for picture in sorted((shared_data / "released").glob("case00?.png")):
        code, _, err = run(capsys, "stage", picture, "--model", "pub", "--out", tmp_path / picture.stem)
        assert (code, err) == (0, "")
        assert sorted(path.name for path in (tmp_path / picture.stem).iterdir()) == FILES
        data = json.loads((tmp_path / picture.stem / "result.json").read_text())
        assert data["provenance"]["recipe"]["name"] == "released"
        assert sum(data["prediction"]["probabilities"]) == pytest.approx(1)


def test_a_reader_who_has_seen_enough_is_no_error_of_ours(capfd):
    """`gtrstaging models show | head -1`: no word about permissions and free space."""
    command = f"{sys.executable} -m GTRStagingLib models list | true"
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert done.stderr == ""


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize(
    ("harm", "how"),
    [
        ("ctypes.string_at(0)", "was ended by SIGSEGV."),
        ("os.kill(os.getpid(), 9)", "was ended by SIGKILL. The machine may have run out of memory."),
        ("os._exit(7)", None),
    ],
)
def test_a_file_that_crashes_the_process_is_reported(a_case, harm, how):
    """The child imports `sitecustomize`, whose reader does the harm."""
    harmful = a_case / "harmful"
    harmful.mkdir()
    (harmful / "sitecustomize.py").write_text(
        "import os, sys\n"
        "if 'GTRSTAGING_SUPERVISED' in os.environ:\n"
        "    import ctypes\n    from GTRStagingLib.imaging import scans\n"
        f"    scans.read_scan = lambda *a, **k: {harm}\n"
    )
    path = os.pathsep.join([str(harmful), *sys.path[1:]])
    done = subprocess.run(
        [sys.executable, "-m", "GTRStagingLib", "stage", str(a_case / "ct.nii.gz"), "--out", str(a_case / "result")],
        env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert not (a_case / "result").exists()
    if how is None:
        assert (done.returncode, done.stderr) == (7, "")
    else:
        assert done.returncode == 1
        assert done.stderr.startswith(f"gtrstaging: The process that reads the files {how} Expected a result")
        assert done.stderr.count("\n") == 1


def test_a_program_passes_streams_and_exit_codes_of_its_child_on(a_case):
    def stage(*more):
        command = [sys.executable, "-m", "GTRStagingLib", "stage", str(a_case / "ct.nii.gz"), "--model", "small", *more]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    good = stage("--key-slice", "4", "--json")
    assert (good.returncode, good.stderr) == (0, "")
    assert json.loads(good.stdout)["key_slice"]["index"] == 4
    bad = stage("--key-slice", "99", "--json")
    assert (bad.returncode, bad.stdout) == (1, "")
    assert "--key-slice" in bad.stderr or "99" in bad.stderr
    assert stage().returncode == 2


def test_the_supervising_process_imports_no_large_package():
    code = (
        "import sys\nfrom GTRStagingLib.cli import supervise\nfrom GTRStagingLib.cli.main import make_parser\n"
        "make_parser()\nprint([m for m in ('torch', 'SimpleITK', 'numpy', 'pandas') if m in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_lack_of_memory_is_reported_without_a_traceback(a_case, capsys, monkeypatch):
    from GTRStagingLib.imaging import scans

    def too_much(*arguments, **more):
        raise MemoryError

    monkeypatch.setattr(scans, "read_scan", too_much)
    code, _, err = run(capsys, "stage", a_case / "ct.nii.gz", "--out", a_case / "result")
    assert code == 1
    assert err.startswith("gtrstaging: The memory of this machine does not suffice.")


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize(
    ("name", "to_all"),
    [
        ("SIGTERM", False),
        ("SIGINT", True),  # as a terminal does: the child gets it twice
        pytest.param("SIGINT", False, marks=pytest.mark.slow),
        pytest.param("SIGKILL", False, marks=pytest.mark.slow),
    ],
)
def test_a_killed_run_leaves_nothing_half_written(a_case, name, to_all):
    """Real processes, killed for real, at several moments of their life."""
    signal_ = getattr(signal, name)
    out = a_case / "result"
    command = [sys.executable, "-m", "GTRStagingLib", "stage", str(a_case / "ct.nii.gz"), "--key-slice", "4",
               "--model", "small", "--out", str(out)]  # fmt: skip
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    while process.poll() is None and not out.exists():  # the folder appears when writing begins
        time.sleep(0.002)
    if to_all:
        os.killpg(process.pid, signal_)
    else:
        process.send_signal(signal_)
    _, err = process.communicate(timeout=60)
    there = sorted(path.name for path in out.iterdir()) if out.exists() else []  # gone, if nothing came to stand in it
    left = [name for name in there if not name.startswith(".")]
    if process.returncode == 0 or "result.json" in left:
        assert left == FILES
    if signal_ != signal.SIGKILL:
        assert left == there
        if process.returncode:
            assert "interrupted" in err
    if "result.json" in left:
        json.loads((out / "result.json").read_text())
    if "attention.nrrd" in left:
        assert sitk.ReadImage(str(out / "attention.nrrd")).GetSize() == (70, 60, 3)
