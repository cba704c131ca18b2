import pytest
import torch

from GTRStagingLib.errors import InputError
from GTRStagingLib.model.device import choose, describe


@pytest.mark.parametrize(
    ("cuda", "mps", "chosen"),
    [(True, True, "cuda"), (True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_auto_is_the_first_of_cuda_mps_and_cpu(monkeypatch, cuda, mps, chosen):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: int(cuda))
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert str(choose("auto")) == str(choose()) == chosen


def test_auto_chooses_an_existing_device():
    assert describe(choose("cpu")) == "cpu"
    with pytest.raises(InputError, match="expected auto, cpu"):
        choose("tpu")
    with pytest.raises(InputError, match="expected auto, cpu"):
        choose("meta")
    with pytest.raises(InputError, match="This machine has no device"):
        choose("cuda:97")
